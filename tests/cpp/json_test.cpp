// SPDX-License-Identifier: Apache-2.0
#include <shm/json.hpp>
#include <thread>

#include "support.hpp"

namespace app {

struct job {
  std::string title;
  std::vector<int> steps;
  bool operator==(const job& o) const { return title == o.title && steps == o.steps; }
};
void to_json(nlohmann::json& j, const job& v) { j = {{"title", v.title}, {"steps", v.steps}}; }
void from_json(const nlohmann::json& j, job& v) {
  j.at("title").get_to(v.title);
  j.at("steps").get_to(v.steps);
}

} // namespace app

template <>
struct shm::serializer<app::job> : shm::json_serializer<app::job> {};

using nlohmann::json;
using support::Own;

TEST_CASE("JSON is written and read by path") {
  Own<shm::json_dict> own("json");
  auto& j = own.d;
  j["server"]["port"] = 8080;
  j["server"]["hosts"] = {"a", "b"};
  j["debug"] = false;
  const int port = j["server"]["port"].get<int>();
  CHECK(port == 8080);
  CHECK((j["server"]["port"] == 8080));
  CHECK((j["server"]["port"] != 1));
  CHECK(j["server"]["hosts"].get<std::vector<std::string>>() == std::vector<std::string>{"a", "b"});
  CHECK(j["server"].is_object());
  CHECK_FALSE(j["debug"].is_object());
  CHECK(j["server"].size() == 2);
  CHECK(j["missing"].value_or(5) == 5);
  CHECK_FALSE(j["missing"]["more"].exists());
  CHECK_THROWS_AS(j["missing"].get<int>(), shm::key_not_found);
  CHECK_THROWS_AS(j["debug"].get<std::string>(), json::exception);
  const json all = j;
  CHECK(all == json::parse(R"({"server": {"port": 8080, "hosts": ["a", "b"]}, "debug": false})"));
  const json server = j["server"];
  CHECK(server.size() == 2);
  CHECK(j.size() == 2);
  CHECK(j["server"]["port"].erase());
  CHECK_FALSE(j["server"].erase("port"));
}

TEST_CASE("crossing a leaf throws, reading and writing, and says where") {
  Own<shm::json_dict> own("json_leaf");
  auto& j = own.d;
  j["a"] = 1;
  CHECK(support::code_of([&] { j["a"]["b"] = 2; }) == SHMD_ERR_NOT_A_DICT);
  CHECK(support::code_of([&] { j["a"]["b"]["c"] = 2; }) == SHMD_ERR_NOT_A_DICT);
  CHECK(support::code_of([&] { j["a"]["b"].get<int>(); }) == SHMD_ERR_NOT_A_DICT);
  CHECK(support::code_of([&] { j["a"]["b"].exists(); }) == SHMD_ERR_NOT_A_DICT);
  CHECK(support::code_of([&] { j["a"].size(); }) == SHMD_ERR_NOT_A_DICT);
  CHECK(support::code_of([&] { j.at("a"); }) == SHMD_ERR_NOT_A_DICT);
  CHECK_THAT(support::message_of([&] { j["a"]["b"] = 2; }), support::contains("[\"a\"]"));
  CHECK((j["a"] == 1));
}

TEST_CASE("assigning an object replaces the subtree, merging goes into it") {
  Own<shm::json_dict> own("json_assign");
  auto& j = own.d;
  j["x"] = {{"y", {{"z", 1}}}, {"list", {1, {{"in", "leaf"}}}}};
  CHECK((j["x"]["y"]["z"] == 1));
  CHECK((j["x"]["list"] == json::parse(R"([1, {"in": "leaf"}])")));
  j["x"] = {{"w", 2}};
  CHECK(j["x"].value() == json{{"w", 2}});
  j["x"].merge({{"v", {{"u", 3}}}});
  j["x"].merge({{"v", {{"t", 4}}}, {"w", nullptr}});
  CHECK(json(j["x"]) == json::parse(R"({"v": {"u": 3, "t": 4}, "w": null})"));
  j["copy"] = j["x"];
  CHECK((j["copy"]["v"]["t"] == 4));
  j["x"] = "leaf again";
  CHECK((j["x"] == "leaf again"));
  j["x"] = {};
  CHECK((j["x"] == nullptr));
  j["empty"] = json::object();
  CHECK(j["empty"].is_object());
  j.merge({{"top", 1}});
  CHECK((j["top"] == 1));
  CHECK((j["copy"]["v"]["u"] == 3));
  j.replace({{"only", {{"this", 1}}}});
  CHECK(json(j) == json::parse(R"({"only": {"this": 1}})"));
  CHECK(support::code_of([&] { j.replace(json::array()); }) == SHMD_ERR_INVALID_ARGUMENT);
  j.clear();
  CHECK(j.empty());
}

TEST_CASE("JSON numbers are counted in one step, and overflow keeps them") {
  Own<shm::json_dict> own("json_count");
  auto& j = own.d;
  std::vector<std::thread> threads;
  threads.reserve(3);
  for (int t = 0; t < 3; ++t)
    threads.emplace_back([&] {
      for (int i = 0; i < 500; ++i) ++j["hits"]["n"];
    });
  for (auto& t : threads) t.join();
  CHECK((j["hits"]["n"] == 1500));
  CHECK((j["f"] += 1.5) == 1.5);
  CHECK((j["s"] += "text") == "text");
  CHECK(j["l"].update([](json v) {
    v.push_back(1);
    return v;
  }) == json{1});
  j["max"] = INT64_MAX;
  CHECK_THROWS_AS(j["max"] += 1, std::overflow_error);
  CHECK((j["max"] == INT64_MAX));
  CHECK((j["max"] -= 1) == INT64_MAX - 1);
  j["u"] = UINT64_MAX;
  CHECK_THROWS_AS(j["u"] += 1, std::overflow_error);
  CHECK((j["u"] -= 1) == UINT64_MAX - 1);
  CHECK_THROWS_AS(j["s"] += 1, shm::error);
}

TEST_CASE("refs, iteration and transactions of a json_dict") {
  Own<shm::json_dict> own("json_ref");
  auto& j = own.d;
  auto server = j["server"].ref();
  server["port"] = 1;
  CHECK((j["server"]["port"] == 1));
  CHECK(j.at("server").to_json() == json{{"port", 1}});
  CHECK_THROWS_AS(j.at("none"), shm::key_not_found);
  for (auto [k, v] : j) CHECK((k == "server" && v == json{{"port", 1}}));
  for (const std::string k : server.keys()) CHECK(k == "port");
  CHECK_THROWS(j.transact([](auto& tx) {
    tx["a"] = 1;
    tx["server"] = json::object();
    throw 1;
  }));
  CHECK((server["port"] == 1));
  CHECK_FALSE(j.contains("a"));
  j.transact([](auto& tx) {
    tx["a"] = 1;
    tx["server"]["port"] = 2;
  });
  CHECK(server.get("port", 0) == 2);
  j["server"] = json::object();
  CHECK_THROWS_AS(server["port"] = 3, shm::removed);
}

TEST_CASE("a json_dict starts with the creator's object, and is no typed dict") {
  support::Name name("json_initial");
  shm::json_dict j{name, json{{"a", {{"b", 1}}}}, support::small()};
  CHECK((j["a"]["b"] == 1));
  CHECK_THROWS_AS((shm::dict<std::string, std::string>{shm::open_only, name}), shm::mismatch);
  const shm::json_dict again{shm::open_only, name};
  CHECK((again["a"]["b"] == 1));
  shm::json_dict none;
  CHECK_THROWS_AS(none["a"] = 1, shm::closed);
  CHECK_THROWS_AS(json(none), shm::closed);
}

TEST_CASE("a json_dict has the conveniences of a dict") {
  Own<shm::json_dict> own("json_dict");
  auto& d = own.d;
  d.update({{"a", 1}, {"b", {{"c", 2}, {"d", 3}}}});
  d.update({{"b", {{"e", 4}}}}); // replaced, not merged
  CHECK(d == json{{"a", 1}, {"b", {{"e", 4}}}});
  CHECK(d != json::object());
  CHECK(d.copy() == d.to_json());
  CHECK((d | json{{"a", 2}, {"x", 0}}) == json{{"a", 2}, {"b", {{"e", 4}}}, {"x", 0}});
  CHECK(d.values().to_vector().size() == 2);
  CHECK(d.setdefault("a", 7) == 1);
  CHECK(d.setdefault("f", {{"g", 1}}) == json{{"g", 1}});
  CHECK(d.setdefault("n") == nullptr);
  CHECK_FALSE(d.insert("f", 1));
  CHECK(d.insert("h", 1));
  CHECK(d.pop("f") == json{{"g", 1}});
  CHECK(d.pop("f", "none") == "none");
  CHECK_THROWS_AS(d.pop("f"), shm::key_not_found);
  CHECK(d.extract("h") == json(1));
  CHECK_FALSE(d.extract("h"));
  json taken = json::object();
  while (!d.empty()) taken.push_back(json::object_t::value_type(d.popitem()));
  CHECK(taken == json{{"a", 1}, {"b", {{"e", 4}}}, {"n", nullptr}});
  CHECK_THROWS_AS(d.popitem(), shm::key_not_found);
  d.update(shm::json_dict::fromkeys({"x", "y"}, 0));
  CHECK(d == json{{"x", 0}, {"y", 0}});
  auto inner = d["z"].ref();
  inner.update({{"k", 1}});
  CHECK(inner.pop("k") == 1);
  d.transact([](auto& tx) { CHECK(tx.pop("x") == 0); }); // part of an open transaction
  CHECK_FALSE(d.contains("x"));
}

TEST_CASE("values with to_json are stored as CBOR, alone and in containers") {
  Own<shm::dict<std::string, app::job>> own("json_value");
  own.d["a"] = app::job{"x", {1, 2}};
  const app::job back = own.d["a"];
  CHECK(back == app::job{"x", {1, 2}});
  CHECK(shm::serializer<std::vector<app::job>>::name == "vec<cbor>");
  Own<shm::dict<int, std::vector<app::job>>> list("json_list");
  list.d[1] = {{"x", {1}}, {"y", {}}};
  CHECK(list.d.at(1)[1].title == "y");
}

TEST_CASE("typed dicts become JSON, string keys as objects") {
  Own<shm::dict<std::string, shm::dict<std::string, int>>> own("json_typed");
  own.d["de"]["berlin"] = 1;
  CHECK(json(own.d) == json::parse(R"({"de": {"berlin": 1}})"));
  CHECK(json(own.d.at("de")) == json{{"berlin", 1}});
  CHECK(json(own.d.snapshot()) == json(own.d));
  Own<shm::dict<int, int>> numbers("json_numbers");
  numbers.d[1] = 2;
  CHECK(json(numbers.d) == json::parse("[[1, 2]]"));
}

TEST_CASE("bytes that are no CBOR, or nest too deep, are a named error") {
  Own<shm::json_dict> own("json_hostile");
  const auto store = [&](const std::string& bytes) {
    shmd_put(own.d.native_handle(), shmd_root(), "a", 1, bytes.data(), bytes.size(), 0);
  };
  const std::string cases[] = {"",
                               "\xff",
                               "\x9b\xff\xff\xff\xff\xff\xff\xff\xff",
                               "\x7b\xff\xff\xff\xff\xff\xff\xff\xffxx",
                               "\x62x",
                               "\x01\x01",
                               std::string(1 << 20, '\x81'),
                               std::string(1 << 20, '\x9f'),
                               std::string(1 << 20, '\xc1'),
                               std::string(1 << 20, '\x7f')};
  for (const auto& bytes : cases) {
    store(bytes);
    CHECK(support::code_of([&] { own.d["a"].value(); }) == SHMD_ERR_CORRUPT);
  }
  std::uint32_t state = 1;
  for (int i = 0; i < 20000; ++i) {
    std::string bytes(i % 17, '\0');
    for (auto& b : bytes) b = static_cast<char>((state = state * 1664525u + 1013904223u) >> 24);
    try {
      static_cast<void>(shm::detail::from_leaf(bytes.data(), bytes.size()));
    } catch (const shm::error&) {
    }
  }
  json deep = 1;
  for (int i = 0; i < 1100; ++i) deep = json::array({std::move(deep)});
  CHECK(support::code_of([&] { own.d["deep"] = deep; }) == SHMD_ERR_INVALID_ARGUMENT);
  CHECK_FALSE(own.d.contains("deep"));
}
