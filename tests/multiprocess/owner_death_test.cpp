// SPDX-License-Identifier: Apache-2.0
// The lock's owner dies: process, thread, in other PID namespaces, with its pid reused. Whoever waits goes on.
#include <linux/sched.h>
#include <sched.h>
#include <sys/syscall.h>

#include <memory>
#include <vector>

#include "support/catch.hpp"
#include "support/process.hpp"
#include "support/rounds.hpp"

using namespace support;

namespace {

struct Board {
  std::atomic<int> locked{0};   // owners that hold the lock
  std::atomic<int> waiting{0};  // waiters about to wait
  std::atomic<int> result{-99}; // of the waiter's shmd_lock
  std::atomic<std::uint64_t> taken_at{0};
  std::atomic<int> recovered{0};
  std::atomic<int> got{0};
  std::atomic<int> inside{0}; // overlap detector
  std::atomic<int> overlaps{0};
  std::atomic<int> go{0};
  std::atomic<std::uint64_t> start_at{0};
};

// Locks and keeps the lock until killed.
int own_for_ever(const std::string& name, Board& board, shmd_options options = small_options()) {
  Handle d(name, options);
  must(put(d, "owner", 1), "put");
  must(shmd_lock(d, SHMD_FOREVER), "lock");
  must(put(d, "inside", 2), "put");
  ++board.locked;
  for (;;) pause();
}

int wait_and_report(const std::string& name, Board& board) {
  Handle d(name);
  ++board.waiting;
  const int result = shmd_lock(d, SHMD_FOREVER);
  board.taken_at = now_ns();
  board.result = result;
  const bool good = get(d, "owner") == 1 && get(d, "inside") == 2 && put(d, "after", 3) == 0;
  must(shmd_unlock(d), "unlock");
  return good ? 0 : 1;
}

pid_t clone_with_pid(pid_t wanted) {
  struct clone_args args = {};
  args.exit_signal = SIGCHLD;
  args.set_tid = reinterpret_cast<std::uint64_t>(&wanted);
  args.set_tid_size = 1;
  return static_cast<pid_t>(syscall(SYS_clone3, &args, sizeof args));
}

// Runs `body` as the first process (pid 1) of a new PID namespace. -1: the kernel forbids it.
template <class Body>
int in_pid_namespace(Body body) {
  Child outer([&] {
    if (unshare(CLONE_NEWPID) != 0) return 77;
    Child inner(body);
    return inner.join();
  });
  return outer.join();
}

} // namespace

// The mechanism: look_after_owner() in shmd_lock_wait_for() (lock_wait.c). Without it the waiter sleeps for ever.
TEST_CASE("a waiter goes on within 100 ms after the owner's death", "[lock]") {
  for (int round = 0; round < 8; ++round) {
    const auto in_time = [&] {
      Name name("death");
      Shared<Board> board;
      Child owner([&] { return own_for_ever(name, *board); });
      REQUIRE(eventually([&] { return board->locked == 1; }));
      Child waiter([&] { return wait_and_report(name, *board); });
      REQUIRE(eventually([&] { return board->waiting == 1; }));
      std::this_thread::sleep_for(std::chrono::milliseconds(round * 11));
      const std::uint64_t before = now_ns();
      owner.end(SIGKILL);
      REQUIRE(waiter.join() == 0);
      REQUIRE(board->result == SHMD_RECOVERED);
      return board->taken_at - before < 100'000'000;
    };
    INFO("round " << round);
    CHECK(once_in(10, in_time));
  }
}

// The mechanism: reattach() in registry.c closes the inherited description, and the liveness description is never mapped.
TEST_CASE("a forked child of the dead owner that lives on with the mapping does not keep the lock", "[lock][fork]") {
  Name name("heir");
  Shared<Board> board;
  Child owner([&]() -> int {
    Handle d(name);
    must(put(d, "owner", 1), "put");
    must(shmd_lock(d, SHMD_FOREVER), "lock");
    must(put(d, "inside", 2), "put");
    if (fork() == 0) {
      board->locked = 1;
      while (board->go == 0) std::this_thread::sleep_for(1ms);
      board->got = get(d, "after") == 3 ? 1 : 2;
      _exit(0);
    }
    for (;;) pause();
  });
  REQUIRE(eventually([&] { return board->locked == 1; }));
  Child waiter([&] { return wait_and_report(name, *board); });
  REQUIRE(eventually([&] { return board->waiting == 1; }));
  owner.end(SIGKILL);
  const bool taken = eventually([&] { return board->result != -99; });
  const int waited = waiter.join(); // it has written "after" by then
  board->go = 1;
  REQUIRE(taken);
  REQUIRE(board->result == SHMD_RECOVERED);
  REQUIRE(waited == 0);
  REQUIRE(eventually([&] { return board->got != 0; }));
  REQUIRE(board->got == 1); // the heir still reads, what was written after its parent's death too
}

// The mechanism: slot bytes (slot.c's shmd_slot_alive). A pid is never asked, so one that lives again proves nothing.
TEST_CASE("a reused pid does not make a dead owner live", "[lock][namespace]") {
  Name name("reuse");
  Shared<Board> board;
  const int result = in_pid_namespace([&] {
    const pid_t owner = clone_with_pid(50);
    if (owner < 0) return 77;
    if (owner == 0) _exit(own_for_ever(name, *board));
    if (owner != 50 || !eventually([&] { return board->locked == 1; })) return 1;
    kill(owner, SIGKILL);
    waitpid(owner, nullptr, 0);
    const pid_t again = clone_with_pid(50); // attached, too: with the dead owner's pid in its own slot
    if (again < 0) return 77;
    if (again == 0) {
      Handle d(name);
      board->go = 1;
      for (;;) pause();
    }
    if (!eventually([&] { return board->go == 1; })) return 2;
    const int code = wait_and_report(name, *board);
    kill(again, SIGKILL);
    waitpid(again, nullptr, 0);
    return code != 0 ? 3 : board->result == SHMD_RECOVERED ? 0 : 4;
  });
  if (result == 77) SHMDICT_SKIP("the kernel does not let this user choose pids");
  REQUIRE(result == 0);
}

// The mechanism: the same. Both processes have pid 1 in their own namespace.
TEST_CASE("owner and waiter may live in different PID namespaces", "[lock][namespace]") {
  Name name("namespaces");
  Shared<Board> board;
  Shared<std::atomic<pid_t>> holder; // as the test sees it
  Shared<std::atomic<bool>> forbidden;
  Child owner([&] {
    if (unshare(CLONE_NEWPID) != 0) {
      *forbidden = true;
      return 77;
    }
    Child inner([&] { return own_for_ever(name, *board); });
    *holder = inner.pid();
    return inner.join() == -SIGKILL ? 0 : 1;
  });
  REQUIRE(eventually([&] { return board->locked == 1 || *forbidden; }));
  if (*forbidden) SHMDICT_SKIP("the kernel does not let this user make PID namespaces");
  // While it lives, it is waited for: a pid 1 that is somebody else is no reason to take over.
  const int alive = in_pid_namespace([&] {
    Handle d(name);
    if (shmd_lock(d, 200'000'000) != SHMD_TIMED_OUT) return 1;
    return shmd_last_error()->pid == 1 ? 0 : 2;
  });
  REQUIRE(alive == 0);
  kill(*holder, SIGKILL);
  REQUIRE(owner.join() == 0);
  REQUIRE(in_pid_namespace([&] { return wait_and_report(name, *board); }) == 0);
  REQUIRE(board->result == SHMD_RECOVERED);
}

// The mechanism: thread_ends() in lock.c.
TEST_CASE("a thread that ends holding the lock leaves it to others while its process lives", "[lock][thread]") {
  Name name("thread");
  Handle d(name);
  Shared<Board> board;
  must(put(d, "owner", 1), "put");
  Child waiter([&] {
    if (!eventually([&] { return board->locked == 1; })) return 1;
    return wait_and_report(name, *board);
  });
  bool waits = false;
  std::thread owner([&] {
    must(shmd_lock(d, SHMD_FOREVER), "lock");
    must(put(d, "inside", 2), "put");
    board->locked = 1;
    waits = eventually([&] { return board->waiting == 1; });
    std::this_thread::sleep_for(20ms);
  });
  owner.join();
  REQUIRE(waits);
  REQUIRE(waiter.join() == 0);
  REQUIRE(board->result == SHMD_RECOVERED);
  REQUIRE(shmd_lock(d, 0) == 0); // said once
  REQUIRE(shmd_unlock(d) == 0);
  // and a thread of the same process as waiter
  std::thread([&] { must(shmd_lock(d, SHMD_FOREVER), "lock"); }).join();
  REQUIRE(shmd_lock(d, 0) == SHMD_RECOVERED);
  REQUIRE(shmd_unlock(d) == 0);
}

// The mechanism: the comparisons with the word seen before, in shmd_hold_take_over() (lock.c), and the byte that shmd_slot_alive()
// takes instead of asking for it: each covers for the other here, so the test fails when both are gone.
TEST_CASE("of several rescuers that race one takes over and the others wait for it", "[lock][race]") {
  constexpr int rounds = 600, processes = 2;
  const int threads = GENERATE(1, 2);
  Name name("race");
  Handle keeper(name, with(SHMD_UNLINK_NEVER));
  Shared<Board> board;
  std::vector<std::unique_ptr<Child>> rescuers;
  rescuers.reserve(processes);
  for (int i = 0; i < processes; ++i) {
    rescuers.push_back(std::make_unique<Child>([&] {
      Handle d(name);
      const auto rescue = [&] {
        for (int round = 1; round <= rounds; ++round) {
          ++board->waiting;
          while (board->go < round) std::this_thread::yield();
          while (now_ns() < board->start_at) {
          }
          int result = SHMD_TIMED_OUT; // tried, not waited for: all of them come at the same moment
          while ((result = shmd_lock(d, 0)) == SHMD_TIMED_OUT) {
          }
          if (board->inside.fetch_add(1) != 0) ++board->overlaps;
          if (result == SHMD_RECOVERED) ++board->recovered;
          for (int spin = 0; spin < 2000; ++spin) std::atomic_signal_fence(std::memory_order_seq_cst);
          --board->inside;
          if (result >= 0 && shmd_unlock(d) == 0) ++board->got;
        }
      };
      std::vector<std::thread> workers;
      workers.reserve(static_cast<std::size_t>(threads));
      for (int t = 0; t < threads; ++t) workers.emplace_back(rescue);
      for (auto& w : workers) w.join();
      return 0;
    }));
  }
  for (int round = 1; round <= rounds; ++round) {
    Child owner([&] { return own_for_ever(name, *board); });
    REQUIRE(eventually([&] { return board->locked == round; }));
    REQUIRE(eventually([&] { return board->waiting == round * processes * threads; }));
    owner.end(SIGKILL);
    board->start_at = now_ns() + 100'000;
    board->go = round;
    REQUIRE(eventually([&] { return board->got == round * processes * threads; }));
    REQUIRE(board->overlaps == 0);
    REQUIRE(board->recovered == round);
  }
  for (auto& r : rescuers) REQUIRE(r->join() == 0);
}

// The mechanism: shmd_lock_adopt() on the way to a slot (slot.c). Without it the lock's word would name a living process.
TEST_CASE("whoever gets the slot of an owner that died repairs before anything else", "[lock][slot]") {
  Name name("adopt");
  Shared<Board> board;
  shmd_options one = small_options();
  one.max_processes = 1;
  Child owner([&] { return own_for_ever(name, *board, one); });
  REQUIRE(eventually([&] { return board->locked == 1; }));
  owner.end(SIGKILL);
  Handle d(name); // there is but one slot
  REQUIRE(put(d, "x", 1) == 0);
  REQUIRE(get(d, "inside") == 2);
  REQUIRE(shmd_lock(d, 0) == SHMD_RECOVERED); // the section was never finished: whoever locks next is told
  REQUIRE(shmd_unlock(d) == 0);
  REQUIRE(shmd_lock(d, 0) == 0);
  REQUIRE(shmd_unlock(d) == 0);
}

// The mechanism: SHMD_LOCK_ORPHANED (lock.c's taken_word).
TEST_CASE("single writes after the owner's death do not keep the news from the next section", "[lock]") {
  Name name("news");
  Shared<Board> board;
  Child owner([&] { return own_for_ever(name, *board); });
  REQUIRE(eventually([&] { return board->locked == 1; }));
  owner.end(SIGKILL);
  Handle d(name);
  REQUIRE(put(d, "x", 1) >= 0);
  REQUIRE(put(d, "x", 2) == 0);
  Child other([&] { // another process
    Handle mine(name);
    return put(mine, "x", 3) == 0 ? 0 : 1;
  });
  REQUIRE(other.join() == 0);
  REQUIRE(shmd_lock(d, 0) == SHMD_RECOVERED);
  REQUIRE(shmd_unlock(d) == 0);
  REQUIRE(shmd_lock(d, 0) == 0);
  REQUIRE(shmd_unlock(d) == 0);
}

// The mechanism: shmd_lock_wait_for() asks once more before it gives up, also with a timeout of 0.
TEST_CASE("trying the lock of a dead owner succeeds at once", "[lock]") {
  Name name("try");
  Shared<Board> board;
  Handle d(name);
  Child owner([&] { return own_for_ever(name, *board); });
  REQUIRE(eventually([&] { return board->locked == 1; }));
  REQUIRE(shmd_lock(d, 0) == SHMD_TIMED_OUT);
  owner.end(SIGKILL);
  REQUIRE(shmd_lock(d, 0) == SHMD_RECOVERED);
  REQUIRE(shmd_unlock(d) == 0);
}

// The mechanism: `limit` in shmd_lock_wait_for(), timed_out() (lock_wait.c). Its byte is held while it is stopped:
// nothing is taken from it.
TEST_CASE("a stopped owner gives an error that names it, and goes on unharmed", "[lock]") {
  Name name("stopped");
  Shared<Board> board;
  shmd_options options = small_options();
  options.timeout = 300'000'000;
  Handle d(name, options);
  Child owner([&] {
    Handle mine(name);
    must(shmd_lock(mine, SHMD_FOREVER), "lock");
    ++board->locked;
    while (board->go == 0) std::this_thread::sleep_for(1ms);
    if (put(mine, "owner", 7) < 0 || shmd_unlock(mine) != 0) return 1;
    return 0;
  });
  REQUIRE(eventually([&] { return board->locked == 1; }));
  owner.signal(SIGSTOP);
  REQUIRE(put(d, "x", 1) == SHMD_ERR_LOCK_TIMEOUT);
  const shmd_error_info error = *shmd_last_error();
  CHECK(error.code == SHMD_ERR_LOCK_TIMEOUT);
  CHECK(error.pid == owner.pid());
  CHECK(error.thread == owner.pid());
  CHECK(error.waited_ns >= 300'000'000);
  CHECK(error.held_ns >= 290'000'000);
  CHECK_THAT(std::string(error.message), contains(name.c_str()) && contains(std::to_string(owner.pid())));
  CHECK(std::string(error.program) == program_invocation_short_name);
  shmd_lock_info info;
  REQUIRE(shmd_lock_status(d, &info) == 0);
  CHECK(info.held == 1);
  CHECK(info.alive == 1);
  CHECK(info.by_this_thread == 0);
  CHECK(info.pid == owner.pid());
  owner.signal(SIGCONT);
  board->go = 1;
  REQUIRE(owner.join() == 0);
  REQUIRE(put(d, "x", 1) == 0);
  REQUIRE(get(d, "owner") == 7);
}
