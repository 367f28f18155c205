// SPDX-License-Identifier: Apache-2.0
// Descriptors and /proc belong to the program: it may have closed 0 to 2, close what it does not know, end its main thread,
// or see no /proc at all. Each test is a process of its own, for the descriptors of this one are the test runner's.
#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/syscall.h>

#include <thread>
#include <vector>

#include "support/catch.hpp"
#include "support/process.hpp"

using namespace support;

namespace {

constexpr int kForbidden = 77;

// From here on this process sees no /proc.
bool hide_proc() {
  return unshare(CLONE_NEWNS) == 0 && mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 &&
         mount("none", "/proc", "tmpfs", 0, "size=64k") == 0;
}

bool low_are_free() {
  for (int fd = 0; fd < 3; ++fd)
    if (fcntl(fd, F_GETFD) >= 0) return false;
  return true;
}

} // namespace

// ---- 0, 1 and 2 ----

// The mechanism: shmd_linux_high().
TEST_CASE("no descriptor of a dict is 0, 1 or 2, though the program has closed those", "[descriptors]") {
  const Name name("low"), anonymous("low.nameless");
  Child child([&] {
    for (int fd = 0; fd < 3; ++fd) close(fd);
    shmd_dict* nameless = nullptr;
    shmd_options o = small_options();
    o.flags = SHMD_ANONYMOUS;
    if (shmd_open(nullptr, &o, &nameless) < 0) return 1;
    Handle d(name);
    shmd_dict* reader = nullptr;
    o = small_options();
    o.flags = SHMD_READ_ONLY;
    if (shmd_open(name.c_str(), &o, &reader) < 0) return 2;
    shmd_follower* f = nullptr;
    if (shmd_follow_open(d, SHMD_NOW, &f) < 0 || shmd_follow_fd(f) < 3) return 3;
    if (shmd_native_fd(d) < 3 || shmd_native_fd(reader) < 3 || shmd_native_fd(nameless) < 3) return 4;
    if (!low_are_free()) return 5;
    if (put(d, "x", 1) != 0) return 6;
    const pid_t grandchild = fork();
    if (grandchild == 0) _exit(put(d, "y", 2) == 0 && low_are_free() ? 0 : 1);
    int status = 1;
    if (waitpid(grandchild, &status, 0) != grandchild || status != 0) return 7;
    shmd_follow_close(f);
    if (shmd_close(reader) < 0 || shmd_close(nameless) < 0) return 8;
    return low_are_free() && get(d, "y") == 2 ? 0 : 9;
  });
  REQUIRE(child.join() == 0);
}

// The mechanism: fill_low() in platform_linux_process.c: not even for a moment.
TEST_CASE("what another thread prints to a closed standard output never comes into a dict that is being opened",
          "[descriptors]") {
  const Name name("printing");
  Child child([&] {
    for (int fd = 0; fd < 3; ++fd) close(fd);
    std::atomic<bool> stop{false};
    std::thread printer([&] {
      while (!stop)
        for (int fd = 0; fd < 3; ++fd)
          if (write(fd, "a line of the program's log\n", 28) >= 0) _exit(1);
    });
    for (int i = 0; i < 300; ++i) {
      Handle d(name);
      if (put(d, "x", 1) != 0) return 2;
    }
    stop = true;
    printer.join();
    return 0;
  });
  REQUIRE(child.join() == 0);
}

// ---- /proc ----

// The mechanism: shmd_linux_descriptor_path() asks for the calling thread's descriptors.
TEST_CASE("a dict is opened, written and inherited after the main thread has ended", "[descriptors]") {
  const Name name("main");
  Child child([&]() -> int {
    std::thread([&] {
      // Where the main thread has ended, the process's own entry shows no descriptors.
      if (!eventually([] { return access("/proc/self/fd/0", F_OK) != 0; })) _exit(1);
      try {
        Handle d(name);
        if (put(d, "x", 1) != 0) _exit(2);
        const pid_t grandchild = fork();
        if (grandchild == 0) _exit(put(d, "x", 2) == 0 ? 0 : 1);
        int status = 1;
        if (waitpid(grandchild, &status, 0) != grandchild || status != 0) _exit(3);
        if (shmd_unlink(name.c_str()) != 0 || get(d, "x") != 2) _exit(4);
        const pid_t unnamed = fork(); // no name helps this one
        if (unnamed == 0) _exit(put(d, "x", 3) == 0 ? 0 : 1);
        if (waitpid(unnamed, &status, 0) != unnamed || status != 0 || get(d, "x") != 3) _exit(5);
      } catch (const std::exception& e) {
        std::fprintf(stderr, "%s\n", e.what());
        _exit(6);
      }
      _exit(0);
    }).detach();
    (void)syscall(SYS_exit, 0); // this thread alone, and without unwinding through the test
    return 9;
  });
  REQUIRE(child.join() == 0);
}

// The mechanism: shmd_os_reopen() goes by the temporary name; shmd_presence_join() comes before that name is given up.
TEST_CASE("dicts are made, opened, inherited and unlinked where /proc is not mounted", "[descriptors]") {
  const Name name("noproc");
  Child child([&] {
    if (!hide_proc()) return kForbidden;
    {
      Handle d(name);
      if (put(d, "x", 1) != 0) return 1;
      const pid_t grandchild = fork();
      if (grandchild == 0) _exit(put(d, "x", 2) == 0 ? 0 : 1);
      int status = 1;
      if (waitpid(grandchild, &status, 0) != grandchild || status != 0 || get(d, "x") != 2) return 2;
      Handle again(name, with(SHMD_UNLINK_LAST_CLOSES, SHMD_OPEN_ONLY));
      if (get(again, "x") != 2) return 3;
    }
    if (name.exists()) return 4; // the last one to close removed it
    shmd_dict* nameless = nullptr;
    shmd_options o = small_options();
    o.flags = SHMD_ANONYMOUS;
    if (shmd_open(nullptr, &o, &nameless) < 0 || put(nameless, "x", 1) != 0 || shmd_close(nameless) < 0) return 5;
    return 0;
  });
  const int result = child.join();
  if (result == kForbidden) SHMDICT_SKIP("the kernel does not let this user mount");
  REQUIRE(result == 0);
}

// The mechanism: would_deadlock() in lock_wait.c: an unknown start time or PID namespace is equal to none.
TEST_CASE("two processes 1 of two containers without /proc wait for each other's lock and see no deadlock",
          "[descriptors]") {
  const Name name("containers");
  Handle d(name);
  Shared<std::atomic<int>> stage;
  const auto in_container = [&](auto body) {
    return [&stage, body] {
      if (!hide_proc() || unshare(CLONE_NEWPID) != 0) return kForbidden;
      const pid_t one = fork();
      if (one == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        _exit(getpid() != 1 ? 9 : body());
      }
      int status = 1;
      if (waitpid(one, &status, 0) != one) return 8;
      return WIFEXITED(status) ? WEXITSTATUS(status) : 7;
    };
  };
  Child holder(in_container([&] {
    if (shmd_lock(d, SHMD_FOREVER) < 0) return 1;
    *stage = 1;
    if (!eventually([&] { return *stage == 2; })) return 2;
    return shmd_unlock(d) == 0 ? 0 : 3;
  }));
  int result = 0;
  {
    Child waiter(in_container([&] {
      if (!eventually([&] { return *stage == 1; })) return 1;
      const int waited = shmd_lock(d, 50'000'000);
      *stage = 2;
      return waited == SHMD_TIMED_OUT ? 0 : 2;
    }));
    result = waiter.join();
  }
  *stage = 2;
  if (result == kForbidden) SHMDICT_SKIP("the kernel does not let this user make namespaces");
  CHECK(result == 0);
  CHECK(holder.join() == 0);
}
