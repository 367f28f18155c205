// SPDX-License-Identifier: Apache-2.0
// Named locks: mutual exclusion across handles and processes, take-over from the dead, and that nobody sees them.
#include <unistd.h>

#include <cstdlib>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "multiprocess/brim.hpp"
#include "support/catch.hpp"
#include "support/process.hpp"
#include "support/rounds.hpp"

using namespace support;

namespace {

struct Board {
  std::atomic<int> held{0};
  std::atomic<int> inside{0};
  std::atomic<int> overlaps{0};
  std::atomic<int> total{0};
  std::atomic<int> go{0};
  std::atomic<std::uint64_t> at{0};
};

int hold_for_ever(const std::string& name, Board& board) {
  Handle d(name);
  must(shmd_named_lock(d, "job", SHMD_FOREVER), "named_lock");
  ++board.held;
  for (;;) pause();
}

std::vector<shmd_named_lock_info> locks(shmd_dict* d) {
  std::vector<shmd_named_lock_info> out;
  must(shmd_named_locks(
           d,
           [](void* context, const shmd_named_lock_info* l) {
             static_cast<std::vector<shmd_named_lock_info>*>(context)->push_back(*l);
             return 0;
           },
           &out),
       "named_locks");
  return out;
}

std::string check(shmd_dict* d) {
  std::string findings;
  shmd_check(
      d, [](void* context, const char* text) { *static_cast<std::string*>(context) += std::string(text) + "\n"; },
      &findings);
  return findings;
}

} // namespace

// The mechanism: stage_take() refuses a living holder. Without lives() two are inside at once.
TEST_CASE("one holder at a time, of all threads and processes", "[named]") {
  Name name("named.mutex");
  Shared<Board> board;
  Handle d(name);
  const auto work = [&](int rounds) {
    Handle own(name);
    for (int i = 0; i < rounds; ++i) {
      if (must(shmd_named_lock(own, "job", SHMD_FOREVER), "named_lock") != 0) return 2;
      if (board->inside.fetch_add(1) != 0) ++board->overlaps;
      if (i % 16 == 0) std::this_thread::sleep_for(50us);
      ++board->total;
      board->inside.fetch_sub(1);
      must(shmd_named_unlock(own, "job"), "named_unlock");
    }
    return 0;
  };
  {
    Child a([&] { return work(300); }), b([&] { return work(300); });
    std::thread thread([&] { work(150); });
    work(150);
    thread.join();
    REQUIRE(a.join() == 0);
    REQUIRE(b.join() == 0);
  }
  CHECK(board->overlaps == 0);
  CHECK(board->total == 900);
  CHECK(locks(d).empty());
  CHECK(check(d).empty());
}

// The mechanism: `incarnation` in same_incarnation() (named_lock.c). Pid, start time and slot are the same before and after.
TEST_CASE("a program that takes its own place does not hold what it held before", "[named]") {
  Name name("named.exec");
  shmd_options options = small_options();
  options.max_processes = 2; // so that it gets its old slot again
  Handle keeper(name, options);
  Child process([&]() -> int {
    Handle d(name);
    must(shmd_named_lock(d, "job", 0), "named_lock");
    setenv("NAMED_LOCK_AGAIN", name.c_str(), 1);
    execl("/proc/self/exe", "again", "a program that took its own place", static_cast<char*>(nullptr));
    return 99;
  });
  CHECK(process.join() == 0);
}
// Hidden: run only by the test above, which executes this program again.
TEST_CASE("a program that took its own place", "[.]") {
  const char* name = std::getenv("NAMED_LOCK_AGAIN");
  REQUIRE(name != nullptr);
  Handle d(name);
  const auto held = locks(d);
  REQUIRE(held.size() == 1);
  REQUIRE(held[0].pid == getpid());
  CHECK(held[0].alive == 0);
  REQUIRE(shmd_named_lock(d, "job", 100'000'000) == SHMD_RECOVERED);
}

// The mechanism: the holder's slot byte (lives() in named_lock.c), asked again after each slice.
TEST_CASE("the lock of a process that died is taken over, soon, and its name is told", "[named]") {
  Name name("named.death");
  const auto in_time = [&] {
    Shared<Board> board;
    Child holder([&] { return hold_for_ever(name, *board); });
    REQUIRE(eventually([&] { return board->held == 1; }));
    Handle d(name);
    REQUIRE(shmd_named_lock(d, "job", 0) == SHMD_TIMED_OUT);
    CHECK(shmd_last_error()->pid == holder.pid());
    CHECK(shmd_last_error()->held_ns > 0);
    CHECK(std::string(shmd_last_error()->program).size() > 0);
    Child waiter([&] {
      Handle own(name);
      board->go = 1;
      const int result = shmd_named_lock(own, "job", SHMD_FOREVER);
      board->at = now_ns();
      return result == SHMD_RECOVERED && shmd_named_unlock(own, "job") == 0 ? 0 : 1;
    });
    REQUIRE(eventually([&] { return board->go == 1; }));
    std::this_thread::sleep_for(60ms);
    CHECK(put(d, "k", 1) == 0); // the dict's own lock is free all the while
    const auto before = now_ns();
    holder.end(SIGKILL);
    REQUIRE(waiter.join() == 0);
    return board->at - before < 100'000'000;
  };
  CHECK(once_in(10, in_time));
}

TEST_CASE("a waiter is woken when the lock is given back, not when a slice ends", "[named]") {
  Name name("named.wake");
  Handle a(name), b(name);
  int woken = 0;
  for (int round = 0; woken < 4 && round < 50; ++round) {
    REQUIRE(shmd_named_lock(a, "job", 0) == 0);
    std::uint64_t got = 0;
    const auto start = now_ns();
    std::thread waiter([&] {
      must(shmd_named_lock(b, "job", SHMD_FOREVER), "named_lock");
      got = now_ns();
      must(shmd_named_unlock(b, "job"), "named_unlock");
    });
    std::this_thread::sleep_for(8ms); // well inside its first slice of 40 ms
    REQUIRE(shmd_named_unlock(a, "job") == 0);
    waiter.join();
    woken += got - start < 30'000'000;
  }
  CHECK(woken == 4);
}

// The mechanism: incarnations. The child has another slot, so its parent's record does not name it.
TEST_CASE("a forked child does not hold its parent's named locks", "[named][fork]") {
  Name name("named.fork");
  Handle d(name);
  REQUIRE(shmd_named_lock(d, "job", 0) == 0);
  Child child([&] {
    if (shmd_named_unlock(d, "job") != SHMD_ERR_NOT_LOCKED) return 1;
    if (shmd_named_lock(d, "job", 1000000) != SHMD_TIMED_OUT) return 2;
    shmd_close(d);
    return 0;
  });
  REQUIRE(child.join() == 0);
  CHECK(locks(d).size() == 1);
  CHECK(shmd_named_unlock(d, "job") == 0);
}

TEST_CASE("closing the handle gives its locks back, and no others", "[named]") {
  Name name("named.close");
  Handle d(name);
  {
    Handle other(name);
    REQUIRE(shmd_named_lock(other, "one", 0) == 0);
    REQUIRE(shmd_named_lock(other, "two", 0) == 0);
    REQUIRE(shmd_named_lock(d, "three", 0) == 0);
    REQUIRE(locks(d).size() == 3);
  }
  REQUIRE(locks(d).size() == 1);
  CHECK(shmd_named_lock(d, "one", 0) == 0);
  CHECK(shmd_named_lock(d, "two", 0) == 0);
}

// The mechanism: the hidden dict. Kept under a key of the root, all of these would show it.
TEST_CASE("named locks are no keys: not counted, found, iterated, cleared or checked as such", "[named]") {
  Name name("named.hidden");
  Handle d(name);
  must(put(d, "a", 1), "put");
  REQUIRE(shmd_named_lock(d, "job", 0) == 0);
  REQUIRE(shmd_key_lock(d, shmd_root(), "a", 1, 0) == 0);
  std::uint64_t count = 0;
  REQUIRE(shmd_count(d, shmd_root(), &count) == 0);
  CHECK(count == 1);
  CHECK(shmd_contains(d, shmd_root(), "job", 3) == SHMD_NOT_FOUND);
  shmd_stats s;
  REQUIRE(shmd_stat(d, &s) == 0);
  CHECK(s.nodes == 0);
  shmd_snapshot* snapshot = nullptr;
  REQUIRE(shmd_snapshot_open(d, &snapshot) == 0);
  shmd_iter* it = nullptr;
  shmd_entry e;
  REQUIRE(shmd_iter_open(snapshot, shmd_root(), &it) == 0);
  CHECK(shmd_iter_next(it, &e) == 0);
  CHECK(shmd_iter_next(it, &e) == SHMD_END);
  shmd_iter_close(it);
  shmd_snapshot_close(snapshot);
  for (std::uint32_t id = 1; id < 6; ++id) { // no handle leads there
    for (std::uint32_t generation = 1; generation < 3; ++generation) {
      const shmd_node node = {id, generation};
      std::uint64_t n = 0;
      if (shmd_count(d, node, &n) == 0) CHECK(n == 1); // the root
    }
  }
  CHECK(check(d).empty());
  REQUIRE(shmd_clear(d, shmd_root(), nullptr) == 0);
  CHECK(check(d).empty());
  REQUIRE(locks(d).size() == 2);
  CHECK(shmd_named_lock(d, "job", 0) == SHMD_TIMED_OUT);
  for (std::uint64_t i = 0; i < 3000; ++i) must(put(d, "k" + std::to_string(i % 50), i), "put"); // cleaned and moved
  REQUIRE(shmd_compact(d) == 0);
  CHECK(check(d).empty());
  CHECK(shmd_named_unlock(d, "job") == 0);
  CHECK(shmd_key_unlock(d, shmd_root(), "a", 1) == 0);
  CHECK(locks(d).empty());
}

TEST_CASE("names of any length, keys of any bytes, many at a time", "[named]") {
  Name name("named.names");
  Handle d(name);
  const std::string longest(65000, 'x'), longer(65001, 'x'), key(65535, 'k');
  CHECK(shmd_named_lock(d, longest.c_str(), 0) == 0);
  CHECK(shmd_named_unlock(d, longest.c_str()) == 0);
  CHECK(shmd_named_lock(d, longer.c_str(), 0) == SHMD_ERR_KEY_TOO_LONG);
  CHECK(shmd_key_lock(d, shmd_root(), key.data(), key.size(), 0) == 0);
  CHECK(shmd_key_lock(d, shmd_root(), key.data(), key.size() - 1, 0) == 0);
  CHECK(shmd_key_unlock(d, shmd_root(), key.data(), key.size()) == 0);
  for (int i = 0; i < 2000; ++i) REQUIRE(shmd_named_lock(d, ("job" + std::to_string(i)).c_str(), 0) == 0);
  CHECK(locks(d).size() == 2001);
  for (int i = 0; i < 2000; ++i) REQUIRE(shmd_named_unlock(d, ("job" + std::to_string(i)).c_str()) == 0);
  CHECK(check(d).empty());
}

TEST_CASE("waiting for a named lock in the dict's own lock is refused, not a deadlock", "[named]") {
  Name name("named.order");
  Handle a(name), b(name);
  REQUIRE(shmd_named_lock(a, "job", 0) == 0);
  std::thread other([&] {
    must(shmd_lock(b, SHMD_FOREVER), "lock");
    CHECK(shmd_named_lock(b, "job", SHMD_FOREVER) == SHMD_ERR_WOULD_DEADLOCK);
    CHECK(shmd_named_lock(b, "free", 0) == 0); // a free one can be taken
    must(shmd_unlock(b), "unlock");
  });
  other.join();
}

TEST_CASE("a full dict refuses a named lock and gives held ones back", "[named]") {
  Name name("named.full");
  Handle d(name, small_options(std::uint64_t{4} << 20));
  REQUIRE(shmd_named_lock(d, "job", 0) == 0);
  const std::string value(20000, 'v');
  int result = 0;
  for (int i = 0; result == 0 && i < 10000; ++i) {
    const std::string key = "k" + std::to_string(i);
    result = shmd_put(d, shmd_root(), key.data(), key.size(), value.data(), value.size(), 0);
  }
  REQUIRE(result == SHMD_ERR_NO_SPACE);
  CHECK(shmd_named_unlock(d, "job") == 0);
  CHECK(locks(d).empty());
  CHECK(check(d).empty());
}

// The mechanism: stage_give() appends no record (shmd_dict_stage_drop). While it staged an erase, all three answered NO_SPACE, or
// nothing: the closed handle's lock stayed held for as long as the process lived.
TEST_CASE("named locks are given back in a dict that is full to the brim under a snapshot", "[named]") {
  Name name("named.brim");
  Handle d(name, brim_options());
  auto closed = std::make_unique<Handle>(name);
  for (int i = 0; i < 600; ++i) REQUIRE(shmd_named_lock(d, ("lock" + std::to_string(i)).c_str(), 0) == 0);
  REQUIRE(shmd_named_lock(*closed, "closed", 0) == 0);
  REQUIRE(shmd_key_lock(d, shmd_root(), "key", 3, 0) == 0);
  shmd_snapshot* pin = nullptr;
  REQUIRE(shmd_snapshot_open(d, &pin) == 0);
  fill_to_the_brim(d);
  REQUIRE(shmd_named_lock(d, "another", 0) == SHMD_ERR_NO_SPACE);
  for (int i = 0; i < 600; ++i) REQUIRE(shmd_named_unlock(d, ("lock" + std::to_string(i)).c_str()) == 0);
  CHECK(shmd_named_unlock(d, "lock0") == SHMD_ERR_NOT_LOCKED);
  CHECK(shmd_key_unlock(d, shmd_root(), "key", 3) == 0);
  CHECK(closed->close() == 0);
  CHECK(locks(d).empty());
  CHECK(check(d).empty());
  shmd_snapshot_close(pin);
  make_room(d);
  Child other([&] {
    Handle own(name);
    for (const char* lock : {"lock0", "closed"})
      if (shmd_named_lock(own, lock, 0) != 0) return 1;
    return shmd_key_lock(own, shmd_root(), "key", 3, 0) == 0 ? 0 : 2;
  });
  CHECK(other.join() == 0);
  CHECK(check(d).empty());
}

// The mechanism: shmd_close() waits for the end of the transaction of another handle, in which nothing can be given back. It
// gave back nothing at all.
TEST_CASE("a handle closed within another handle's transaction gives its named locks back when that ends", "[named]") {
  Name name("named.close");
  Handle d(name);
  for (const bool commit : {true, false}) {
    Handle closed(name);
    REQUIRE(shmd_named_lock(closed, "job", 0) == 0);
    REQUIRE(shmd_begin(d, 0) == 0);
    must(put(d, "x", 1), "put");
    REQUIRE(closed.close() == 0);
    REQUIRE((commit ? shmd_commit(d) : shmd_abort(d)) == 0);
    CHECK(locks(d).empty());
    REQUIRE(shmd_named_lock(d, "job", 0) == 0);
    REQUIRE(shmd_named_unlock(d, "job") == 0);
  }
  { // the handle that began it is closed, too: that ends the transaction
    Handle closed(name), begun(name);
    REQUIRE(shmd_named_lock(closed, "job", 0) == 0);
    REQUIRE(shmd_begin(begun, 0) == 0);
    REQUIRE(closed.close() == 0);
    REQUIRE(begun.close() == 0);
    CHECK(locks(d).empty());
  }
  shmd_stats s;
  REQUIRE(shmd_stat(d, &s) == 0);
  CHECK(s.handles == 1);
}
