// SPDX-License-Identifier: Apache-2.0
// Followers: every change once, in order, whole commits, the way to its dict; and what they say when they cannot.
// What guards it: shmd_stream_holds after each copy and the order of loads in look() (stream.c), `published` instead of `head` in
// shmd_log_is_old (log.c), reusable() (node.c), complete() (watch.c), look_up() and shmd_paths_begin() (paths.c).
#include <atomic>
#include <memory>
#include <random>
#include <set>
#include <thread>

#include "support/catch.hpp"
#include "support/follow.hpp"

extern "C" {
#include "lock.h"
#include "log.h"
#include "node.h"
}

using support::Change;
using support::Dict;
using support::Follower;
using support::Plain;
using Path = std::vector<std::string>;

namespace {

const std::string clean; // what a check should find

shmd_options small_history(std::uint64_t buffer_size = 65536, std::uint64_t max_size = std::uint64_t{64} << 20) {
  auto o = support::small_options(max_size);
  o.segment_size = 65536;
  o.buffer_size = buffer_size;
  return o;
}

// Takes a snapshot and goes on from there, as a follower that was told to.
void resync(Dict& d, Follower& f, Plain& mirror) {
  auto [plain, position] = support::plain_of(d);
  mirror = std::move(plain);
  f.seek(position);
}

// Applies what is new; false after a resync.
bool follow(Dict& d, Follower& f, Plain& mirror) {
  Change c;
  int result;
  while ((result = f.next(c)) == SHMD_OK) REQUIRE(mirror.apply(c));
  if (result == SHMD_RESYNC) resync(d, f, mirror);
  return result == SHMD_END;
}

} // namespace

// Guard: copy_own() (watch.c). The keys of a path are this process's bytes, one behind the other at any address: a copy made for
// shared memory reads whole words from there, which an assertion of test builds refuses, and AddressSanitizer sees.
TEST_CASE("the way to a dict is told whatever the lengths of the keys on it") {
  Dict d(support::unique_name("watch"));
  Follower f(d);
  Path path;
  shmd_node node = shmd_root();
  for (std::size_t length = 0; length < 20; ++length) {
    path.push_back(std::string(length, static_cast<char>('a' + length)));
    node = d.child(path.back(), node);
    d.put("key", std::to_string(length), node);
  }
  std::size_t puts = 0;
  for (const auto& change : f.all()) {
    if (change.kind != SHMD_CHANGE_PUT) continue;
    CHECK(change.value == std::to_string(puts));
    CHECK(change.path == Path(path.begin(), path.begin() + static_cast<std::ptrdiff_t>(++puts)));
  }
  CHECK(puts == path.size());
  f.seek(SHMD_NOW); // what it learnt is forgotten: the way is told from the node table
  d.put("key", "last", node);
  const auto changes = f.all();
  REQUIRE(changes.size() == 1);
  CHECK(changes[0].path == path);
}

TEST_CASE("a change says what happened, where, and how its commit is framed") {
  Dict d(support::unique_name("watch"));
  d.put("before", "x");
  Follower f(d);
  CHECK(f.all().empty());

  d.put("a", "1");
  d.put("a", "2");
  d.erase("before");
  const auto inner = d.child("in");
  const auto deep = d.child("deep", inner);
  d.put("k", "v", deep);
  d.put("empty", "", deep);
  const auto changes = f.all();
  REQUIRE(changes.size() == 7);
  CHECK(changes[0].kind == SHMD_CHANGE_PUT);
  CHECK(changes[0].key == "a");
  CHECK(changes[0].value == "1");
  CHECK(changes[0].path.empty());
  CHECK(changes[0].node.id == 0);
  CHECK(changes[1].value == "2");
  CHECK(changes[2].kind == SHMD_CHANGE_ERASE);
  CHECK(changes[2].key == "before");
  CHECK(changes[2].value.empty());
  CHECK(changes[3].kind == SHMD_CHANGE_NODE);
  CHECK(changes[3].child.id == inner.id);
  CHECK(changes[3].child.generation == inner.generation);
  CHECK(changes[3].value.empty());
  CHECK(changes[4].path == Path{"in"});
  CHECK(changes[4].node.id == inner.id);
  CHECK(changes[5].path == Path{"in", "deep"});
  CHECK(changes[5].value == "v");
  CHECK(changes[5].node.generation == deep.generation);
  CHECK(changes[6].value.empty());
  for (std::size_t i = 0; i < changes.size(); ++i) {
    CHECK(changes[i].first);
    CHECK(changes[i].last);
    if (i != 0) CHECK(changes[i].position == changes[i - 1].next);
  }
  CHECK(f.position() == changes.back().next);
  CHECK(f.position() == d.stat().position);

  REQUIRE(shmd_begin(d, SHMD_FOREVER) == 0);
  for (const char* key : {"x", "y", "z"}) d.put(key, "t");
  CHECK(f.all().empty());
  REQUIRE(shmd_commit(d) == 0);
  const auto whole = f.all();
  REQUIRE(whole.size() == 3);
  for (std::size_t i = 0; i < 3; ++i) {
    CHECK(whole[i].first == (i == 0));
    CHECK(whole[i].last == (i == 2));
  }
  REQUIRE(shmd_begin(d, SHMD_FOREVER) == 0);
  d.put("never", "t");
  REQUIRE(shmd_abort(d) == 0);
  CHECK(f.all().empty());

  REQUIRE(shmd_clear(d, inner, nullptr) == 0); // a nested dict is replaced by an empty one
  REQUIRE(shmd_clear(d, shmd_root(), nullptr) == 0);
  d.put("after", "1");
  const auto cleared = f.all();
  REQUIRE(cleared.size() == 3);
  CHECK(cleared[0].kind == SHMD_CHANGE_NODE);
  CHECK(cleared[0].key == "in");
  CHECK(cleared[1].kind == SHMD_CHANGE_CLEAR);
  CHECK(cleared[1].key.empty());
  CHECK(cleared[1].path.empty());
  CHECK(cleared[2].path.empty());
  CHECK(cleared[2].key == "after");
}

TEST_CASE("a follower that begins later, or from an earlier position, sees the same changes") {
  Dict d(support::unique_name("watch"));
  const auto a = d.child("a"), b = d.child("b", a);
  const auto start = d.stat().position;
  Follower early(d);
  for (int i = 0; i < 500; ++i)
    d.put("k" + std::to_string(i), std::string(static_cast<std::size_t>(i % 90), 'v'), i % 3 ? b : a);
  for (int i = 0; i < 300; ++i) d.put("k" + std::to_string(i), "v");
  const auto expected = early.all();
  REQUIRE(expected.size() == 800);
  Follower late(d, start);
  const auto found = late.all();
  REQUIRE(found.size() == expected.size());
  for (std::size_t i = 0; i < found.size(); ++i) {
    CHECK(found[i].position == expected[i].position);
    CHECK(found[i].path == expected[i].path);
    CHECK(found[i].key == expected[i].key);
  }
  Follower middle(d, expected[100].next);
  CHECK(middle.all().size() == expected.size() - 101);
}

TEST_CASE("a follower from before the root was cleared sees what was in it then") {
  Dict d(support::unique_name("watch"));
  d.put("a", "1");
  const auto start = d.stat().position;
  Follower early(d);
  std::vector<std::string> expected;
  for (int round = 0; round < 3; ++round) {
    for (int i = 0; i < 10; ++i) {
      const auto key = std::to_string(round) + "." + std::to_string(i);
      d.put(key, "v");
      expected.push_back(key);
    }
    REQUIRE(shmd_clear(d, shmd_root(), nullptr) == 0);
    expected.emplace_back();
  }
  Follower late(d, start);
  for (auto* f : {&early, &late}) {
    const auto changes = f->all();
    REQUIRE(changes.size() == expected.size());
    for (std::size_t i = 0; i < changes.size(); ++i) {
      CHECK(changes[i].key == expected[i]);
      CHECK(changes[i].path.empty());
      CHECK((changes[i].kind == SHMD_CHANGE_CLEAR) == expected[i].empty());
      CHECK(changes[i].last);
    }
  }
}

TEST_CASE("every operation gives its change once and in order, through compaction and cleaning") {
  Dict d(support::unique_name("watch"), small_history(std::uint64_t{1} << 20));
  Follower f(d);
  std::mt19937_64 rng(7);
  std::uint64_t moved = 0;
  for (int round = 0; round < 60; ++round) {
    struct Expected {
      int kind;
      std::string key, value;
      bool first, last;
    };
    std::vector<Expected> expected;
    while (expected.size() < 400) {
      const std::size_t group = rng() % 4 == 0 ? rng() % 6 + 1 : 1;
      if (group > 1) REQUIRE(shmd_begin(d, SHMD_FOREVER) == 0);
      const std::size_t begin = expected.size();
      for (std::size_t i = 0; i < group; ++i) {
        const std::string key = "key" + std::to_string(rng() % 4 ? rng() % 100 : rng() % 3000); // old ones among new
        if (rng() % 4 == 0) {
          if (d.erase(key) == 0) expected.push_back({SHMD_CHANGE_ERASE, key, "", false, false});
        } else {
          const std::string value(rng() % 400, static_cast<char>('a' + rng() % 26));
          d.put(key, value);
          expected.push_back({SHMD_CHANGE_PUT, key, value, false, false});
        }
      }
      if (group > 1) REQUIRE(shmd_commit(d) == 0);
      if (expected.size() > begin) expected[begin].first = expected.back().last = true;
    }
    if (round % 10 == 9) REQUIRE(shmd_compact(d) == 0);
    const auto changes = f.all();
    REQUIRE(changes.size() == expected.size());
    for (std::size_t i = 0; i < changes.size(); ++i) {
      REQUIRE(changes[i].kind == expected[i].kind);
      REQUIRE(changes[i].key == expected[i].key);
      REQUIRE(changes[i].value == expected[i].value);
      REQUIRE(changes[i].first == expected[i].first);
      REQUIRE(changes[i].last == expected[i].last);
    }
    moved = d.stat().cleaned_bytes;
  }
  CHECK(moved > 0); // records did move meanwhile
  CHECK(d.check() == clean);
}

TEST_CASE("a mirror of the stream equals a snapshot after random changes to a tree") {
  for (const std::uint64_t buffer : {std::uint64_t{65536}, std::uint64_t{4} << 20}) {
    Dict d(support::unique_name("watch"), small_history(buffer));
    Follower f(d);
    Plain mirror;
    std::mt19937_64 rng(buffer);
    int resyncs = 0;
    for (int round = 0; round < 150; ++round) {
      for (int i = 0; i < 60; ++i) {
        shmd_node node = shmd_root();
        const auto key = [&] { return std::string(1, static_cast<char>('a' + rng() % 5)); };
        const bool together = rng() % 5 == 0;
        if (together) REQUIRE(shmd_begin(d, SHMD_FOREVER) == 0);
        for (std::uint64_t depth = rng() % 4; depth > 0; --depth) {
          shmd_node child;
          const auto k = key();
          const int result = shmd_node_open(d, node, k.data(), k.size(), SHMD_NODE_CREATE, &child);
          if (result < 0) break;
          node = child;
        }
        const auto k = key();
        switch (rng() % 12) {
          case 0:
            d.erase(k, node);
            break;
          case 1:
            d.child(k, node, SHMD_NODE_REPLACE);
            break;
          case 2:
            if (rng() % 4 == 0) REQUIRE(shmd_clear(d, node, nullptr) >= 0);
            break;
          case 3:
            d.put(k, std::string(rng() % 3000, 'l'), node);
            break;
          default:
            d.put(k, std::to_string(rng()), node);
        }
        if (together) REQUIRE(shmd_commit(d) == 0);
      }
      if (round % 30 == 29) REQUIRE(shmd_compact(d) == 0);
      if (buffer == 65536 && round % 7 != 0) continue; // so that it falls behind now and then
      if (!follow(d, f, mirror)) ++resyncs;
      REQUIRE(mirror == support::plain_of(d).first);
    }
    CHECK((buffer == 65536) == (resyncs > 0));
    CHECK(d.check() == clean);
  }
}

TEST_CASE("one that fell behind is told so until it goes on from a snapshot") {
  Dict d(support::unique_name("watch"), small_history());
  Follower f(d);
  Plain mirror;
  std::vector<shmd_event> events;
  const auto note = [](void* to, const shmd_event* e) { static_cast<std::vector<shmd_event>*>(to)->push_back(*e); };
  REQUIRE(shmd_set_event_hook(d, note, &events) == 0);
  const auto overtake = [&] {
    for (int i = 0; i < 4000; ++i) d.put("k" + std::to_string(i % 50), std::string(100, 'v'));
  };
  d.put("a", "1");
  REQUIRE(follow(d, f, mirror));
  const auto behind = f.position();
  overtake();
  Change c;
  CHECK(f.wait(0) == 0);
  CHECK(f.next(c) == SHMD_RESYNC);
  CHECK(f.next(c) == SHMD_RESYNC);
  CHECK(f.position() == behind);
  REQUIRE(events.size() == 1); // told once
  CHECK(events[0].kind == SHMD_EVENT_RESYNC);
  CHECK(events[0].position == behind);
  resync(d, f, mirror);
  CHECK(f.next(c) == SHMD_END);
  d.put("last", "1");
  REQUIRE(follow(d, f, mirror));
  CHECK(mirror == support::plain_of(d).first);

  overtake();
  CHECK(f.next(c) == SHMD_RESYNC);
  CHECK(events.size() == 2);

  Follower old(d, 4096); // a position that left history long ago
  CHECK(old.next(c) == SHMD_RESYNC);
}

TEST_CASE("history that was given up for want of room means resync, too") {
  auto o = small_history(std::uint64_t{2} << 20, std::uint64_t{5} << 20);
  Dict d(support::unique_name("watch"), o);
  d.put("k", "v");
  Follower f(d);
  Change c;
  int kept = 0; // nearly all is live: history must shrink before a put fails
  while (shmd_put(d, shmd_root(), &kept, sizeof kept, std::string(3000, 'x').data(), 3000, 0) == 0) ++kept;
  CHECK(kept > 400);
  CHECK(f.next(c) == SHMD_RESYNC);
}

TEST_CASE("a value and a transaction larger than the history arrive whole") {
  Dict d(support::unique_name("watch"), small_history());
  for (int i = 0; i < 200; ++i) d.put("k" + std::to_string(i), std::string(1000, 'o'));
  Follower f(d);
  const std::string large(std::size_t{3} << 20, 'L');
  d.put("small", "1"); // what came before it is not lost for it
  d.put("large", large);
  auto changes = f.all();
  REQUIRE(changes.size() == 2);
  CHECK(changes[1].value == large);

  d.put("small", "2");
  REQUIRE(shmd_begin(d, SHMD_FOREVER) == 0);
  for (int i = 0; i < 1000; ++i) d.put("t" + std::to_string(i), std::string(1000, static_cast<char>('a' + i % 26)));
  REQUIRE(shmd_commit(d) == 0);
  changes = f.all();
  REQUIRE(changes.size() == 1001);
  CHECK(changes[1].first);
  CHECK(changes[1000].last);
  for (std::size_t i = 1; i < 1000; ++i) {
    CHECK(!changes[i].last);
    CHECK(changes[i].value == std::string(1000, static_cast<char>('a' + (i - 1) % 26)));
  }
  // and it does not stay for ever
  d.put("small", "3");
  for (int i = 0; i < 200; ++i) d.put("k" + std::to_string(i), std::string(1000, 'o'));
  Follower late(d, changes[1].position);
  Change c;
  CHECK(late.next(c) == SHMD_RESYNC);
  CHECK(d.check() == clean);
}

TEST_CASE("ids of dicts are not used again while history tells of them") {
  Dict d(support::unique_name("watch"), small_history());
  std::uint64_t checked = 0;
  std::set<std::uint32_t> ids;
  for (int round = 0; round < 40; ++round) {
    const auto begin = d.stat().position;
    for (int i = 0; i < 25; ++i) {
      const auto name = std::to_string(round) + "." + std::to_string(i);
      const auto node = d.child(name);
      ids.insert(node.id);
      for (int n = 0; n < 10; ++n) d.put("k" + std::to_string(n), name + std::string(60, 'x'), node);
      d.erase(name);
    }
    Follower f(d, begin); // knows nothing but what it reads
    Change c;
    while (f.next(c) == SHMD_OK) {
      if (c.kind != SHMD_CHANGE_PUT) continue;
      REQUIRE(c.path.size() == 1);
      REQUIRE(c.value == c.path[0] + std::string(60, 'x'));
      ++checked;
    }
  }
  CHECK(checked > 4000);
  CHECK(ids.size() < 900); // they are used again, after all
}

TEST_CASE("changes in a dict that is gone and was never met are left out, its removal is not") {
  Dict d(support::unique_name("watch"));
  const auto gone = d.child("gone"), below = d.child("below", gone), stays = d.child("stays");
  const auto begin = d.stat().position;
  Follower met(d);
  d.put("a", "1", below);
  d.put("b", "1", stays);
  CHECK(met.all().size() == 2);
  d.put("c", "1", below);
  d.erase("gone");
  d.put("d", "1");
  CHECK(met.all().size() == 3); // this one has met it
  Follower f(d, begin);
  const auto changes = f.all();
  REQUIRE(changes.size() == 3);
  CHECK(changes[0].key == "b");
  CHECK(changes[0].path == Path{"stays"});
  CHECK(changes[1].kind == SHMD_CHANGE_ERASE);
  CHECK(changes[1].key == "gone");
  CHECK(changes[0].first); // up to the removal all is one: nobody sees half of it
  CHECK(!changes[0].last);
  CHECK(!changes[1].first);
  CHECK(changes[1].last);
  CHECK(changes[2].key == "d");
  CHECK(changes[2].first);
}

TEST_CASE("what happens in a node that the root does not lead to is nobody's business") {
  Dict d(support::unique_name("watch"));
  Follower f(d);
  shmd_dict* handle = d;
  auto* a = handle->attachment;
  shmd_node hidden;
  REQUIRE(shmd_call_enter_slowly(a) >= 0);
  auto* t = shmd_tx_of(a);
  REQUIRE(shmd_node_new(t, 0, 0, &hidden) == 0);
  REQUIRE(shmd_tx_commit(t) == 0);
  shmd_new_record r = {};
  r.kind = SHMD_REC_PUT;
  r.node = hidden.id;
  r.key = "secret";
  r.key_size = 6;
  std::uint64_t offset, size;
  for (int i = 0; i < 10; ++i) {
    REQUIRE(shmd_log_append(t, &r, false, false, &offset, &size) == 0);
    REQUIRE(shmd_tx_commit(t) == 0);
  }
  shmd_call_leave_slowly(a);
  Change c;
  CHECK(f.wait(0) == 0);
  CHECK(f.next(c) == SHMD_END);
  CHECK(f.position() == d.stat().position);
  CHECK(f.wait(0) == SHMD_TIMED_OUT);
  d.put("open", "1");
  REQUIRE(f.next(c) == SHMD_OK);
  CHECK(c.key == "open");
}

// The mechanism: shmd_named_hidden() in take() (watch.c). Without it their records seem to be those of the dict that had the id.
TEST_CASE("named locks are nobody's business, even in a node that was a dict's before") {
  Dict d(support::unique_name("watch"), small_history());
  Follower f(d);
  std::set<std::uint32_t> ids; // of dicts that the follower has met
  for (int i = 0; i < 10; ++i) {
    const auto name = "dict" + std::to_string(i);
    const auto node = d.child(name);
    ids.insert(node.id);
    d.put("k", "v", node);
    d.erase(name);
    REQUIRE(f.all().size() == 3);
  }
  for (int i = 0; i < 2000; ++i) { // until their ids can be used again
    d.put("fill", std::string(200, 'x'));
    REQUIRE(!f.all().empty());
  }
  REQUIRE(shmd_named_lock(d, "job", 0) == 0);
  shmd_dict* handle = d;
  REQUIRE(ids.count(static_cast<std::uint32_t>(shmd_control_of(handle->attachment)->hidden_node)) == 1);
  REQUIRE(shmd_key_lock(d, shmd_root(), "fill", 4, 0) == 0);
  REQUIRE(shmd_named_unlock(d, "job") == 0);
  REQUIRE(shmd_key_unlock(d, shmd_root(), "fill", 4) == 0);
  CHECK(f.all().empty());
  CHECK(f.position() == d.stat().position);
  CHECK(f.wait(0) == SHMD_TIMED_OUT);
  d.put("open", "1");
  REQUIRE(shmd_named_lock(d, "job", 0) == 0);
  const auto seen = f.all();
  REQUIRE(seen.size() == 1);
  CHECK(seen[0].key == "open");
  CHECK(d.check() == clean);
}

TEST_CASE("positions at which nothing begins are refused") {
  Dict d(support::unique_name("watch"));
  d.put("a", std::string(100, 'x'));
  const auto end = d.stat().position;
  d.put("b", "x");
  shmd_follower* f = nullptr;
  for (const auto position : {end + 1, end + 8, d.stat().position + 8, UINT64_MAX - 8}) {
    CHECK(shmd_follow_open(d, position, &f) == SHMD_ERR_INVALID_ARGUMENT);
    CHECK(f == nullptr);
  }
  CHECK(shmd_follow_open(nullptr, SHMD_NOW, &f) == SHMD_ERR_CLOSED);
  CHECK(shmd_follow_open(d, SHMD_NOW, nullptr) == SHMD_ERR_INVALID_ARGUMENT);
  Follower good(d, end);
  CHECK(shmd_follow_seek(good, end + 16) == SHMD_ERR_INVALID_ARGUMENT);
  CHECK(good.all().size() == 1); // where it was
  CHECK(shmd_follow_next(good, nullptr) == SHMD_ERR_INVALID_ARGUMENT);
  CHECK(shmd_follow_wait(nullptr, 0) == SHMD_ERR_INVALID_ARGUMENT);
  CHECK(std::string(shmd_error_name(SHMD_RESYNC)) == "resync");
}

TEST_CASE("a read-only handle follows as well, and is not counted") {
  const auto name = support::unique_name("watch");
  Dict d(name);
  auto o = support::small_options();
  o.flags = SHMD_READ_ONLY;
  o.mode = SHMD_OPEN_ONLY;
  shmd_dict* reader = nullptr;
  REQUIRE(shmd_open(name.c_str(), &o, &reader) == 0);
  {
    Follower f(reader);
    CHECK(d.stat().followers == 0);
    {
      Follower counted(d), another(d);
      CHECK(d.stat().followers == 2);
    }
    CHECK(d.stat().followers == 0);
    CHECK(f.wait(1000000) == SHMD_TIMED_OUT);
    const auto node = d.child("n");
    std::thread writer([&] {
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
      d.put("k", "v", node);
    });
    CHECK(f.wait(SHMD_FOREVER) == 0);
    Change c;
    std::vector<Change> changes;
    while (changes.size() < 2)
      if (f.next(c) == SHMD_OK) changes.push_back(c);
    writer.join();
    CHECK(changes[1].path == Path{"n"});
    CHECK(changes[1].value == "v");
  }
  shmd_close(reader);
}

TEST_CASE("waiting ends with a change, the timeout, or an interruption") {
  Dict d(support::unique_name("watch"));
  Follower f(d);
  const auto start = std::chrono::steady_clock::now();
  CHECK(f.wait(0) == SHMD_TIMED_OUT);
  CHECK(f.wait(30000000) == SHMD_TIMED_OUT);
  CHECK(std::chrono::steady_clock::now() - start >= std::chrono::milliseconds(30));
  shmd_follow_interrupt(f);
  CHECK(f.wait(SHMD_FOREVER) == SHMD_INTERRUPTED);
  CHECK(f.wait(0) == SHMD_TIMED_OUT); // once
  std::thread other([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    shmd_follow_interrupt(f);
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    d.put("k", "v");
  });
  CHECK(f.wait(SHMD_FOREVER) == SHMD_INTERRUPTED);
  CHECK(f.wait(SHMD_FOREVER) == 0);
  CHECK(f.wait(0) == 0); // there still is something
  other.join();
  CHECK(f.all().size() == 1);
}

TEST_CASE("threads write and follow on one handle") {
  for (const std::uint64_t buffer : {std::uint64_t{65536}, std::uint64_t{16} << 20}) {
    Dict d(support::unique_name("watch"), small_history(buffer));
    std::atomic<unsigned> writing{2};
    std::vector<std::thread> threads;
    std::vector<std::string> failures(2);
    std::vector<std::unique_ptr<support::Auditor>> auditors;
    auditors.reserve(2);
    for (int i = 0; i < 2; ++i) auditors.push_back(std::make_unique<support::Auditor>(d));
    for (std::size_t i = 0; i < 2; ++i)
      threads.emplace_back([&, i] {
        try {
          while (writing != 0) {
            auditors[i]->catch_up();
            (void)auditors[i]->follower().wait(i == 0 ? 1000000 : 0);
          }
          auditors[i]->catch_up();
        } catch (const std::exception& e) {
          failures[i] = e.what();
        }
      });
    for (unsigned w = 0; w < 2; ++w)
      threads.emplace_back([&, w] {
        support::Writer writer(d, w);
        for (int i = 0; i < 1500; ++i) writer.commit(static_cast<std::size_t>(i % 200));
        --writing;
      });
    for (auto& thread : threads) thread.join();
    const auto end = support::plain_of(d).first;
    for (std::size_t i = 0; i < 2; ++i) {
      CHECK(failures[i] == clean);
      CHECK(auditors[i]->mirror() == end);
      if (buffer != 65536) CHECK(auditors[i]->commits() == 3000);
    }
    CHECK(d.check() == clean);
  }
}
