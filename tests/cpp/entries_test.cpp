// SPDX-License-Identifier: Apache-2.0
// Where entries come from, and keys of several types.
#include <map>
#include <variant>
#include <vector>

#include "support.hpp"

using support::contains;
using support::Own;
using ints = shm::dict<std::string, int>;

TEST_CASE("first entries come from lists, maps, other ranges and iterators") {
  const ints::local_type both{{"a", 1}, {"b", 2}};
  const std::map<std::string, int> ordered(both.begin(), both.end());
  const std::vector<std::pair<const char*, short>> pairs{{"a", 1}, {"b", 2}};
  const auto made = [&](auto&&... first) {
    support::Name name("first");
    return ints{name, first..., support::small()}.to_map();
  };
  CHECK(made(ints::local_type{{"a", 1}, {"b", 2}}) == both);
  CHECK(made(ordered) == both);
  CHECK(made(pairs) == both);
  CHECK(made(pairs.begin(), pairs.end()) == both);
  support::Name name("first");
  const ints d{shm::create_only, name, ordered, support::small()};
  CHECK(made(d) == both);            // a dict is such a range
  CHECK(made(d.snapshot()) == both); // of one moment
  CHECK(ints{shm::open_or_create, name, pairs}.to_map() == both);
  CHECK(ints{name, {{"z", 9}}}.to_map() == both); // an attacher's are ignored
  CHECK_THROWS_AS((ints{shm::create_only, name, ordered}), shm::already_exists);
  CHECK_THROWS_AS((ints{shm::create_only, name, pairs.begin(), pairs.end()}), shm::already_exists);
  using tree = shm::dict<std::string, ints>;
  support::Name nested("first");
  const std::map<std::string, std::map<std::string, int>> levels{{"x", ordered}};
  tree t{shm::create_only, nested, tree::local_type{{"x", both}}, support::small()};
  CHECK(t.to_map().at("x") == both);
}

TEST_CASE("fromkeys gives one value to many keys") {
  Own<ints> own("fromkeys");
  own.d.update(ints::fromkeys({"a", "b"}, 7));
  own.d.update(ints::fromkeys(std::vector<const char*>{"c"}));
  CHECK(own.d == ints::local_type{{"a", 7}, {"b", 7}, {"c", 0}});
}

TEST_CASE("integers and ints are keys of one dict") {
  using key = std::variant<std::int64_t, std::string>;
  Own<shm::dict<key, std::string>> own("mixed");
  auto& d = own.d;
  d[1] = "one";
  d["a"] = "letter";
  d["1"] = "digit";
  CHECK(d.size() == 3);
  CHECK((d[1] == "one" && d["1"] == "digit"));
  CHECK(d.get(std::int64_t{1}) == "one");
  CHECK(d == std::unordered_map<key, std::string>{{1, "one"}, {"a", "letter"}, {"1", "digit"}});
  CHECK_THAT(support::message_of([&] { d.at(2); }), contains("has no key [2]"));
  CHECK_THAT(support::message_of([&] { d.at("b"); }), contains("has no key [\"b\"]"));
}
