// SPDX-License-Identifier: Apache-2.0
// Followers across processes: writers in several processes and followers in several; who sleeps is woken, whoever dies where.
// What guards it: the order of steps in sleep_once() (watch.c) and shmd_call_leave() (call.h), the slice of sleep_once(), the
// wake of shmd_engine_recover() (redo.c), shmd_slot_take() storing the count of followers (slot.c).
#include <shmdict/layout.h>
#include <shmdict/read.h>

#include <algorithm>
#include <array>
#include <memory>
#include <random>

#include "multiprocess/crash_support.hpp"
#include "support/catch.hpp"
#include "support/follow.hpp"
#include "support/process.hpp"
#include "support/rounds.hpp"

using namespace std::chrono_literals;
using support::Auditor;
using support::Change;
using support::Child;
using support::Follower;
using support::Handle;
using support::Name;
using support::Shared;

namespace {

constexpr std::uint64_t ms = 1000000;

shmd_options small_history(std::uint64_t buffer_size) {
  auto o = support::small_options();
  o.segment_size = 65536;
  o.buffer_size = buffer_size;
  return o;
}

shmd_options reading() {
  auto o = support::small_options();
  o.flags = SHMD_READ_ONLY;
  o.mode = SHMD_OPEN_ONLY;
  return o;
}

std::uint64_t sleepers(shmd_dict* d) { return shmd_load_acquire(&shmd_reader_control(shmd_reader_of(d))->sleepers); }
std::uint64_t position(shmd_dict* d) {
  shmd_stats s;
  support::must(shmd_stat(d, &s), "stat");
  return s.position;
}
std::uint64_t followers(shmd_dict* d) {
  shmd_stats s;
  support::must(shmd_stat(d, &s), "stat");
  return s.followers;
}

struct Torture {
  std::atomic<unsigned> ready{0}, writing{0}, at_tail{0}, caught_up{0}, good{0};
  std::atomic<std::uint64_t> resyncs{0}, changes{0}, joined{0};
};

// Three processes write, two follow for writing, one on a read-only handle.
void torture(std::uint64_t buffer_size, std::uint64_t commits, std::size_t padding, bool slow) {
  constexpr std::uint64_t tail = 4; // commits of each writer that fit into the history, and are seen by all
  const Name name("watch");
  const Handle d(name, small_history(buffer_size));
  Shared<Torture> t;
  t->writing = 3;
  std::vector<std::unique_ptr<Child>> children;
  children.reserve(6);
  for (int i = 0; i < 3; ++i)
    children.push_back(std::make_unique<Child>([&, i] {
      const Handle own(name, i == 2 ? reading() : support::small_options());
      Auditor auditor(own);
      ++t->ready;
      if (slow) // falls behind for certain, however slow the writers are
        while (t->writing != 0 && position(own) < auditor.follower().position() + 4 * buffer_size)
          std::this_thread::sleep_for(1ms);
      for (bool told = false; t->writing != 0;) {
        const bool tail_next = t->at_tail == 3;
        auditor.catch_up();
        if (tail_next && !std::exchange(told, true)) ++t->caught_up;
        if (slow) std::this_thread::sleep_for(std::chrono::microseconds(auditor.changes() % 7 * 1500));
        (void)auditor.follower().wait(20 * ms);
      }
      auditor.catch_up();
      shmd_snapshot* s = nullptr;
      support::must(shmd_snapshot_open(own, &s), "snapshot");
      const bool same = auditor.mirror() == support::plain_of(s);
      shmd_snapshot_close(s);
      if (!same) throw std::runtime_error("the mirror is not what a snapshot shows");
      t->resyncs += auditor.resyncs();
      t->changes += auditor.changes();
      t->joined += auditor.joined();
      if (!slow && auditor.commits() != 3 * commits) throw std::runtime_error("commits were missed");
      ++t->good;
      return 0;
    }));
  for (unsigned w = 0; w < 3; ++w)
    children.push_back(std::make_unique<Child>([&, w] {
      const Handle own(name);
      const support::OneOf one(t->writing);
      bool good = support::eventually([&] { return t->ready == 3; });
      support::Writer writer(own, w);
      std::mt19937_64 rng(w);
      for (std::uint64_t i = 0; good && i < commits; ++i) {
        if (i == commits - tail) {
          ++t->at_tail;
          good = support::eventually([&] { return t->caught_up == 3; });
        }
        writer.commit(rng() % padding);
        if (slow && i % 16 == 0) std::this_thread::sleep_for(std::chrono::microseconds(rng() % 2000));
      }
      return good ? 0 : 1;
    }));
  for (auto& child : children) CHECK(child->join() == 0);
  CHECK(t->good == 3);
  CHECK(t->changes >= 3 * 3 * tail * 2);
  CHECK((t->resyncs != 0) == slow);
  if (!slow) CHECK(t->joined == 0);
  CHECK(crash::findings(d) == crash::nothing);
}

} // namespace

TEST_CASE("followers in three processes see every change of three writers once, in whole commits") {
  torture(std::uint64_t{16} << 20, crash::sanitized ? 300 : 3000, 300, false);
}

TEST_CASE("followers that cannot keep up lose nothing for it and see nothing twice") {
  torture(65536, crash::sanitized ? 500 : 8000, 600, true);
}

TEST_CASE("what is overwritten while it is copied is never handed out, nor a part of its commit") {
  const Name name("watch");
  auto o = small_history(65536);
  o.max_size = std::uint64_t{256} << 20;
  const Handle d(name, o);
  struct State {
    std::atomic<std::uint64_t> whole{0};
    std::atomic<bool> done{false};
  };
  Shared<State> state;
  constexpr std::size_t size = std::size_t{1} << 19, together = 4;
  std::vector<std::unique_ptr<Child>> children;
  children.reserve(4);
  for (int i = 0; i < 4; ++i) // more than there are processors: one that is interrupted in a copy is overtaken
    children.push_back(std::make_unique<Child>([&] {
      const Handle own(name);
      Follower f(own);
      Change c;
      std::size_t inside = 0;
      char letter = 0;
      while (!state->done) {
        const int result = f.next(c);
        if (result == SHMD_RESYNC) {
          if (inside != 0) return 1;
          f.seek(SHMD_NOW);
        } else if (result == SHMD_END) {
          if (inside != 0) return 2;
          (void)f.wait(20 * ms);
        } else if (c.key == "small") {
          if (inside != 0 || !c.first || !c.last) return 3;
        } else {
          if (inside == 0) letter = c.value[0];
          if (c.value != std::string(size, letter)) return 4;
          if (c.key != std::to_string(inside) || c.first != (inside == 0)) return 5;
          inside = (inside + 1) % together;
          if (c.last != (inside == 0)) return 6;
          if (inside == 0) ++state->whole;
        }
      }
      return 0;
    }));
  const auto begin = support::Clock::now();
  const auto late = [&] { return support::Clock::now() - begin - 1500ms; };
  for (std::uint64_t i = 0; late() < 0s || (state->whole == 0 && late() < 60s); ++i) {
    const std::string value(size, static_cast<char>('a' + i % 26));
    for (int n = 0; n < 3; ++n) support::put(d, "small", i);
    REQUIRE(shmd_begin(d, SHMD_FOREVER) >= 0);
    for (std::size_t n = 0; n < together; ++n) {
      const char key = static_cast<char>('0' + n);
      REQUIRE(shmd_put(d, shmd_root(), &key, 1, value.data(), value.size(), 0) == 0);
    }
    REQUIRE(shmd_commit(d) == 0);
    // now and then there is time for a whole one, in the end on the slowest machine
    if (i % 3 == 0) std::this_thread::sleep_for(8ms + std::max(late(), support::Clock::duration()) / 8);
  }
  state->done = true;
  for (auto& child : children) CHECK(child->join() == 0);
  CHECK(state->whole > 0);
}

TEST_CASE("a sleeping follower is woken by a commit, not by its clock") {
  const Name name("watch");
  const Handle d(name);
  struct Times {
    std::atomic<unsigned> seen{0};
    std::array<std::uint64_t, 32> delay{};
  };
  Shared<Times> times;
  Child watcher([&] {
    const Handle own(name);
    Follower f(own);
    Change c;
    while (times->seen < times->delay.size()) {
      if (f.wait(SHMD_FOREVER) != 0) return 1;
      while (f.next(c) == SHMD_OK) {
        std::uint64_t then;
        std::memcpy(&then, c.value.data(), sizeof then);
        times->delay[times->seen] = support::now_ns() - then;
        ++times->seen;
      }
    }
    return 0;
  });
  for (unsigned i = 0; i < times->delay.size(); ++i) {
    REQUIRE(support::eventually([&] { return sleepers(d) == 1; }));
    std::this_thread::sleep_for(2ms);
    support::put(d, "time", support::now_ns());
    REQUIRE(support::eventually([&] { return times->seen == i + 1; }));
  }
  CHECK(watcher.join() == 0);
  std::sort(times->delay.begin(), times->delay.end());
  CHECK(times->delay[times->delay.size() / 4] < 12 * ms); // by the clock none would be: 23
}

// A writer is killed at each store of a put while somebody sleeps.
static void kill_and_wake(bool fresh) {
  const Name name("watch");
  const Handle d(name);
  struct State {
    std::atomic<std::uint64_t> died{0}, points{0};
  };
  Shared<State> state;
  std::uint64_t published_and_dead = 0, before_publishing = 0, late = 0;
  support::put(d, "key", 0);
  support::put(d, "survivor", 0);
  for (std::uint64_t n = 1;; n += late == 0) { // once more when it was late: a stranded one always is
    Follower f(d);
    const auto before = position(d);
    Child writer([&] {
      const Handle own(name);
      if (!support::eventually([&] { return sleepers(own) == 1; })) return 1;
      shmd_crash_at = shmd_crash_count + n;
      state->died = support::now_ns();
      support::put(own, fresh ? "fresh" : "key", n);
      shmd_crash_at = 0;
      return 7;
    });
    int result = -1;
    std::uint64_t at = 0;
    std::thread sleeper([&] {
      result = f.wait(30000 * static_cast<std::int64_t>(ms));
      at = support::now_ns();
    });
    const int end = writer.join();
    const bool published = position(d) != before;
    if (!published) shmd_follow_interrupt(f);
    sleeper.join();
    if (published) {
      CHECK(result == 0);
      late = at - state->died < (crash::sanitized ? 1050 : 200) * ms ? 0 : late + 1;
      REQUIRE(late < 10);
      CHECK(f.all().size() == 1);
    } else {
      late = 0;
      CHECK(result == SHMD_INTERRUPTED);
      CHECK(f.all().empty());
    }
    if (end == 7 && late == 0) break; // the write made fewer than n stores
    REQUIRE((end == -SIGKILL || late != 0));
    if (late == 0) published ? ++published_and_dead : ++before_publishing;
    support::put(d, "survivor", n); // repairs; what was committed comes first
    const auto changes = f.all();
    REQUIRE(!changes.empty());
    REQUIRE(changes.size() <= 2);
    CHECK(changes.back().key == "survivor");
    support::must(shmd_erase(d, shmd_root(), "fresh", 5),
                  "erase"); // or the array would grow, which is many stores more
  }
  CHECK(published_and_dead >= 3); // between the store to `published` and the wake, the wake included
  CHECK(before_publishing >= 10);
  CHECK(crash::findings(d) == crash::nothing);
}

TEST_CASE("no death in an overwrite strands a sleeping follower") { kill_and_wake(false); }
TEST_CASE("no death in a put of a new key strands a sleeping follower") { kill_and_wake(true); }

TEST_CASE("whoever repairs wakes followers for what the dead writer had committed") {
  const Name name("watch");
  const Handle d(name);
  support::put(d, "key", 0);
  // A writer is killed at each store of a put. Whether most of those whose commit was found out then woke the sleeper at once.
  const auto in_time = [&] {
    std::uint64_t late = 0, repaired = 0;
    for (std::uint64_t n = 1;; ++n) {
      Follower f(d);
      Child writer([&] {
        const Handle own(name);
        shmd_crash_at = shmd_crash_count + n;
        support::put(own, "key", n);
        return 7;
      });
      if (writer.join() == 7) break;
      const auto before = position(d);
      std::uint64_t at = 0;
      std::thread sleeper([&] {
        if (f.wait(60000 * static_cast<std::int64_t>(ms)) == 0) at = support::now_ns();
      });
      REQUIRE(support::eventually([&] { return sleepers(d) == 1 || position(d) != f.position(); }));
      std::this_thread::sleep_for(1ms);
      const auto begin = support::now_ns();
      const int locked = shmd_lock(d, SHMD_FOREVER); // no write and no unlock: the repair alone
      if (position(d) == before) shmd_follow_interrupt(f);
      sleeper.join();
      REQUIRE(locked >= 0);
      REQUIRE(shmd_unlock(d) == 0);
      if (position(d) == before) continue;
      ++repaired;
      if (at - begin > 20 * ms) ++late;
    }
    CHECK(repaired >= 3);
    return late <= repaired / 2; // the clock would be late each time
  };
  CHECK(support::once_in(10, in_time));
}

TEST_CASE("a follower that is killed leaves nothing behind") {
  const Name name("watch");
  const Handle d(name);
  Child watcher([&] {
    const Handle own(name);
    Follower f(own), other(own);
    (void)f.wait(SHMD_FOREVER);
    return 1;
  });
  REQUIRE(support::eventually([&] { return sleepers(d) == 1; }));
  CHECK(followers(d) == 2);
  watcher.end(SIGKILL);
  CHECK(followers(d) == 0);
  CHECK(sleepers(d) == 1);
  support::put(d, "key", 1);
  CHECK(sleepers(d) == 0);
  Child successor([&] { // in the same slot as often as not
    const Handle own(name);
    return followers(own) == 0 ? 0 : 1;
  });
  CHECK(successor.join() == 0);
}

TEST_CASE("a forked child goes on with its parent's follower, each on its own") {
  const Name name("watch");
  const Handle d(name);
  const auto node_key = std::string("n");
  shmd_node node;
  REQUIRE(shmd_node_open(d, shmd_root(), node_key.data(), node_key.size(), SHMD_NODE_CREATE, &node) == SHMD_CREATED);
  auto f = std::make_unique<Follower>(d);
  support::put(d, "one", 1);
  support::put(d, "two", 2);
  Change c;
  REQUIRE(f->next(c) == SHMD_OK);
  Child child([&] {
    if (f->next(c) != SHMD_OK || c.key != "two") return 1;
    if (f->wait(60000 * static_cast<std::int64_t>(ms)) != 0) return 2;
    if (f->next(c) != SHMD_OK || c.key != "three" || c.path != std::vector<std::string>{"n"}) return 3;
    if (followers(d) != 2) return 4;
    f.reset();
    return followers(d) == 1 ? 0 : 5;
  });
  REQUIRE(support::eventually([&] { return sleepers(d) == 1; }));
  REQUIRE(shmd_put(d, node, "three", 5, "3", 1, 0) == 0);
  CHECK(child.join() == 0);
  CHECK(f->all().size() == 2);
}
