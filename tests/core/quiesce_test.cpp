// SPDX-License-Identifier: Apache-2.0
// A snapshot taken while a write stands still at one of its stores, at each of them in turn: not left to chance. By another
// thread, and by a signal handler of the writer's own.
#include <atomic>
#include <chrono>
#include <thread>
#include <utility>

#include "redo.h"
#include "support/catch.hpp"
#include "support/dict.hpp"
#include "support/process.hpp"

using support::Dict;
using namespace std::chrono_literals;

namespace {

thread_local std::uint64_t countdown = 0; // stores of this thread until it stands still; 0 = never
std::atomic<bool> standing{false}, looking{false}, go{false};

void stand_still(const void*) {
  if (countdown == 0 || --countdown != 0) return;
  standing = true;
  while (!looking) std::this_thread::sleep_for(100us);
  // no longer than the snapshot may have to wait for this write
  for (const auto end = std::chrono::steady_clock::now() + 20ms; !go && std::chrono::steady_clock::now() < end;)
    std::this_thread::sleep_for(100us);
}

void put(shmd_dict* d, std::uint64_t key, std::uint64_t value) {
  support::must(shmd_put(d, shmd_root(), &key, 8, &value, 8, 0), "put");
}

} // namespace

// Guard: shmd_lock_quiesce() in take_pin() (snapshot.c): a write that was under way when the pin was stored has not
// seen it, and keeps no older version.
TEST_CASE("a snapshot taken while a write stands at any of its stores sees the key before or after it") {
  Dict d(support::unique_name("quiesce"));
  put(d, 1, 0);
  shmd_crash_trace = stand_still;
  std::uint64_t stood = 0;
  for (std::uint64_t n = 1; n == stood + 1; ++n) {
    standing = looking = go = false;
    std::atomic<bool> done{false};
    std::thread writer([&] {
      countdown = n;
      put(d, 1, n);
      countdown = 0;
      done = true;
    });
    while (!standing && !done) std::this_thread::yield();
    if (standing) stood = n;
    looking = true;
    shmd_snapshot* s = nullptr;
    const int opened = shmd_snapshot_open(d, &s);
    go = true;
    writer.join();
    REQUIRE(opened == 0);
    const std::uint64_t key = 1;
    std::uint64_t value = 0;
    std::size_t size = 0;
    INFO("store " << n);
    const int found = shmd_snapshot_get(s, shmd_root(), &key, 8, &value, 8, &size);
    shmd_snapshot_close(s);
    REQUIRE(found == 0);
    REQUIRE((value == n || value == n - 1));
  }
  shmd_crash_trace = nullptr;
  REQUIRE(stood > 10);
  REQUIRE(d.check().empty());
}

// Guard: repaired() in shmd_lock_quiesce() (lock_wait.c). A take-over moves the lock's word before it finishes the write of the
// dead owner, who saw no pin: a word that has moved is no proof that this write is over.
TEST_CASE(
    "a snapshot taken while the write of a dead process is being finished sees it done or not begun, and stays so") {
  shmd_crash_trace = nullptr;
  std::uint64_t died = 0, stood_still = 0;
  for (std::uint64_t n = 1; n == died + 1; ++n) {
    std::uint64_t stood = 0;
    for (std::uint64_t m = 1; m == stood + 1; ++m) {
      Dict d(support::unique_name("quiesce"));
      put(d, 1, 1);
      support::Child writer([&] {
        shmd_crash_count = 0;
        shmd_crash_at = n;
        put(d, 1, 2);
        shmd_crash_at = 0;
        return 0;
      });
      if (writer.join() == 0) break; // it has fewer stores
      died = n;
      shmd_crash_trace = stand_still;
      standing = looking = go = false;
      std::atomic<bool> done{false};
      std::thread rescuer([&] {
        countdown = m;
        support::must(shmd_lock(d, SHMD_DEFAULT_TIMEOUT), "lock");
        countdown = 0;
        done = true;
        support::must(shmd_unlock(d), "unlock");
      });
      while (!standing && !done) std::this_thread::yield();
      if (standing) {
        stood = m;
        ++stood_still;
      }
      looking = true;
      INFO("killed at store " << n << ", taken over by one who stood at store " << m);
      const std::uint64_t key = 1;
      std::uint64_t once = 0, twice = 0;
      std::size_t size = 0;
      shmd_snapshot* s = nullptr;
      const int opened = shmd_snapshot_open(d, &s);
      const int found = opened == 0 ? shmd_snapshot_get(s, shmd_root(), &key, 8, &once, 8, &size) : -1;
      go = true;
      rescuer.join();
      const int again = opened == 0 ? shmd_snapshot_get(s, shmd_root(), &key, 8, &twice, 8, &size) : -1;
      shmd_snapshot_close(s);
      shmd_crash_trace = nullptr;
      REQUIRE(opened == 0);
      REQUIRE(found == 0);
      REQUIRE(again == 0);
      REQUIRE(once == twice);
      REQUIRE((once == 1 || once == 2));
      REQUIRE(d.check().empty());
    }
  }
  CHECK(died > 5);
  CHECK(stood_still > 20);
}

namespace {

// What a signal handler that interrupts this thread at a store would do.
thread_local shmd_dict* interrupted = nullptr;
std::uint64_t interruptions = 0;
std::string admitted; // calls that were not refused

void interrupt(const void*) {
  shmd_dict* d = std::exchange(interrupted, nullptr); // the handler's own stores are no interruptions
  if (d == nullptr) return;
  const auto refused = [](const char* what, int result) {
    if (result != SHMD_ERR_BUSY && result != SHMD_ERR_IN_TRANSACTION)
      admitted += std::string(what) + ": " + std::to_string(result) + "\n";
  };
  ++interruptions;
  shmd_snapshot* s = nullptr;
  shmd_view view;
  static shmd_stats stats;
  refused("snapshot", shmd_snapshot_open(d, &s));
  refused("view", shmd_view_open(d, shmd_root(), "k", 1, &view));
  refused("put", shmd_put(d, shmd_root(), "k", 1, "h", 1, 0));
  refused("lock", shmd_lock(d, 0));
  refused("stat", shmd_stat(d, &stats));
  interrupted = d;
}

} // namespace

// Guards: `busy` (call.h), asked and set by enter() in snapshot.c, in the calls that write, and by shmd_lock_busy() round
// mutexes. Without it the handler would wait for ever for pin_mutex, or shmd_lock_quiesce() would find the lock its own
// thread's and show it half a commit.
TEST_CASE("a signal handler that interrupts a call at any of its stores is refused, snapshots too") {
  Dict d(support::unique_name("interrupted")), other(support::unique_name("interrupted"));
  d.put("k", "v");
  shmd_crash_trace = interrupt;
  const auto during = [&](const char* what, auto call) {
    INFO(what);
    admitted.clear();
    const auto before = interruptions;
    interrupted = d;
    call();
    interrupted = nullptr;
    CHECK(admitted == "");
    CHECK(interruptions > before);
  };
  shmd_snapshot* s = nullptr;
  shmd_view view;
  during("put", [&] { d.put("k", "another value"); });
  during("insert", [&] { d.put("new", "value"); });
  during("erase", [&] { d.erase("new"); });
  during("nested dict", [&] { d.put("x", "y", d.child("nested")); });
  during("snapshot_open", [&] { support::must(shmd_snapshot_open(d, &s), "snapshot"); });
  during("snapshot_close", [&] { shmd_snapshot_close(s); });
  during("view_open", [&] { support::must(shmd_view_open(d, shmd_root(), "k", 1, &view), "view"); });
  during("view_close", [&] { shmd_view_close(d, &view); });
  during("transaction", [&] {
    support::must(shmd_begin(d, 0), "begin");
    d.put("k", "1");
    d.put("l", "2");
    support::must(shmd_commit(d), "commit");
  });
  during("another dict", [&] { other.put("k", "v"); });
  during("open and close", [&] { const Dict third(support::unique_name("interrupted")); });
  shmd_crash_trace = nullptr;
  REQUIRE(d.get("k") == "1");
  REQUIRE(d.stat().pins == 0);
  REQUIRE(d.check().empty());
}
