// SPDX-License-Identifier: Apache-2.0
// Replicas: always the state after some commit, whatever happened to the dict, and how they catch up.
// What guards it: whole<>::apply() and the order of load and seek in replica::reload() (replica.hpp), the resync of commit_reader.
#include <random>
#include <shm/json.hpp>
#include <thread>

#include "support.hpp"

using namespace std::chrono_literals;
using support::code_of;
using support::Own;
using Flat = shm::dict<std::string, int>;
using Nested = shm::dict<std::string, shm::dict<int, std::string>>;

namespace {

shm::options little_history() { return support::small().segment_size(65536).buffer_size(65536); }

} // namespace

TEST_CASE("a replica loads, and applies what was committed when it is asked to") {
  Own<Flat> own("replica");
  auto& d = own.d;
  d["a"] = 1;
  shm::replica r{d};
  static_assert(std::is_same_v<decltype(r), shm::replica<std::string, int>>, "");
  static_assert(std::is_same_v<decltype(r.data()), const std::unordered_map<std::string, int>&>, "");
  CHECK(r.data() == d.to_map());
  CHECK(r.sync() == 0);
  d["a"] = 2;
  d["b"] = 3;
  CHECK(r.data().at("a") == 1); // does not change by itself
  CHECK(r.wait(0s));
  CHECK(r.sync() == 2);
  CHECK(!r.wait(0s));
  CHECK(r.data() == d.to_map());
  CHECK(r.position() == d.snapshot().position());
  d.erase("a");
  CHECK(r.sync() == 1);
  d.clear();
  CHECK(r.sync() == 1);
  CHECK(r.data().empty());
  d.transact([&](auto& tx) {
    tx["x"] = 1;
    tx["y"] = 2;
    CHECK(r.sync() == 0);
    CHECK(code_of([&] { r.reload(); }) == SHMD_ERR_IN_TRANSACTION);
  });
  CHECK(code_of([&] { r.reload(); }) == 0);
  CHECK(r.data().size() == 2);
  CHECK(r.sync() == 0);
  CHECK(r.resyncs() == 0);
  std::thread other([&] {
    support::until_followed(d);
    d["z"] = 1;
  });
  CHECK(r.wait(60s));
  other.join();
  d.close();
  CHECK_THROWS_AS(r.sync(), shm::closed);
  CHECK_THROWS_AS(r.reload(), shm::closed);
  CHECK(r.data().size() == 2);
}

TEST_CASE("a replica follows nested dicts, replaced, cleared and erased") {
  Own<Nested> own("replica");
  auto& d = own.d;
  d["a"][1] = "x";
  shm::replica r{d};
  const auto same = [&] {
    r.sync();
    return r.data() == d.to_map();
  };
  CHECK(same());
  d["a"][2] = "y", d["b"][1] = "z";
  CHECK(same());
  d["a"] = {{7, "seven"}};
  CHECK(same());
  d["a"].clear();
  CHECK(r.sync() == 1);
  CHECK(r.data().at("a").empty());
  d.erase("b"), d["b"][3] = "new";
  CHECK(same());
  d.clear();
  CHECK(same());
  d["c"][1] = std::string(std::size_t{1} << 20, 'x'); // larger than a segment
  CHECK(same());
  CHECK(r.resyncs() == 0);

  auto ref = d["c"].ref();
  shm::replica below{ref};
  static_assert(std::is_same_v<decltype(below), shm::replica<int, std::string>>, "");
  ref[2] = "two";
  d["a"][1] = "elsewhere";
  CHECK(below.sync() == 1);
  CHECK(below.data() == ref.to_map());
  d.erase("c");
  CHECK_THROWS_AS(below.sync(), shm::removed);
  CHECK_THROWS_AS(below.sync(), shm::removed);
}

TEST_CASE("a replica that fell behind loads anew, once") {
  const support::Name name("replica");
  Flat d(name, little_history());
  shm::replica r{d};
  for (int round = 1; round <= 3; ++round) {
    for (int i = 0; i < 20000; ++i) d[std::to_string(i % 50)] = i * round;
    CHECK(r.sync() == 1);
    CHECK(r.resyncs() == static_cast<std::uint64_t>(round));
    CHECK(r.data() == d.to_map());
    d["last"] = round;
    CHECK(r.sync() == 1);
    CHECK(r.data() == d.to_map());
  }
}

TEST_CASE("a replica of JSON is JSON") {
  Own<shm::json_dict> own("replica");
  auto& j = own.d;
  j["server"]["port"] = 8080;
  j["list"] = {1, 2, {{"deep", true}}};
  shm::replica r{j};
  static_assert(std::is_same_v<decltype(r.data()), const nlohmann::json&>, "");
  CHECK(r.data() == j.to_json());
  const auto same = [&] {
    r.sync();
    return r.data() == j.to_json();
  };
  j["server"]["tls"]["key"] = "k";
  CHECK(same());
  j["server"] = 1; // a leaf instead of an object, and back
  CHECK(same());
  j["server"] = {{"a", {{"b", 2}}}};
  CHECK(same());
  j["server"]["a"].erase("b");
  CHECK(same());
  j.replace({{"new", {{"x", 1}}}});
  CHECK(same());
  auto ref = j.at("new");
  shm::replica below{ref};
  ref["y"] = 2;
  CHECK(below.sync() == 1);
  CHECK(below.data() == nlohmann::json{{"x", 1}, {"y", 2}});
  j.clear();
  CHECK(same());
  CHECK(r.data() == nlohmann::json::object());
  CHECK_THROWS_AS(below.sync(), shm::removed);
  CHECK(r.resyncs() == 0);
}

TEST_CASE("JSON is watched, as a whole and in parts") {
  Own<shm::json_dict> own("watch.json");
  auto& j = own.d;
  auto all = j.watch();
  auto part = j["server"].watch();
  j["server"]["port"] = 8080;
  auto* c = all.next(5s);
  CHECK((c->kind == shm::change_kind::dict && c->key == "server"));
  c = all.next(5s);
  CHECK((c->path == std::vector<std::string>{"server"} && c->key == "port" && *c->value == 8080 && c->last));
  CHECK(part.next(5s)->kind == shm::change_kind::clear);
  c = part.next(5s);
  CHECK((c->path.empty() && c->key == "port" && *c->value == 8080));
  CHECK(part.snapshot() == nlohmann::json{{"port", 8080}});
  CHECK(all.snapshot() == j.to_json());
  j["server"] = "gone";
  c = part.next(5s);
  CHECK((c->kind == shm::change_kind::clear && *c->value == "gone"));
  CHECK(part.snapshot() == nlohmann::json::object());
  std::thread other([&] {
    support::until_followed(j);
    j["server"] = {{"host", "x"}};
  });
  CHECK(j.wait_for(
      "server", [](const nlohmann::json& v) { return v.is_object() && v.size() == 1; }, 60s));
  other.join();
  CHECK(!j.wait_for(
      "absent", [](const nlohmann::json&) { return true; }, 0s));
}

TEST_CASE("random changes leave replica and dict alike") {
  const support::Name name("replica");
  shm::dict<std::string, shm::dict<int, shm::dict<int, std::string>>> d(name, support::small());
  shm::replica r{d};
  std::mt19937_64 rng(11);
  for (int round = 0; round < 60; ++round) {
    for (int i = 0; i < 50; ++i) {
      const std::string a(1, static_cast<char>('a' + rng() % 3));
      const int b = static_cast<int>(rng() % 3), c = static_cast<int>(rng() % 6);
      switch (rng() % 12) {
        case 0:
          d.erase(a);
          break;
        case 1:
          d[a].erase(b);
          break;
        case 2:
          d[a][b].clear();
          break;
        case 3:
          d[a] = {{b, {{c, "replaced"}}}};
          break;
        case 4:
          d.transact([&](auto& tx) {
            tx.erase(a);
            tx[a][b][c] = "again";
            tx[a][b + 1][c] = "next";
          });
          break;
        case 5:
          if (rng() % 10 == 0) d.clear();
          break;
        case 6:
          d[a][b].erase(c);
          break;
        default:
          d[a][b][c] = std::string(rng() % 300, 'v');
      }
    }
    if (round % 10 == 9) REQUIRE(shmd_compact(d.native_handle()) == 0);
    r.sync();
    REQUIRE(r.data() == d.to_map());
  }
  CHECK(r.resyncs() == 0);
}
