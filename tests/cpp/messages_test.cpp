// SPDX-License-Identifier: Apache-2.0
// What goes wrong is told with the dict, the key, and in the words of this interface.
#include <cmath>
#include <shm/json.hpp>

#include "support.hpp"

using nlohmann::json;
using support::contains;
using support::message_of;
using support::Own;

namespace {

// The message that f's exception has; it names the dict and `where`, and no function of the C interface.
template <class F>
std::string told(const support::Name& name, const std::string& where, F&& f) {
  const auto message = message_of(f);
  INFO(message);
  CHECK_THAT(message, contains("dict '" + name.str() + "'"));
  CHECK_THAT(message, contains(where));
  CHECK(message.find("shmd_") == std::string::npos);
  CHECK(message.find(name.str()) == message.rfind(name.str())); // once
  CHECK(message.size() < 600);
  return message;
}

} // namespace

TEST_CASE("a NaN key is told with its dict and what it is a key of") {
  Own<shm::dict<std::string, shm::dict<double, int>>> own("messages.nan");
  auto& d = own.d;
  d["a"][1.0] = 1;
  CHECK_THAT(told(own.name, "[\"a\"][f64]", [&] { d["a"][NAN] = 1; }), contains("NaN cannot be a key"));
  told(own.name, "[\"a\"][f64]", [&] { d["a"].get(NAN); });
  told(own.name, "[\"a\"][f64]", [&] { d["a"].contains(NAN); });
  told(own.name, "[\"a\"][f64]", [&] { d["a"].erase(NAN); });
  told(own.name, "[\"a\"][f64]", [&] {
    d.at("a").wait_for(
        NAN, [](int) { return true; }, std::chrono::seconds(0));
  });
  told(own.name, "[\"a\"][f64]", [&] { d.at("a").snapshot().get(NAN); });
  told(own.name, "[\"b\"]", [&] { d["b"] = {{1.0, 1}, {NAN, 2}}; });
  told(own.name, "[\"b\"]", [&] { d.update({{"b", {{NAN, 2}}}}); });
  told(own.name, "[\"b\"]", [&] { d.insert({"b", {{NAN, 2}}}); });
  CHECK_FALSE(d.contains("b"));
  Own<shm::dict<std::pair<int, double>, int>> pairs("messages.nan_pair");
  told(pairs.name, "[tuple<i32,f64>]", [&] { pairs.d[std::pair(1, NAN)] = 1; });
  // of a dict that is not made for it
  support::Name fresh("messages.nan_first");
  told(fresh, "NaN cannot be a key", [&] { shm::dict<double, int>{fresh, {{NAN, 1}}, support::small()}; });
  CHECK_THROWS_AS((shm::dict<double, int>{shm::open_only, fresh}), shm::no_such_dict);
}

TEST_CASE("an overflow, a division by zero and a bad shift are told with dict, key and type") {
  Own<shm::dict<std::string, shm::dict<int, std::int8_t>>> own("messages.overflow");
  auto& d = own.d;
  d["a"][1] = 127;
  const auto message = told(own.name, "[\"a\"][1]", [&] { ++d["a"][1]; });
  CHECK_THAT(message, contains("i8"));
  CHECK_THAT(message, contains("the value was kept"));
  told(own.name, "[\"a\"][1]", [&] { d["a"][1] *= 2.5; });
  CHECK_THROWS_AS(++d["a"][1], std::overflow_error);
  CHECK_THROWS_AS(d["a"][1] /= 0, std::domain_error);
  told(own.name, "[\"a\"][1]", [&] { d["a"][1] /= 0; });
  told(own.name, "[\"a\"][1]", [&] { d["a"][1] <<= 9; });
  Own<shm::json_dict> j("messages.overflow_json");
  j.d["n"]["m"] = INT64_MAX;
  told(j.name, "[\"n\"][\"m\"]", [&] { ++j.d["n"]["m"]; });
  told(j.name, "[\"n\"][\"s\"]", [&] { j.d["n"]["s"] += "x", j.d["n"]["s"] += 1; });
  // what the caller's own function throws is thrown on as it is
  CHECK(message_of([&] { d["a"][1].update([](std::int8_t) -> std::int8_t { throw std::overflow_error("mine"); }); }) ==
        "mine");
}

TEST_CASE("a key that is too long is told with the dict and how it begins, wherever it stands") {
  const std::string key(70000, 'k'), start = "[\"kkkkkkkk";
  Own<shm::dict<std::string, int>> own("messages.long");
  auto& d = own.d;
  told(own.name, start, [&] { d[key] = 1; });
  told(own.name, start, [&] { d.insert({key, 1}); });
  told(own.name, start, [&] { d.update({{"a", 1}, {key, 1}}); });
  told(own.name, start, [&] { d.get(key); });
  told(own.name, start, [&] { d.contains(key); });
  told(own.name, start, [&] { d.erase(key); });
  told(own.name, start, [&] { ++d[key]; });
  CHECK(d.empty());
  Own<shm::dict<std::string, shm::dict<std::string, int>>> nested("messages.long_nested");
  told(nested.name, "[\"a\"]" + start, [&] { nested.d["a"][key] = 1; });
  told(nested.name, "[\"a\"]" + start, [&] { nested.d["a"] = {{key, 1}}; });
  told(nested.name, "[\"a\"]" + start, [&] { nested.d.update({{"a", {{key, 1}}}}); });
  CHECK(nested.d.empty());
  Own<shm::json_dict> j("messages.long_json");
  told(j.name, "[\"a\"]" + start, [&] { j.d["a"][key] = 1; });
  told(j.name, "[\"a\"][\"b\"]" + start, [&] { j.d["a"] = {{"b", {{key, 1}}}}; });
  told(j.name, "[\"b\"]" + start, [&] { j.d.merge({{"b", {{key, 1}}}}); });
  CHECK(j.d.empty());
}

TEST_CASE("stored bytes that are no value are told with dict and key, in every way to read them") {
  Own<shm::dict<std::string, shm::dict<std::string, bool>>> own("messages.corrupt");
  auto& d = own.d;
  d["a"]["good"] = true;
  shmd_node node{0, 0};
  REQUIRE(shmd_node_open(d.native_handle(), shmd_root(), "a", 1, 0, &node) == 0);
  REQUIRE(shmd_put(d.native_handle(), node, "bad", 3, "\7", 1, 0) >= 0);
  const std::string path = "[\"a\"][\"bad\"]";
  told(own.name, path, [&] { d["a"]["bad"].value(); });
  told(own.name, path, [&] { d["a"].value(); });
  told(own.name, path, [&] { d.get("a"); });
  told(own.name, path, [&] { d.to_map(); });
  told(own.name, path, [&] { d.snapshot().to_map(); });
  told(own.name, path, [&] { d.snapshot().get("a"); });
  told(own.name, path, [&] { d.scan(); });
  told(own.name, path, [&] {
    for (auto [k, v] : d) static_cast<void>(v);
  });
  told(own.name, path, [&] { d.at("a").to_map(); });
  CHECK(d["a"]["good"].value());
}

TEST_CASE("a null pointer is no key") {
  Own<shm::dict<std::string, int>> own("messages.null");
  const char* null = nullptr;
  CHECK(support::code_of([&] { own.d[null] = 1; }) == SHMD_ERR_INVALID_ARGUMENT);
  CHECK(support::code_of([&] { own.d.get(null); }) == SHMD_ERR_INVALID_ARGUMENT);
  Own<shm::json_dict> j("messages.null_json");
  CHECK(support::code_of([&] { j.d["a"][null] = 1; }) == SHMD_ERR_INVALID_ARGUMENT);
}

TEST_CASE("a corrupt object is told without names of the C interface, and a dict's own name stays as it is") {
  CHECK(shm::detail::last_message(SHMD_ERR_CORRUPT, "x").find("shmd_") == std::string::npos);
  shmd_dict* d = nullptr;
  CHECK(shmd_put(d, shmd_root(), "a", 1, "b", 1, 0) == SHMD_ERR_CLOSED);
  support::Name name("shmd_name");
  shm::dict<std::string, int> ints{name, support::small()};
  CHECK_THAT(support::message_of([&] { ints.at("a"); }), contains("dict '" + name.str() + "' has no key"));
  CHECK_THAT(support::message_of([&] { ints[std::string(70000, 'k')] = 1; }), contains("dict '" + name.str() + "': "));
}
