// SPDX-License-Identifier: Apache-2.0
// Watching: what changes say, which changes a watcher is shown, how waiting ends, and what follows a resync.
// What guards it: watched_place::match() and the look at END in next_match() (follow.hpp), the seek after RESYNC in
// commit_reader::read(), the slice in follower::wait(), stopped_.
#include <atomic>
#include <csignal>
#include <set>
#include <thread>
#include <variant>

#include "support.hpp"

using namespace std::chrono_literals;
using shm::change_kind;
using support::code_of;
using support::Own;
using Flat = shm::dict<std::string, int>;
using Nested = shm::dict<std::string, shm::dict<std::string, int>>;
using Path = std::vector<std::string>;

namespace {

shm::options little_history() { return support::small().segment_size(65536).buffer_size(65536); }

// Every change, in a line: "put de/berlin=3 [first last]" is "put de/berlin=3 <>".
template <class Watcher>
std::vector<std::string> told(Watcher& w) {
  std::vector<std::string> lines;
  while (auto* c = w.poll()) {
    static constexpr const char* names[] = {"put ", "erase ", "dict ", "clear", "resync"};
    std::string line = names[static_cast<int>(c->kind)];
    for (const auto& key : c->path) line += key + "/";
    line += c->key;
    if (c->value) line += "=" + std::to_string(*c->value);
    lines.push_back(line + (c->first ? " <" : " ") + (c->last ? ">" : ""));
  }
  return lines;
}
using Lines = std::vector<std::string>;

// Overwrites all history there is.
template <class D>
void flood(D& d) {
  for (int i = 0; i < 20000; ++i) d["flood"] = i;
}

} // namespace

TEST_CASE("a watcher is told of each change from then on, in order, with its commit's ends") {
  Own<Flat> own("watch");
  auto& d = own.d;
  d["before"] = 1;
  auto w = d.watch();
  CHECK(w.poll() == nullptr);
  d["a"] = 1;
  d["a"] += 1;
  d.erase("before");
  d.transact([](auto& tx) {
    tx["x"] = 1;
    tx["y"] = 2;
    tx.erase("a");
  });
  try {
    d.transact([](auto& tx) {
      tx["never"] = 1;
      throw 1;
    });
  } catch (int) {
  }
  d.clear();
  CHECK(told(w) ==
        Lines{"put a=1 <>", "put a=2 <>", "erase before <>", "put x=1 <", "put y=2 ", "erase a >", "clear <>"});
  std::uint64_t last = 0;
  auto again = d.watch(d.snapshot().position());
  CHECK(again.poll() == nullptr);
  d["a"] = 1, d["b"] = 2;
  for (int i = 0; i < 2; ++i) {
    const auto* c = w.next(5s);
    REQUIRE(c != nullptr);
    CHECK(c->position > last);
    CHECK(c->path.empty());
    last = c->position;
    CHECK(again.next(5s)->position == last);
  }
  static_assert(std::is_same_v<decltype(w)::change_type::key_type, std::string>, "");
}

TEST_CASE("watching goes on from a position, and in a commit from its beginning") {
  Own<Flat> own("watch");
  auto& d = own.d;
  auto w = d.watch();
  const auto start = w.position();
  d["a"] = 1;
  d.update({{"b", 2}, {"c", 3}, {"d", 4}});
  d["e"] = 5;
  REQUIRE(w.next(0s)->key == "a");
  const auto behind_a = w.position();
  REQUIRE(w.next(0s)->first);
  CHECK(w.position() == behind_a); // half a commit was given out
  auto again = d.watch(w.position());
  CHECK(told(again).size() == 4);
  REQUIRE(!w.next(0s)->last);
  REQUIRE(w.next(0s)->last);
  auto rest = d.watch(w.position());
  CHECK(told(rest) == Lines{"put e=5 <>"});
  auto all = d.watch(start);
  CHECK(told(all).size() == 5);
  CHECK(code_of([&] { (void)d.watch(start + 8); }) == SHMD_ERR_INVALID_ARGUMENT);
}

TEST_CASE("changes below are told with the keys that lead there") {
  Own<Nested> own("watch");
  auto& d = own.d;
  auto w = d.watch();
  d["de"]["berlin"] = 3;
  d["fr"] = {{"paris", 1}};
  d.erase("de");
  CHECK(told(w) == Lines{"dict de <", "put de/berlin=3 >", "dict fr <", "put fr/paris=1 >", "erase de <>"});
  d.at("fr").clear();
  CHECK(told(w) == Lines{"dict fr <>"});
  d.clear();
  CHECK(told(w) == Lines{"clear <>"});
}

TEST_CASE("keys of several types come as a variant of them") {
  Own<shm::dict<int, shm::dict<std::string, shm::dict<int, std::string>>>> own("watch");
  auto& d = own.d;
  auto w = d.watch();
  d[7]["a"][9] = "x";
  using Key = std::variant<int, std::string>;
  static_assert(std::is_same_v<decltype(w)::change_type::key_type, Key>, "");
  auto* c = w.next(5s);
  CHECK((c->kind == change_kind::dict && c->path.empty() && c->key == Key(7)));
  c = w.next(5s);
  CHECK((c->kind == change_kind::dict && c->path == std::vector<Key>{7} && c->key == Key(std::string("a"))));
  c = w.next(5s);
  CHECK((c->kind == change_kind::put && c->path == std::vector<Key>{7, std::string("a")} && c->key == Key(9)));
  CHECK(c->value == "x");
}

TEST_CASE("a place is watched by path: whoever stands there, and whether anybody does") {
  Own<Nested> own("watch");
  auto& d = own.d;
  auto w = d["de"].watch();
  d["fr"]["paris"] = 1; // elsewhere
  d["de"]["berlin"] = 3;
  CHECK(told(w) == Lines{"clear <", "put berlin=3 >"});
  d.transact([](auto& tx) {
    tx["fr"]["lyon"] = 1;
    tx["de"]["bonn"] = 1;
    tx["fr"]["nice"] = 1;
  });
  CHECK(told(w) == Lines{"put bonn=1 <>"}); // all that it is shown of the commit
  d["de"] = {{"ulm", 1}};
  CHECK(told(w) == Lines{"clear <", "put ulm=1 >"});
  d.erase("fr");
  d.erase("de");
  CHECK(told(w) == Lines{"clear <>"});
  d["de"]["ulm"] = 2;
  d.clear();
  CHECK(told(w) == Lines{"clear <", "put ulm=2 >", "clear <>"});
  CHECK(w.snapshot().empty());
}

TEST_CASE("a ref is watched by identity, and is removed at the end of what happened in it") {
  Own<Nested> own("watch");
  auto& d = own.d;
  auto ref = d["de"].ref();
  auto w = ref.watch();
  ref["berlin"] = 1;
  d["de"]["bonn"] = 2;
  d["fr"]["paris"] = 3;
  CHECK(told(w) == Lines{"put berlin=1 <>", "put bonn=2 <>"});
  ref["ulm"] = 4;
  d["de"] = {{"ulm", 5}};
  d["de"]["ulm"] = 6;
  REQUIRE(w.next(5s)->value == 4);
  CHECK_THROWS_AS(w.next(), shm::removed);
  CHECK_THROWS_AS(w.poll(), shm::removed);
  CHECK_THROWS_AS(w.snapshot(), shm::removed);
  auto other_ref = d["de"].ref();
  auto fresh = other_ref.watch();
  other_ref["bonn"] = 7;
  CHECK(fresh.snapshot().get("bonn", 0) == 7);
  CHECK(fresh.poll() == nullptr);
  CHECK_THROWS_AS(ref.wait_for(
                      "ulm", [](int) { return false; }, 1s),
                  shm::removed);

  auto sleeper = d["fr"].ref();
  auto asleep = sleeper.watch();
  std::thread other([&] {
    support::until_followed(d);
    d.erase("fr");
  });
  CHECK_THROWS_AS(asleep.next(), shm::removed);
  other.join();
}

TEST_CASE("one key is watched") {
  Own<Nested> own("watch");
  auto& d = own.d;
  auto w = d["de"]["berlin"].watch();
  d["de"]["bonn"] = 1;
  d["de"]["berlin"] = 2;
  d["fr"]["berlin"] = 2;
  d["de"].erase("berlin");
  d["de"]["berlin"] = 3;
  d.erase("de");
  CHECK(told(w) ==
        Lines{"erase berlin <>", "put berlin=2 <>", "erase berlin <>", "put berlin=3 <>", "erase berlin <>"});
  Own<Flat> flat("watch.flat");
  auto f = flat.d["a"].watch();
  flat.d["b"] = 1;
  flat.d["a"] = 2;
  flat.d.clear();
  CHECK(told(f) == Lines{"put a=2 <>", "erase a <>"});
}

TEST_CASE("who falls behind is told so once, and goes on from a snapshot") {
  const support::Name name("watch");
  Flat d(name, little_history());
  auto w = d.watch(), careless = d.watch();
  d["a"] = 1;
  flood(d);
  for (auto* each : {&w, &careless}) {
    auto* c = each->next(0s);
    REQUIRE(c != nullptr);
    CHECK((c->kind == change_kind::resync && c->first && c->last && c->path.empty() && c->key.empty() && !c->value));
  }
  d["a"] = 2; // after it was told: nobody misses this
  const auto s = w.snapshot();
  CHECK(s.get("a", 0) == 2);
  d["a"] = 3;
  CHECK(told(w) == Lines{"put a=3 <>"}); // not what the snapshot shows
  CHECK(told(careless) == Lines{"put a=2 <>", "put a=3 <>"});
  CHECK(code_of([&] { d.transact([&](auto&) { (void)w.snapshot(); }); }) == SHMD_ERR_IN_TRANSACTION);
}

TEST_CASE("a value larger than the history arrives whole") {
  const support::Name name("watch");
  shm::dict<std::string, std::string> d(name, little_history());
  auto w = d.watch();
  const std::string big(std::size_t{1} << 20, 'x');
  d["big"] = big;
  const auto* c = w.next(5s);
  REQUIRE(c != nullptr);
  CHECK(c->value == big);
}

TEST_CASE("waiting ends with a change, with the time, and when it is stopped") {
  Own<Flat> own("watch");
  auto& d = own.d;
  auto w = d.watch();
  const auto start = std::chrono::steady_clock::now();
  CHECK(w.next(70ms) == nullptr); // longer than a slice
  CHECK(std::chrono::steady_clock::now() - start >= 70ms);
  CHECK(!w.stopped());
  d["a"] = 0; // nobody sleeps
  CHECK(w.poll()->value == 0);
  std::thread other([&] {
    support::until_followed(d);
    d["a"] = 1;
  });
  auto* c = w.next();
  other.join();
  REQUIRE(c != nullptr);
  CHECK(c->value == 1);

  std::atomic<int> seen{0};
  std::thread stopper([&] {
    d["a"] = 2, d["a"] = 3;
    static_cast<void>(support::eventually([&] { return seen == 5; }));
    support::until_followed(d);
    w.stop();
  });
  for (auto& each : w) seen += *each.value;
  stopper.join();
  CHECK(seen == 5);
  CHECK(w.stopped());
  d["a"] = 4;
  CHECK(w.next() == nullptr);
  CHECK(w.poll() == nullptr);
}

TEST_CASE("writes elsewhere neither end a wait nor keep it from ending") {
  Own<Nested> own("watch");
  auto& d = own.d;
  d["de"]["berlin"] = 1;
  auto w = d["de"].watch();
  std::atomic<bool> done{false};
  std::atomic<int> written{0};
  std::thread other([&] {
    while (!done) d["fr"]["paris"] = ++written;
  });
  CHECK(support::eventually([&] { return written > 1000; }));
  // It may be overtaken, but is shown nothing else.
  if (const auto* c = w.poll()) CHECK(c->kind == change_kind::resync);
  if (const auto* c = w.next(60ms)) CHECK(c->kind == change_kind::resync);
  CHECK(!d["de"].wait_for(
      "berlin", [](int n) { return n == 2; }, 60ms));
  done = true;
  other.join();
}

namespace {
shm::watcher<std::string, int>* by_signal = nullptr;
}
TEST_CASE("a signal handler may stop a watcher") {
  Own<Flat> own("watch");
  auto w = own.d.watch();
  by_signal = &w;
  const auto before = std::signal(SIGUSR1, [](int) { by_signal->stop(); });
  const pthread_t self = pthread_self();
  std::thread other([&own, self] {
    support::until_followed(own.d);
    pthread_kill(self, SIGUSR1);
  });
  CHECK(w.next() == nullptr);
  other.join();
  std::signal(SIGUSR1, before);
}

TEST_CASE("closing the dict ends its watchers, asleep or not") {
  Own<Flat> own("watch");
  auto& d = own.d;
  auto w = d.watch();
  d["a"] = 1; // which it will not see any more
  auto asleep = d.watch();
  std::atomic<bool> threw{false};
  std::thread sleeper([&] {
    try {
      (void)asleep.next();
    } catch (const shm::closed&) {
      threw = true;
    }
  });
  support::until_followed(d);
  d.close();
  sleeper.join();
  CHECK(threw);
  CHECK_THROWS_AS(asleep.next(), shm::closed);
  CHECK_THROWS_AS(w.next(), shm::closed);
  CHECK_THROWS_AS(w.poll(), shm::closed);
  CHECK_THROWS_AS(w.snapshot(), shm::closed);
  CHECK_THROWS_AS(d.watch(), shm::closed);
  CHECK_THROWS_AS(d.wait_for(
                      "a", [](int) { return true; }, 1s),
                  shm::closed);
}

TEST_CASE("wait_for waits until a key is as one wants it") {
  Own<Flat> own("watch");
  auto& d = own.d;
  CHECK(!d.wait_for(
      "n", [](int) { return true; }, 10ms));
  CHECK(d.wait_for(
      "n", [](std::optional<int> v) { return !v; }, 0s));
  d["other"] = 0; // nobody sleeps
  std::atomic<int> asked{0};
  std::thread other([&] {
    support::until_followed(d);
    for (int i = 1; i <= 3; ++i) {
      d["n"] = i;
      d["other"] = i;
    }
    support::until_followed(d);
    for (int i = 0; i < 50; ++i) d["other"] = i, std::this_thread::sleep_for(100us);
    d["n"] = 10;
  });
  CHECK(d.wait_for(
      "n",
      [&](int v) {
        ++asked;
        return v == 10;
      },
      60s));
  other.join();
  CHECK(asked >= 1);
  CHECK(asked <= 5); // not for changes of other keys
  std::thread eraser([&] {
    support::until_followed(d);
    d.erase("n");
  });
  d.wait("n", [](std::optional<int> v) { return !v; });
  eraser.join();
  CHECK(code_of([&] {
          d.transact([&](auto&) {
            (void)d.wait_for(
                "n", [](int) { return true; }, 1s);
          });
        }) == SHMD_ERR_IN_TRANSACTION);

  Own<Nested> nested("watch.nested");
  auto& t = nested.d;
  std::thread filler([&] {
    support::until_followed(t);
    t["de"]["berlin"] = 1;
    t["de"]["bonn"] = 2;
  });
  CHECK(t.wait_for(
      "de", [](const std::unordered_map<std::string, int>& m) { return m.size() == 2; }, 60s));
  CHECK(t["de"].wait_for(
      "bonn", [](int v) { return v == 2; }, 60s));
  filler.join();
}

TEST_CASE("wait_for is not misled by falling behind") {
  const support::Name name("watch");
  Flat d(name, little_history());
  d["n"] = 0;
  bool first = true;
  const auto start = std::chrono::steady_clock::now();
  CHECK(d.wait_for(
      "n",
      [&](int v) {
        if (first) d["n"] = 1, flood(d);
        first = false;
        return v == 1;
      },
      50s));
  CHECK(std::chrono::steady_clock::now() - start < 40s); // not by asking once more at the end
}

TEST_CASE("what cannot be read is an error that loses nothing") {
  Own<shm::dict<std::string, std::vector<int>>> own("watch");
  auto& d = own.d;
  auto w = d.watch();
  d["a"] = {1};
  REQUIRE(shmd_put(d.native_handle(), shmd_root(), "bad", 3, "xyz", 3, 0) == 0);
  d["b"] = {2};
  REQUIRE(w.next(0s)->key == "a");
  const auto position = w.position();
  for (int i = 0; i < 2; ++i) {
    CHECK(code_of([&] { (void)w.poll(); }) == SHMD_ERR_CORRUPT);
    CHECK(w.position() == position);
  }
  CHECK_THAT(support::message_of([&] { (void)w.poll(); }), support::contains(own.name.str()));
  d.erase("bad");
  CHECK(w.snapshot().size() == 2); // the way on
  d["c"] = {3};
  CHECK(w.next(0s)->key == "c");
}

TEST_CASE("a read-only handle can watch") {
  Own<Flat> own("watch");
  const Flat reader(shm::open_only, own.name, shm::options{}.read_only());
  auto w = reader.watch();
  own.d["a"] = 1;
  const auto* c = w.next(5s);
  REQUIRE(c != nullptr);
  CHECK(c->value == 1);
  std::thread other([&] {
    std::this_thread::sleep_for(20ms);
    own.d["a"] = 2;
  });
  CHECK(reader.wait_for(
      "a", [](int v) { return v == 2; }, 60s));
  other.join();
}
