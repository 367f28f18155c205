// SPDX-License-Identifier: Apache-2.0
// JSON dicts among threads and processes: waiting for what stands at a path, many keys of one moment, scans, get_or_compute.
#include <atomic>
#include <map>
#include <shm/json.hpp>
#include <thread>

#include "support/catch.hpp"
#include "support/process.hpp"

using namespace std::chrono_literals;
using nlohmann::json;

namespace {

struct Own {
  explicit Own(const std::string& what)
      : name("json." + what), d(name, shm::options{}.max_size(std::uint64_t{64} << 20)) {}
  support::Name name;
  shm::json_dict d;
};

template <class F>
int code_of(F&& f) {
  try {
    f();
  } catch (const shm::error& e) {
    return e.code().value();
  }
  return 0;
}

} // namespace

// The mechanism: wait_at() at the proxy's place. Were another place followed, what is written would not end the wait.
TEST_CASE("waiting for what stands at a path, or under a key of it") {
  Own own("wait");
  auto& j = own.d;
  j["a"] = {{"b", 0}};
  const auto later = [&](auto change) {
    return std::thread([&j, change] {
      std::this_thread::sleep_for(20ms);
      change(j);
    });
  };
  const auto is = [](int wanted) { return [wanted](const json& v) { return v == wanted; }; };
  CHECK_FALSE(j["a"]["b"].wait_for(is(1), 5ms));
  CHECK_FALSE(j["a"].wait_for("b", is(1), 5ms));
  auto t = later([](auto& d) { ++d["a"]["b"]; });
  CHECK(j["a"]["b"].wait_for(is(1), 60s));
  t.join();
  t = later([](auto& d) { ++d["a"]["b"]; });
  CHECK(j["a"].wait_for("b", is(2), 60s));
  t.join();
  t = later([](auto& d) { d["a"] = {{"b", 3}}; }); // a level above is replaced
  j["a"]["b"].wait(is(3));
  CHECK((j["a"]["b"] == 3));
  t.join();
  t = later([](auto& d) { d["a"].erase("b"); });
  j["a"].wait("b", [](std::optional<json> v) { return !v; });
  CHECK_FALSE(j["a"]["b"].exists());
  t.join();
  t = later([](auto& d) { d["a"]["deep"]["er"] = 4; }); // an object, and what changes in it
  CHECK(j["a"].wait_for([](const json& v) { return v == json{{"deep", {{"er", 4}}}}; }, 60s));
  t.join();
  const auto& reader = j;
  t = later([](auto& d) { d["x"] = 5; });
  CHECK(reader["x"].wait_for(is(5), 60s));
  t.join();
  auto ref = j.at("a");
  CHECK(ref["deep"].wait_for("er", is(4), 0s));
}

TEST_CASE("several keys of one moment: leaves, objects, and what is not there") {
  Own own("many");
  auto& j = own.d;
  j.update({{"a", 0}, {"b", {{"c", 0}, {"d", {1, 2}}}}});
  const auto some = j.get_many({"b", "none", "a"});
  REQUIRE(some.size() == 3);
  CHECK(some[0] == json{{"c", 0}, {"d", {1, 2}}});
  CHECK_FALSE(some[1]);
  CHECK(some[2] == json(0));
  CHECK(j["b"].get_many(std::vector<std::string>{"d", "x"}) ==
        std::vector<std::optional<json>>{json{1, 2}, std::nullopt});
  CHECK(j.at("b").get_many({"c"}).at(0) == json(0));
  CHECK(j["none"].get_many({"a", "b"}) == std::vector<std::optional<json>>(2)); // not what the root has there
  CHECK(code_of([&] { j["a"].get_many({"x"}); }) == SHMD_ERR_NOT_A_DICT);
  CHECK(j.get_many({}).empty());
  std::atomic<bool> stop{false};
  std::atomic<int> written{0}, allowed{1000}; // no more than there is space for while the other side stands still
  std::thread writer([&] {
    for (int i = 1; !stop; written = i++) {
      while (i > allowed && !stop) std::this_thread::sleep_for(100us);
      j.update({{"a", i}, {"b", {{"c", i}}}});
    }
  });
  std::vector<std::string> keys(200, "none"); // that a commit may come between the first and the last
  keys.front() = "a";
  keys.back() = "b";
  int different = 0;
  for (int i = 0; i < 300; ++i) {
    allowed = written + 1000;
    const auto v = j.get_many(keys);
    if (*v.front() != v.back()->at("c")) ++different;
  }
  stop = true;
  writer.join();
  CHECK(different == 0);
}

TEST_CASE("a scan of a JSON dict gives leaves and objects in portions") {
  Own own("scan");
  auto& j = own.d;
  for (int i = 0; i < 300; ++i) j["user:" + std::to_string(i)] = {{"n", i}};
  for (int i = 0; i < 300; ++i) j["item:" + std::to_string(i)] = i;
  std::map<std::string, json> seen;
  int portions = 0;
  std::uint64_t cursor = 0;
  do {
    const auto p = j.scan("user:", cursor, 50);
    for (const auto& [key, value] : p.entries) seen[key] = value;
    cursor = p.next;
    ++portions;
  } while (cursor != 0);
  CHECK(portions >= 10);
  REQUIRE(seen.size() == 300);
  CHECK(seen.at("user:7") == json{{"n", 7}});
  CHECK(j.scan(0, 10'000).entries.size() == 600);
  CHECK(j["user:7"].scan().entries == std::vector<std::pair<std::string, json>>{{"n", 7}});
  CHECK(j["user:7"].scan("m").entries.empty());
  CHECK(j["none"].scan().entries.empty());
  CHECK(code_of([&] { j["item:1"].scan(); }) == SHMD_ERR_NOT_A_DICT);
}

// The mechanism: compute_once() (detail/computing.hpp). Without the lock on the key each of them computes.
TEST_CASE("JSON is computed once across threads and processes") {
  Own own("compute");
  auto& j = own.d;
  support::Shared<std::atomic<int>> computed, go;
  const auto ask = [&] {
    while (*go == 0) std::this_thread::yield();
    return j["cache"].get_or_compute("answer", [&] {
      ++*computed;
      std::this_thread::sleep_for(30ms);
      j["meanwhile"] = true; // the dict's lock is free
      return json{{"is", 42}};
    });
  };
  support::Child a([&] {
    return ask() == json{{"is", 42}} ? 0 : 1;
  }),
      b([&] {
        return ask() == json{{"is", 42}} ? 0 : 1;
      });
  std::thread t([&] { CHECK(ask() == json{{"is", 42}}); });
  *go = 1;
  CHECK(ask() == json{{"is", 42}});
  t.join();
  CHECK(a.join() == 0);
  CHECK(b.join() == 0);
  CHECK(*computed == 1);
  CHECK(j.named_locks().empty());
  CHECK((j["cache"]["answer"]["is"] == 42));
  CHECK(j.get_or_compute("cache", [] { return 1; }) == json{{"answer", {{"is", 42}}}});
  CHECK(j.at("cache").get_or_compute("leaf", [] { return "text"; }) == "text");
  CHECK_THROWS_AS(j.get_or_compute("x", []() -> json { throw std::runtime_error("no"); }), std::runtime_error);
  CHECK_FALSE(j.contains("x"));
  CHECK(code_of([&] { j.get_or_compute("x", [&] { return j.get_or_compute("x", [] { return 1; }); }); }) ==
        SHMD_ERR_WOULD_DEADLOCK);
  CHECK(code_of([&] { j.transact([](auto& tx) { tx.get_or_compute("z", [] { return 1; }); }); }) ==
        SHMD_ERR_IN_TRANSACTION);
  support::Shared<std::atomic<int>> started;
  support::Child slow([&] {
    j.get_or_compute("slow", [&] {
      *started = 1;
      for (;;) pause();
      return 0;
    });
    return 0;
  });
  REQUIRE(support::eventually([&] { return *started == 1; }));
  CHECK_THROWS_AS(j.get_or_compute(
                      "slow", [] { return 1; }, 5ms),
                  shm::lock_timeout);
  slow.end(SIGKILL);
  CHECK(j.get_or_compute("slow", [] { return 2; }) == 2);
}
