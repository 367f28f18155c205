// SPDX-License-Identifier: Apache-2.0
// fork(): the child is an attachee of its own and holds nothing of its parent's.
#include <sys/syscall.h>

#include <memory>
#include <vector>

#include "support/catch.hpp"
#include "support/process.hpp"

using namespace support;

// The mechanism: reattach() in registry.c.
TEST_CASE("a forked child has a slot of its own and writes under its own pid", "[fork]") {
  Name name("child");
  Handle d(name);
  must(put(d, "x", 1), "put");
  Shared<std::atomic<int>> stage;
  Child child([&] {
    if (get(d, "x") != 1 || put(d, "x", 2) != 0) return 1;
    shmd_stats s;
    if (shmd_stat(d, &s) != 0 || s.attached != 2) return 2;
    if (shmd_lock(d, 0) != 0) return 3;
    *stage = 1;
    if (!eventually([&] { return *stage == 2; })) return 4;
    return shmd_unlock(d) == 0 ? 0 : 5;
  });
  REQUIRE(eventually([&] { return *stage == 1; }));
  shmd_lock_info info;
  REQUIRE(shmd_lock_status(d, &info) == 0);
  CHECK(info.pid == child.pid());
  CHECK(info.thread == child.pid());
  CHECK(info.by_this_thread == 0);
  REQUIRE(shmd_lock(d, 0) == SHMD_TIMED_OUT);
  *stage = 2;
  REQUIRE(child.join() == 0);
  REQUIRE(get(d, "x") == 2);
  shmd_stats s;
  REQUIRE(shmd_stat(d, &s) == 0);
  REQUIRE(s.attached == 1);
}

// The mechanism: mine() compares the slot in the lock word with the child's own, and the thread with the child's own.
TEST_CASE("a child forked inside a locked section holds no lock, and its unlock frees nothing", "[fork]") {
  Name name("section");
  Handle d(name);
  REQUIRE(shmd_lock(d, SHMD_FOREVER) == 0);
  must(put(d, "x", 1), "put");
  Child child([&] {
    if (shmd_unlock(d) != SHMD_ERR_NOT_LOCKED) return 1;
    if (shmd_lock(d, 50'000'000) != SHMD_TIMED_OUT) return 2;
    if (shmd_last_error()->pid != getppid()) return 3;
    return get(d, "x") == 1 ? 0 : 4;
  });
  REQUIRE(child.join() == 0);
  shmd_lock_info info;
  REQUIRE(shmd_lock_status(d, &info) == 0);
  REQUIRE(info.by_this_thread == 1);
  REQUIRE(put(d, "x", 2) == 0);
  REQUIRE(shmd_unlock(d) == 0);
}

// The mechanism: look_after_owner() in lock_wait.c; the child has a slot of its own (reattach()), for one's own is never asked.
TEST_CASE("a child that is killed while it holds the lock is taken over from by its parent", "[fork]") {
  Name name("killed");
  Handle d(name);
  Shared<std::atomic<int>> stage;
  Child child([&]() -> int {
    must(shmd_lock(d, SHMD_FOREVER), "lock");
    *stage = 1;
    for (;;) pause();
  });
  REQUIRE(eventually([&] { return *stage == 1; }));
  child.end(SIGKILL);
  REQUIRE(shmd_lock(d, SHMD_FOREVER) == SHMD_RECOVERED);
  REQUIRE(shmd_unlock(d) == 0);
}

// The mechanism: the child opens its description through /proc/self/fd, not by name (shmd_name_reopen).
TEST_CASE("a child forked after unlink works on the nameless object", "[fork]") {
  Name name("nameless");
  Handle d(name);
  REQUIRE(shmd_unlink(name.c_str()) == 0);
  must(put(d, "x", 1), "put");
  Child child([&] { return get(d, "x") == 1 && put(d, "x", 2) == 0 ? 0 : 1; });
  REQUIRE(child.join() == 0);
  REQUIRE(get(d, "x") == 2);
  REQUIRE_FALSE(name.exists());
}

// The mechanism: shmd_attach_child() on the way to the lock.
TEST_CASE("a child without a slot reads, its writes say not_attached, and it attaches once a slot is free", "[fork]") {
  Name name("slots");
  shmd_options one = small_options();
  one.max_processes = 1;
  one.unlink = SHMD_UNLINK_NEVER;
  auto d = std::make_unique<Handle>(name, one);
  must(put(*d, "x", 1), "put");
  Shared<std::atomic<int>> stage;
  Child child([&] {
    if (get(*d, "x") != 1) return 1;
    if (put(*d, "x", 2) != SHMD_ERR_NOT_ATTACHED) return 2;
    if (shmd_lock(*d, 0) != SHMD_ERR_NOT_ATTACHED) return 3;
    if (std::string(shmd_last_error()->message).find("slots are taken") == std::string::npos) return 4;
    *stage = 1;
    if (!eventually([&] { return *stage == 2; })) return 5;
    return put(*d, "x", 3) == 0 && get(*d, "x") == 3 ? 0 : 6;
  });
  REQUIRE(eventually([&] { return *stage == 1; }));
  REQUIRE(get(*d, "x") == 1);
  d.reset();
  *stage = 2;
  REQUIRE(child.join() == 0);
}

// The mechanism: reattach() says "present" through the child's own description; shmd_presence_end() then sees it.
TEST_CASE("the name stays while a forked child of its last process lives, and goes with the child", "[fork][unlink]") {
  Name name("heir");
  Shared<std::atomic<int>> stage;
  Child parent([&] {
    Handle d(name);
    must(put(d, "x", 1), "put");
    if (fork() == 0) {
      (void)eventually([&] { return *stage == 2; });
      const bool good = get(d, "x") == 1;
      *stage = d.close() == 0 && good ? 3 : 4;
      _exit(0);
    }
    const int closed = d.close();
    *stage = 1;
    return closed == 0 ? 0 : 1;
  });
  REQUIRE(parent.join() == 0);
  REQUIRE(*stage == 1);
  REQUIRE(name.exists());
  *stage = 2;
  REQUIRE(eventually([&] { return *stage >= 3; }));
  REQUIRE(*stage == 3);
  REQUIRE_FALSE(name.exists());
}

// The mechanism: before_fork() holds the registry's mutex, and reattach() makes new ones.
TEST_CASE("a process may fork while its other threads write, open and close", "[fork][thread]") {
  Name name("threads"), other("threads.other");
  Handle d(name);
  std::atomic<bool> stop{false};
  std::vector<std::thread> threads;
  threads.emplace_back([&] {
    for (std::uint64_t i = 0; !stop; ++i) must(put(d, "a", i), "put");
  });
  threads.emplace_back([&] {
    while (!stop) {
      Handle h(other);
      must(put(h, "b", 1), "put");
    }
  });
  int failed = 0;
  for (int i = 0; i < 60; ++i) {
    Child child([&] {
      alarm(300);
      if (put(d, "c" + std::to_string(i), 1) < 0) return 1;
      if (shmd_lock(d, SHMD_FOREVER) < 0 || shmd_unlock(d) != 0) return 2;
      return 0;
    });
    if (child.join() != 0) ++failed;
  }
  stop = true;
  for (auto& t : threads) t.join();
  REQUIRE(failed == 0);
  for (int i = 0; i < 60; ++i) REQUIRE(get(d, "c" + std::to_string(i)) == 1);
}

// The mechanism: the page that fork() wipes (shmd_os_fork_detector), looked at on the way to the lock.
TEST_CASE("a child made round the fork handlers is put in order when it first writes", "[fork]") {
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
  SHMDICT_SKIP("sanitizers do not survive a raw clone");
#endif
  Name name("raw");
  Handle d(name);
  REQUIRE(shmd_lock(d, SHMD_FOREVER) == 0);
  const long pid = syscall(SYS_clone, SIGCHLD, nullptr, nullptr, nullptr, nullptr);
  REQUIRE(pid >= 0);
  if (pid == 0) {
    int code = 0;
    if (shmd_unlock(d) != SHMD_ERR_NOT_LOCKED) code = 1;
    if (code == 0 && shmd_lock(d, 0) != SHMD_TIMED_OUT) code = 2;
    shmd_stats s;
    if (code == 0 && (shmd_stat(d, &s) != 0 || s.attached != 2)) code = 3;
    _exit(code);
  }
  int status = 0;
  REQUIRE(waitpid(static_cast<pid_t>(pid), &status, 0) == pid);
  REQUIRE(WIFEXITED(status));
  REQUIRE(WEXITSTATUS(status) == 0);
  REQUIRE(shmd_unlock(d) == 0);
}
