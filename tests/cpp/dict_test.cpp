// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <climits>
#include <limits>
#include <sstream>
#include <thread>

#include "support.hpp"

using support::Own;
using ints = shm::dict<std::string, int>;
using strings = shm::dict<std::string, std::string>;

TEST_CASE("a value is read back, by index, get, at, find and conversion") {
  Own<ints> own("read");
  auto& d = own.d;
  d["a"] = 5;
  const int n = d["a"];
  CHECK(n == 5);
  CHECK(d.get("a") == 5);
  CHECK(d.get("a", 7) == 5);
  CHECK(d.get("b") == std::nullopt);
  CHECK(d.get("b", 7) == 7);
  CHECK(d.at("a") == 5);
  CHECK(d["a"].value() == 5);
  CHECK(d["b"].get(3) == 3);
  CHECK(d["a"].exists());
  CHECK_FALSE(d["b"].exists());
  if (auto it = d.find("a"); it != d.end())
    CHECK(it->second == 5);
  else
    FAIL("not found");
  CHECK(d.find("b") == d.end());
  CHECK(d.contains("a"));
  CHECK(d.count("b") == 0);
  CHECK(d.size() == 1);
}

TEST_CASE("reading an absent key throws, names it, and creates nothing") {
  Own<ints> own("absent");
  const std::string text = support::message_of([&] { static_cast<void>(int{own.d["mis\"sing"]}); });
  CHECK_THAT(text, support::contains("mis\\x22sing") && support::contains(own.name.str()));
  CHECK_THROWS_AS(own.d.at("a"), shm::key_not_found);
  CHECK_THROWS_AS(own.d["a"] == 1, shm::key_not_found);
  CHECK(own.d.empty());
}

TEST_CASE("assignment copies values and never rebinds") {
  Own<ints> own("copy");
  auto& d = own.d;
  d["b"] = 2;
  d["a"] = d["b"];
  d["b"] = 3;
  CHECK((d["a"] == 2));
  CHECK((d["b"] == 3));
  Own<shm::dict<int, long>> other("copy_other");
  other.d[1] = d["b"];
  CHECK((other.d[1] == 3));
}

TEST_CASE("arithmetic starts at zero, returns the new value, and is one step") {
  Own<ints> own("arithmetic");
  auto& d = own.d;
  CHECK((d["a"] += 5) == 5);
  CHECK((d["a"] -= 2) == 3);
  CHECK((d["a"] *= 4) == 12);
  CHECK((d["a"] /= 5) == 2);
  CHECK((d["a"] <<= 3) == 16);
  CHECK((d["a"] |= 1) == 17);
  CHECK((d["a"] %= 10) == 7);
  CHECK((d["a"] &= 6) == 6);
  CHECK((d["a"] ^= 1) == 7);
  CHECK((d["a"] >>= 1) == 3);
  CHECK((++d["a"] == 4));
  CHECK(d["a"]++ == 4);
  CHECK((--d["a"] == 4));
  CHECK(d["a"]-- == 4);
  CHECK((d["a"] += d["a"]) == 6);
  CHECK((d["a"] += 1.9) == 7);
  CHECK((++d["next"] == 1));
}

TEST_CASE("signed overflow and division by zero throw and keep the value") {
  Own<ints> own("overflow");
  auto& d = own.d;
  d["a"] = INT_MAX;
  CHECK_THROWS_AS(d["a"] += 1, std::overflow_error);
  CHECK_THROWS_AS(++d["a"], std::overflow_error);
  CHECK_THROWS_AS(d["a"] *= 2, std::overflow_error);
  CHECK_THROWS_AS(d["a"] += 1LL << 40, std::overflow_error);
  CHECK_THROWS_AS(d["a"] *= 1e10, std::overflow_error);
  CHECK_THROWS_AS(d["a"] *= std::numeric_limits<double>::quiet_NaN(), std::overflow_error);
  CHECK_THROWS_AS(d["a"] /= 0, std::domain_error);
  CHECK_THROWS_AS(d["a"] %= 0, std::domain_error);
  CHECK_THROWS_AS(d["a"] <<= 32, std::domain_error);
  CHECK((d["a"] == INT_MAX));
  d["a"] = INT_MIN;
  CHECK_THROWS_AS(d["a"] -= 1, std::overflow_error);
  CHECK_THROWS_AS(d["a"] /= -1, std::overflow_error);
  CHECK((d["a"] %= -1) == 0);
  CHECK_THROWS_AS(d["new"] -= 1LL << 40, std::overflow_error);
  CHECK_FALSE(d.contains("new"));
  Own<shm::dict<int, std::uint8_t>> bytes("wrap");
  bytes.d[1] = 255;
  CHECK((++bytes.d[1] == 0));
}

TEST_CASE("strings are looked up by literal and view, compared, and appended to") {
  Own<strings> own("strings");
  auto& d = own.d;
  d["a"] = "x";
  d[std::string_view("bb", 1)] = std::string("y");
  CHECK((d["a"] == "x"));
  CHECK(("x" == d["a"]));
  CHECK((d["a"] < d["b"]));
  CHECK((d["a"] != d["b"]));
  CHECK(d["a"].value() + "y" == "xy");
  CHECK((d["a"] += "z") == "xz");
  d["long"] = std::string(100000, 'q');
  CHECK(d["long"].value().size() == 100000);
  CHECK(d.get("long")->size() == 100000);
  d["empty"] = "";
  CHECK((d["empty"] == ""));
  d[""] = "empty key";
  CHECK((d[""] == "empty key"));
  std::ostringstream out;
  out << d["a"];
  CHECK(out.str() == "xz");
}

TEST_CASE("integers of different signs compare by value") {
  Own<shm::dict<int, unsigned>> own("signs");
  own.d[1] = 5;
  CHECK((own.d[1] == 5));
  CHECK((own.d[1] > -1));
  CHECK((own.d[1] != -1));
}

TEST_CASE("keys of every kind find their values") {
  Own<shm::dict<std::tuple<int, std::string>, int>> tuples("tuples");
  tuples.d[{1, "a"}] = 5;
  CHECK((tuples.d[std::tuple<int, std::string>(1, "a")] == 5));
  CHECK(tuples.d.get({1, "b"}) == std::nullopt);
  Own<shm::dict<double, int>> doubles("doubles");
  doubles.d[0.0] = 1;
  CHECK((doubles.d[-0.0] == 1));
  CHECK(support::code_of([&] { doubles.d[std::numeric_limits<double>::quiet_NaN()] = 1; }) ==
        SHMD_ERR_INVALID_ARGUMENT);
  Own<shm::dict<std::vector<std::string>, std::vector<int>>> vectors("vectors");
  vectors.d[{"a", std::string(1000, 'k')}] = {1, 2, 3};
  CHECK(vectors.d.at({"a", std::string(1000, 'k')}) == std::vector<int>{1, 2, 3});
  Own<shm::dict<bool, std::int64_t>> bools("bools");
  bools.d[true] = 1;
  CHECK(bools.d.size() == 1);
}

TEST_CASE("update changes in one step, by value, in place, or through an optional") {
  Own<ints> own("update");
  auto& d = own.d;
  CHECK(d["a"].update([](int v) { return v + 3; }) == 3);
  CHECK(d["a"].update([](int& v) { v *= 2; }) == 6);
  CHECK(d["a"].update([](std::optional<int> v) { return v ? std::optional<int>(*v + 1) : std::nullopt; }) == 7);
  CHECK(d["a"].update([](std::optional<int>) { return std::optional<int>(); }) == std::nullopt);
  CHECK_FALSE(d.contains("a"));
  CHECK(d["b"].update([](std::optional<int> v) { return v; }) == std::nullopt);
  CHECK_FALSE(d.contains("b"));
  d["a"] = 1;
  CHECK_THROWS_AS(d["a"].update([](int) -> int { throw std::runtime_error("no"); }), std::runtime_error);
  CHECK((d["a"] == 1));
  CHECK(d["a"].update([&](int v) { return v + d["a"].value(); }) == 2);
}

TEST_CASE("compare_exchange stores only what was expected") {
  Own<ints> own("cas");
  auto& d = own.d;
  d["a"] = 1;
  int expected = 2;
  CHECK_FALSE(d["a"].compare_exchange(expected, 5));
  CHECK(expected == 1);
  CHECK(d["a"].compare_exchange(expected, 5));
  CHECK(d["a"].compare_exchange(5, 6));
  CHECK((d["a"] == 6));
  CHECK_THROWS_AS(d["b"].compare_exchange(expected, 5), shm::key_not_found);
  std::optional<int> none;
  CHECK(d["b"].compare_exchange(none, 7));
  CHECK_FALSE(d["b"].compare_exchange(none, 8));
  CHECK(none == 7);
}

TEST_CASE("insert, try_emplace and insert_or_assign tell what happened") {
  Own<strings> own("insert");
  auto& d = own.d;
  auto [it, inserted] = d.insert({"a", "1"});
  CHECK((inserted && it->first == "a" && it->second == "1"));
  std::tie(it, inserted) = d.insert({"a", "2"});
  CHECK((!inserted && it->second == "1"));
  std::tie(it, inserted) = d.try_emplace("b", 3, 'x');
  CHECK((inserted && it->second == "xxx"));
  std::tie(it, inserted) = d.insert_or_assign("b", "4");
  CHECK((!inserted && it->second == "4"));
  std::tie(it, inserted) = d.insert_or_assign("c", "5");
  CHECK((inserted && d["c"] == "5"));
  CHECK(d.size() == 3);
}

TEST_CASE("erase, extract, pop, popitem, setdefault and clear") {
  Own<ints> own("erase");
  auto& d = own.d;
  d.update({{"a", 1}, {"b", 2}, {"c", 3}, {"d", 4}});
  CHECK(d.erase("a") == 1);
  CHECK(d.erase("a") == 0);
  CHECK(d.extract("b") == 2);
  CHECK(d.extract("b") == std::nullopt);
  CHECK(d.pop("c") == 3);
  CHECK(d.pop("c", 9) == 9);
  CHECK_THROWS_AS(d.pop("c"), shm::key_not_found);
  CHECK(d["d"].erase());
  CHECK_FALSE(d["d"].erase());
  CHECK_THROWS_AS(d.popitem(), shm::key_not_found);
  CHECK(d.setdefault("e", 5) == 5);
  CHECK(d.setdefault("e", 6) == 5);
  CHECK(d.setdefault("f") == 0);
  CHECK(d.popitem().first != d.popitem().first);
  d["x"] = 1;
  d.clear();
  CHECK(d.empty());
  d["x"] = 2;
  CHECK((d["x"] == 2));
}

TEST_CASE("maps, ranges and dicts are merged in, assigned and compared") {
  Own<ints> own("ranges"), other("ranges_other");
  auto& d = own.d;
  d.update({{"a", 1}, {"b", 2}});
  d.update(std::vector<std::pair<std::string, int>>{{"b", 3}, {"c", 4}});
  other.d.update(d);
  CHECK(d == other.d);
  other.d |= std::map<std::string, int>{{"z", 9}};
  CHECK(d != other.d);
  CHECK((d | other.d) == std::unordered_map<std::string, int>{{"a", 1}, {"b", 3}, {"c", 4}, {"z", 9}});
  d.assign({{"only", 1}});
  CHECK(d == std::unordered_map<std::string, int>{{"only", 1}});
  CHECK(d.copy() == d.to_map());
}

TEST_CASE("iteration gives every entry once, by value") {
  Own<shm::dict<int, std::string>> own("iterate");
  auto& d = own.d;
  for (int i = 0; i < 3000; ++i) d[i] = std::to_string(i);
  std::vector<bool> seen(3000);
  for (auto [k, v] : d) {
    CHECK(v == std::to_string(k));
    CHECK_FALSE(seen[static_cast<std::size_t>(k)]);
    seen[static_cast<std::size_t>(k)] = true;
  }
  CHECK(std::count(seen.begin(), seen.end(), true) == 3000);
  CHECK(std::distance(d.begin(), d.end()) == 3000);
  const std::map<int, std::string> sorted(d.begin(), d.end());
  CHECK(sorted.size() == 3000);
  long sum = 0;
  for (const int k : d.keys()) sum += k;
  CHECK(sum == 3000L * 2999 / 2);
  CHECK(d.values().to_vector().size() == 3000);
  auto it = d.begin();
  const auto first = *it++;
  CHECK(first != *it);
}

TEST_CASE("with gives the bytes in place, a result, and false for an absent key") {
  Own<strings> own("with");
  auto& d = own.d;
  d["a"] = "hello";
  std::string copy;
  CHECK(d.with("a", [&](std::string_view bytes) { copy = bytes; }));
  CHECK(copy == "hello");
  CHECK(d.with("a", [](std::string_view bytes) { return bytes.size(); }) == 5u);
  CHECK_FALSE(d.with("b", [](std::string_view) {}));
  CHECK(d.with("b", [](std::string_view bytes) { return bytes.size(); }) == std::nullopt);
  CHECK(d.with("a", [&](std::string_view bytes) {
    for (int i = 0; i < 100; ++i) d["a"] = std::string(1000, 'x');
    return std::string(bytes);
  }) == "hello");
}

TEST_CASE("two handles of one name are one dict") {
  support::Name name("two");
  ints a{name, support::small()}, b{shm::open_only, name};
  a["x"] = 1;
  CHECK((b["x"] == 1));
  CHECK(a.name() == name.str());
}

TEST_CASE("create_only and open_only say what is in their way") {
  support::Name name("modes");
  CHECK_THROWS_AS((ints{shm::open_only, name}), shm::no_such_dict);
  ints d{shm::create_only, name, support::small()};
  CHECK_THROWS_AS((ints{shm::create_only, name}), shm::already_exists);
  CHECK_THROWS_AS((strings{shm::open_only, name}), shm::mismatch);
  CHECK_THROWS_AS((shm::dict<std::string, shm::dict<std::string, int>>{shm::open_only, name}), shm::mismatch);
  CHECK(support::code_of([] { ints{""}; }) == SHMD_ERR_INVALID_NAME);
  CHECK(support::code_of([] { shm::unlink(std::string("a\0b", 3)); }) == SHMD_ERR_INVALID_NAME);
  CHECK(support::code_of([] { ints{"a/b"}; }) == SHMD_ERR_INVALID_NAME);
  CHECK(support::code_of([] { ints{std::string("a\0b", 3)}; }) == SHMD_ERR_INVALID_NAME);
}

TEST_CASE("initial entries are the creator's, whole or not at all") {
  support::Name name("initial");
  {
    ints d{name, {{"a", 1}, {"b", 2}}, support::small()};
    CHECK(d.size() == 2);
    ints again{name, {{"c", 3}}};
    CHECK(again.size() == 2);
  }
  using doubles = shm::dict<double, int>;
  const double nan = std::numeric_limits<double>::quiet_NaN();
  CHECK_THROWS_AS((doubles{name, {{1.0, 1}, {nan, 2}}, support::small()}), shm::error);
  CHECK_FALSE(shm::unlink(name));
}

TEST_CASE("the last close removes the name, never keeps it, unlink removes it at once") {
  support::Name name("unlink");
  { ints d{name, support::small()}; }
  CHECK_FALSE(shm::unlink(name));
  { ints d{name, support::small().unlink(shm::never)}; }
  ints d{shm::open_only, name};
  CHECK(d.unlink());
  CHECK_FALSE(d.unlink());
  d["still"] = 1;
  CHECK((d["still"] == 1));
  CHECK_THROWS_AS((ints{shm::open_only, name}), shm::no_such_dict);
}

TEST_CASE("a closed, moved-from or default-constructed dict throws closed") {
  ints none;
  CHECK_FALSE(none.is_open());
  CHECK_THROWS_AS(none.get("a"), shm::closed);
  CHECK_THROWS_AS(none["a"] = 1, shm::closed);
  CHECK_THROWS_AS(none["a"] += 1, shm::closed);
  CHECK_THROWS_AS(none.size(), shm::closed);
  CHECK_THROWS_AS(none.begin(), shm::closed);
  CHECK_THROWS_AS(none.update({{"a", 1}}), shm::closed);
  CHECK_THROWS_AS(none.with("a", [](std::string_view) {}), shm::closed);
  CHECK_THROWS_AS((shm::guard{none}), shm::closed);
  CHECK_THROWS_AS(none.transact([](auto&) {}), shm::closed);
  CHECK_THROWS_AS(none.unlink(), shm::closed);
  Own<ints> own("closed");
  own.d["a"] = 1;
  ints moved = std::move(own.d);
  CHECK_THROWS_AS(own.d.get("a"), shm::closed); // NOLINT(bugprone-use-after-move)
  CHECK((moved["a"] == 1));
  moved.close();
  moved.close();
  CHECK_THROWS_AS(moved["a"] == 1, shm::closed);
  own.d = ints{own.name, support::small()};
  own.d["b"] = 2;
  CHECK((own.d["b"] == 2));
}

TEST_CASE("a const dict reads, and a read-only handle refuses to write") {
  Own<ints> own("const");
  own.d["a"] = 1;
  const ints& c = own.d;
  CHECK((c["a"] == 1));
  CHECK(c.at("a") == 1);
  CHECK(c.get("a") == 1);
  for (auto [k, v] : c) CHECK((k == "a" && v == 1));
  ints r{shm::open_only, own.name, shm::options{}.read_only()};
  CHECK((r["a"] == 1));
  CHECK(support::code_of([&] { r["a"] = 2; }) == SHMD_ERR_READ_ONLY);
  CHECK(support::code_of([&] { r["a"] += 2; }) == SHMD_ERR_READ_ONLY);
  CHECK(r.to_map().size() == 1);
  CHECK(r.with("a", [](std::string_view bytes) { return bytes.size(); }) == 4u);
}

TEST_CASE("a value of other bytes is a named error, not a value") {
  Own<shm::dict<std::string, std::vector<int>>> own("bytes");
  shmd_put(own.d.native_handle(), shmd_root(), "a", 1, "\xff\xff\xff\xff", 4, 0);
  CHECK(support::code_of([&] { own.d.get("a"); }) == SHMD_ERR_CORRUPT);
  CHECK_THAT(support::message_of([&] { own.d.get("a"); }), support::contains("[\"a\"]"));
  CHECK(support::code_of([&] { own.d.to_map(); }) == SHMD_ERR_CORRUPT);
  CHECK(support::code_of([&] { own.d["a"].update([](std::vector<int>& v) { v.clear(); }); }) == SHMD_ERR_CORRUPT);
}

TEST_CASE("threads count through one handle and lose nothing") {
  Own<ints> own("threads");
  std::vector<std::thread> threads;
  threads.reserve(4);
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&] {
      for (int i = 0; i < 2000; ++i) {
        own.d["n"] += 1;
        own.d["m"].update([](int v) { return v + 1; });
      }
    });
  for (auto& t : threads) t.join();
  CHECK((own.d["n"] == 8000));
  CHECK((own.d["m"] == 8000));
}

TEST_CASE("popitem and pop give each entry to one thread") {
  Own<shm::dict<int, int>> own("pop");
  for (int i = 0; i < 400; ++i) own.d[i] = 1;
  std::atomic<int> taken{0};
  std::vector<std::thread> threads;
  threads.reserve(4);
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&, t] {
      if (t % 2 == 0) {
        try {
          for (;;) taken += own.d.popitem().second;
        } catch (const shm::key_not_found&) {
        }
      } else {
        for (int i = 0; i < 400; ++i) taken += own.d.pop(i, 0);
      }
    });
  for (auto& t : threads) t.join();
  CHECK(taken == 400);
}

TEST_CASE("errors compare with errc and std::errc, and fit std::system_error") {
  try {
    const ints d{shm::open_only, "cpp-test-of-no-such-dict"};
    FAIL("opened");
  } catch (const std::system_error& e) {
    CHECK(e.code() == shm::errc::no_such_dict);
    CHECK(e.code() == std::errc::no_such_file_or_directory);
    CHECK(std::string(e.code().category().name()) == "shmdict");
  }
}

TEST_CASE("a key or value that is too long is refused, and nothing changed") {
  Own<strings> own("long");
  CHECK(support::code_of([&] { own.d[std::string(70000, 'k')] = "x"; }) == SHMD_ERR_KEY_TOO_LONG);
  CHECK(support::code_of([&] { own.d["a"] = std::string(std::size_t{40} << 20, 'v'); }) == SHMD_ERR_VALUE_TOO_LONG);
  CHECK(own.d.empty());
}

TEST_CASE("empty braces are the empty value of every type") {
  Own<shm::dict<std::string, std::string>> text("braces_text");
  text.d["k"] = "x";
  text.d["k"] = {};
  CHECK(text.d.at("k").empty());
  Own<shm::dict<std::string, std::optional<int>>> optional("braces_optional");
  optional.d["k"] = 1;
  optional.d["k"] = {};
  CHECK(optional.d.at("k") == std::nullopt);
  CHECK(optional.d.contains("k"));
  Own<shm::dict<std::string, int>> number("braces_number");
  number.d["k"] = 1;
  number.d["k"] = {};
  CHECK(number.d.at("k") == 0);
  Own<shm::dict<int, std::vector<int>>> vector("braces_vector");
  vector.d[1] = {1, 2};
  CHECK(vector.d.at(1) == std::vector<int>{1, 2});
  vector.d[1] = {};
  CHECK(vector.d.at(1).empty());
  vector.d.transact([](auto& tx) { tx[2] = {}; });
  CHECK(vector.d.at(2).empty());
  Own<shm::dict<std::string, std::pair<int, int>>> pair("braces_pair");
  pair.d["k"] = {1, 2};
  pair.d["k"] = {};
  CHECK(pair.d.at("k") == std::pair(0, 0));
  Own<shm::dict<std::string, shm::dict<std::string, std::string>>> nested("braces_nested");
  nested.d["k"] = {{"a", "b"}};
  CHECK(nested.d["k"].at("a") == "b");
  nested.d["k"] = {};
  CHECK(nested.d.contains("k"));
  CHECK(nested.d["k"].empty());
}
