// SPDX-License-Identifier: Apache-2.0
// Calls of several writes inside a transaction: whole, or the transaction cannot be committed. And what refs to nested dicts
// lead to when a transaction that emptied those is aborted.
// What guards it: ~commit_scope() and shmd_transaction_spoil(); make_empty() (detail/tree.hpp).
#include <map>
#include <shm/json.hpp>
#include <shm/shm.hpp>

#include "cpp/support.hpp"

using support::Own;

namespace {

using Ints = shm::dict<std::string, int>;
using Trees = shm::dict<std::string, Ints>;
using Json = nlohmann::json;

const std::string too_long(70'000, 'k'); // a key that no dict takes

// Runs f in a transaction that catches what f throws, and must not be committed for it.
template <class D, class F>
void fails_by_half(D& d, F f) {
  const auto before = d.snapshot().to_map();
  bool caught = false, after = false;
  CHECK_THROWS_AS(d.transact([&](auto& tx) {
    try {
      f(tx);
    } catch (const shm::error&) {
      caught = true;
    }
    try {
      tx.erase("nothing");
    } catch (const shm::error& e) { // the next write says so already
      after = e.code() == shm::errc::aborted;
    }
  }),
                  shm::error);
  CHECK(caught);
  CHECK(after);
  CHECK(d.snapshot().to_map() == before);
}

} // namespace

TEST_CASE("a call of several writes that fails by half spoils the transaction that it is part of") {
  SECTION("assign") {
    Own<Ints> own("assign");
    own.d["old"] = 1;
    fails_by_half(own.d, [](auto& tx) { tx.assign(std::map<std::string, int>{{"a", 1}, {too_long, 2}}); });
  }
  SECTION("update") {
    Own<Trees> own("update");
    own.d["x"]["old"] = 1;
    fails_by_half(own.d, [](auto& tx) { tx.update(Trees::local_type{{"a", {{"b", 1}}}, {"c", {{too_long, 2}}}}); });
  }
  SECTION("a nested dict replaced") {
    Own<Trees> own("nested");
    own.d["x"]["old"] = 1;
    fails_by_half(own.d, [](auto& tx) { tx["x"] = Ints::local_type{{"a", 1}, {too_long, 2}}; });
  }
  SECTION("missing levels") {
    Own<Trees> own("levels");
    own.d["y"]["old"] = 1;
    fails_by_half(own.d, [](auto& tx) { tx["x"][too_long] = 1; });
  }
}

TEST_CASE("a call that fails before it wrote anything spoils nothing") {
  Own<Trees> own("harmless");
  own.d["x"]["a"] = 1;
  own.d.transact([](auto& tx) {
    tx["y"]["b"] = 2;
    CHECK_THROWS_AS(tx["x"][too_long] = 1, shm::error);
    CHECK_THROWS_AS(tx.update(std::map<std::string, Ints::local_type>{{too_long, {}}}), shm::error);
    CHECK_THROWS_AS(tx["x"].pop("missing"), shm::key_not_found);
    CHECK_FALSE(tx.replace("missing", {}));
    CHECK_FALSE(tx.extract("missing"));
    CHECK_FALSE(tx.insert({"x", {}}).second);
    CHECK_THROWS_AS(
        tx["z"]["c"].update([](std::optional<int>) -> std::optional<int> { throw std::runtime_error("no"); }),
        std::runtime_error);
    tx["x"]["c"] = 3;
  });
  CHECK(own.d.to_map() == Trees::local_type{{"x", {{"a", 1}, {"c", 3}}}, {"y", {{"b", 2}}}});
}

TEST_CASE("values that are stored together are all looked at before the first is written") {
  Own<Ints> own("together");
  own.d["old"] = 1;
  own.d.transact([](auto& tx) {
    CHECK_THROWS_AS(tx.update(std::map<std::string, int>{{"a", 1}, {too_long, 2}}), shm::error);
    tx["b"] = 2;
  });
  CHECK_THROWS_AS(own.d.update(std::map<std::string, int>{{"c", 1}, {too_long, 2}}), shm::error);
  CHECK(own.d.to_map() == Ints::local_type{{"old", 1}, {"b", 2}});
}

TEST_CASE("json: an object that is stored by half spoils the transaction") {
  Own<shm::json_dict> own("json");
  own.d["x"] = {{"old", 1}};
  CHECK_THROWS_AS(own.d.transact([](auto& tx) {
    try {
      tx["x"] = Json{{"a", 1}, {too_long, 2}};
    } catch (const shm::error&) {
    }
  }),
                  shm::error);
  CHECK(own.d.to_json() == Json{{"x", {{"old", 1}}}});
}

TEST_CASE("a ref whose dict was emptied in an aborted transaction leads to it as before") {
  Own<Trees> own("ref");
  own.d["a"] = {{"x", 1}, {"y", 2}};
  auto a = own.d.at("a");
  const auto aborted = [&](auto f) {
    CHECK_THROWS_AS(own.d.transact([&](auto& tx) {
      f();
      tx.abort();
      throw 1;
    }),
                    int);
    CHECK(a.to_map() == Ints::local_type{{"x", 1}, {"y", 2}});
    own.d["other"]["z"] = 3; // a dict that could have been given the same id
    CHECK(a.to_map() == Ints::local_type{{"x", 1}, {"y", 2}});
    own.d.erase("other");
  };
  aborted([&] {
    a.clear();
    CHECK(a.empty());
    a["new"] = 1;
    CHECK(own.d["a"].to_map() == Ints::local_type{{"new", 1}});
  });
  aborted([&] { a.assign(std::map<std::string, int>{{"n", 5}}); });
}

TEST_CASE("a ref whose dict was emptied in a transaction leads to what was put there") {
  Own<Trees> own("ref");
  own.d["a"] = {{"x", 1}, {"y", 2}};
  auto a = own.d.at("a");
  a.transact([&](auto& tx) {
    tx.clear();
    tx["n"] = 1;
  });
  CHECK(a.to_map() == Ints::local_type{{"n", 1}});
  own.d.transact([&](auto&) {
    a.assign(std::map<std::string, int>{{"m", 2}});
    CHECK(a.at("m") == 2);
  });
  CHECK(a.to_map() == Ints::local_type{{"m", 2}});
  a.clear();
  CHECK(a.empty());
  CHECK(own.d["a"].empty());
}

TEST_CASE("json: a ref whose object was emptied in an aborted transaction leads to it as before") {
  Own<shm::json_dict> own("json");
  own.d["a"] = {{"x", 1}};
  auto a = own.d.at("a");
  CHECK_THROWS_AS(own.d.transact([&](auto&) {
    a.clear();
    throw 1;
  }),
                  int);
  CHECK(a.to_json() == Json{{"x", 1}});
}

// Guards shmd_node_forget() (node.c).
TEST_CASE("a ref to a dict that came to nothing leads to no other dict later") {
  Own<Trees> own("stale");
  std::optional<shm::dict_ref<std::string, int>> made, removed;
  CHECK_THROWS_AS(own.d.transact([&](auto& tx) {
    tx["a"]["x"] = 1;
    made.emplace(tx.at("a"));
    tx["b"]["x"] = 1;
    removed.emplace(tx.at("b"));
    tx.erase("b");
    throw 1;
  }),
                  int);
  for (int i = 0; i < 10; ++i) own.d[std::to_string(i)]["y"] = 2;
  CHECK_THROWS_AS(made->size(), shm::error);
  CHECK_THROWS_AS(removed->size(), shm::error);
}
