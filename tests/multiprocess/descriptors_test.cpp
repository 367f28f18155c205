// SPDX-License-Identifier: Apache-2.0
// Descriptors and /proc belong to the program: it may have closed 0 to 2, close what it does not know, end its main thread,
// or see no /proc at all. Each test is a process of its own, for the descriptors of this one are the test runner's.
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <sys/mount.h>
#include <sys/personality.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include <algorithm>
#include <memory>
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

// What a daemon does to descriptors that it does not know.
void close_unknown() {
  for (int fd = 3; fd < 256; ++fd) close(fd);
}

// A file of the program's own, under all the numbers that became free, and a look at what became of it.
class OwnFile {
 public:
  explicit OwnFile(int copies = 24) {
    char path[] = "/tmp/shmdict-test-XXXXXX";
    numbers_.push_back(mkstemp(path));
    (void)unlink(path);
    if (numbers_[0] < 0 || write(numbers_[0], data().data(), data().size()) != static_cast<ssize_t>(data().size()))
      throw std::runtime_error("no file for the test");
    while (static_cast<int>(numbers_.size()) < copies) numbers_.push_back(dup(numbers_[0]));
  }
  // Open under each number, every byte as it was, and nothing of it locked.
  bool untouched() const {
    std::string now(data().size() + 1, 'x');
    if (std::any_of(numbers_.begin(), numbers_.end(), [](int fd) { return fcntl(fd, F_GETFD) < 0; })) return false;
    now.resize(static_cast<std::size_t>(std::max<ssize_t>(0, pread(numbers_[0], now.data(), now.size(), 0))));
    struct flock lock = {};
    lock.l_type = F_WRLCK;
    return now == data() && fcntl(numbers_[0], F_GETLK, &lock) == 0 && lock.l_type == F_UNLCK;
  }

 private:
  static const std::string& data() {
    static const std::string value(8 << 20, 'U');
    return value;
  }
  std::vector<int> numbers_;
};

// Writes and erases enough for memory to be allocated, and given back.
int use(shmd_dict* d) {
  const std::string value(5000, 'v');
  for (int i = 0; i < 1500; ++i) {
    const std::string key = "k" + std::to_string(i);
    if (const int r = shmd_put(d, shmd_root(), key.data(), key.size(), value.data(), value.size(), 0); r < 0) return r;
  }
  for (int i = 0; i < 1500; ++i) {
    const std::string key = "k" + std::to_string(i);
    if (const int r = shmd_erase(d, shmd_root(), key.data(), key.size()); r < 0) return r;
  }
  return shmd_compact(d);
}

// Runs `body` as the first process of a PID namespace of its own: from there no other process can be seen.
template <class Body>
int elsewhere(Body body) {
  Child outer([&] {
    if (unshare(CLONE_NEWPID) != 0) return kForbidden;
    Child inner(body);
    return inner.join();
  });
  return outer.join();
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
    return [body] {
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

// ---- descriptors closed by the program ----

// The mechanism: marks (shmd_os_mark), looked at in descriptor.c before each act on a number; allocation and punching by the
// mapping; shmd_liveness_keep().
TEST_CASE(
    "a program that closes what it does not know finds the files that it then opens as it left them, and can write",
    "[descriptors]") {
  const Name name("daemon");
  Child child([&] {
    Handle d(name);
    Handle reader(name, [] {
      shmd_options o = small_options();
      o.flags = SHMD_READ_ONLY;
      return o;
    }());
    shmd_follower* f = nullptr;
    if (shmd_follow_open(d, SHMD_NOW, &f) < 0 || shmd_follow_fd(f) < 0) return 1;
    close_unknown();
    const OwnFile own;
    if (use(d) < 0 || put(d, "x", 1) != 0 || get(reader, "x") != 1) {
      std::fprintf(stderr, "%s\n", shmd_last_error()->message);
      return 2;
    }
    if (!own.untouched()) return 3;
    const pid_t grandchild = fork();
    if (grandchild == 0) _exit(put(d, "y", 2) == 0 && own.untouched() ? 0 : 1);
    int status = 1;
    if (waitpid(grandchild, &status, 0) != grandchild || status != 0) return 4;
    if (shmd_named_lock(d, "job", 0) != 0 || shmd_named_unlock(d, "job") != 0) return 5;
    shmd_stats stats;
    if (shmd_stat(d, &stats) != 0 || stats.attached != 1 || stats.memory == 0) return 6;
    {
      Handle again(name);
      if (get(again, "y") != 2) return 7;
    }
    shmd_follow_close(f);
    if (reader.close() < 0) return 8;
    if (d.close() < 0) return 9;
    if (name.exists()) return 10;
    return own.untouched() ? 0 : 11;
  });
  REQUIRE(child.join() == 0);
}

// The mechanism: the look at `child_mark` in after_fork_parent(); a child whose descriptor is gone attaches with its first write.
TEST_CASE("a program may close what it does not know in its own fork handlers", "[descriptors]") {
  const Name name("handlers");
  Child child([&] {
    static std::vector<std::unique_ptr<OwnFile>> own;
    const auto close_and_open = [] {
      close_unknown();
      own.clear();
      own.push_back(std::make_unique<OwnFile>());
    };
    // Registered before the library's: runs after it before the fork, and before it in parent and child.
    if (pthread_atfork(close_and_open, close_and_open, close_and_open) != 0) return 1;
    Handle d(name);
    for (int i = 0; i < 3; ++i) {
      const pid_t grandchild = fork();
      if (grandchild == 0) _exit(use(d) == 0 && own[0]->untouched() ? 0 : 1);
      int status = 1;
      if (waitpid(grandchild, &status, 0) != grandchild || status != 0) return 2;
      if (use(d) != 0 || !own[0]->untouched()) return 3;
    }
    if (d.close() != 0 || name.exists()) return 4;
    return own[0]->untouched() ? 0 : 5;
  });
  REQUIRE(child.join() == 0);
}

// The mechanism: a mark tells our description from another one of the very same object.
TEST_CASE("a file that the program opens in a descriptor's place stays open though it is the dict's own object",
          "[descriptors]") {
  const Name name("same");
  Shared<std::atomic<int>> stage;
  Child child([&]() -> int {
    auto d = std::make_unique<Handle>(name);
    close_unknown();
    std::vector<int> mine(16);
    for (int& fd : mine) fd = open(name.path().c_str(), O_RDWR);
    if (use(*d) < 0) return 1;
    const pid_t grandchild = fork();
    if (grandchild == 0)
      _exit(use(*d) == 0 && std::all_of(mine.begin(), mine.end(), [](int fd) { return fcntl(fd, F_GETFD) >= 0; }) ? 0
                                                                                                                  : 1);
    int status = 1;
    if (waitpid(grandchild, &status, 0) != grandchild || status != 0) return 2;
    d.reset();
    if (!std::all_of(mine.begin(), mine.end(), [](int fd) { return fcntl(fd, F_GETFD) >= 0; })) return 3;
    Handle again(name);
    for (const int fd : mine) close(fd);
    must(shmd_lock(again, SHMD_FOREVER), "lock");
    *stage = 1;
    for (;;) pause();
  });
  REQUIRE(eventually([&] { return *stage == 1; }));
  Handle d(name);
  REQUIRE(shmd_lock(d, 100'000'000) == SHMD_TIMED_OUT);
  child.end(SIGKILL);
  REQUIRE(shmd_lock(d, SHMD_FOREVER) == SHMD_RECOVERED);
  REQUIRE(shmd_unlock(d) == 0);
}

// The mechanism: shmd_slot_witness(), asked by shmd_slot_alive() when the byte is free.
TEST_CASE("a process that closed its descriptors inside a section stays alone in it", "[descriptors]") {
  const Name name("section");
  Shared<std::atomic<int>> stage;
  Child holder([&] {
    Handle d(name);
    must(shmd_lock(d, SHMD_FOREVER), "lock");
    must(put(d, "x", 1), "put");
    close_unknown();
    *stage = 1;
    if (!eventually([&] { return *stage == 2; })) return 1;
    if (put(d, "x", 2) != 0) return 2;
    return shmd_unlock(d) == 0 ? 0 : 3;
  });
  REQUIRE(eventually([&] { return *stage == 1; }));
  Handle d(name);
  REQUIRE(shmd_lock(d, 200'000'000) == SHMD_TIMED_OUT);
  REQUIRE(shmd_last_error()->pid == holder.pid());
  REQUIRE(shmd_lock_steal(d, holder.pid()) == SHMD_ERR_OWNER_ALIVE);
  shmd_lock_info info;
  REQUIRE(shmd_lock_status(d, &info) == 0);
  REQUIRE(info.alive == 1);
  shmd_stats stats;
  REQUIRE(shmd_stat(d, &stats) == 0);
  REQUIRE(stats.attached == 2);
  REQUIRE(get(d, "x") == 1);
  *stage = 2;
  REQUIRE(holder.join() == 0);
  REQUIRE(shmd_lock(d, SHMD_FOREVER) == 0);
  REQUIRE(shmd_unlock(d) == 0);
  REQUIRE(get(d, "x") == 2);
}

// The mechanism: the same. Without it some of the sums are lost, and a section is taken from its owner.
TEST_CASE("sections add up exactly while a process closes its descriptors again and again", "[descriptors]") {
  const Name name("sum");
  constexpr std::uint64_t kRounds = 400;
  Handle d(name);
  must(put(d, "sum", 0), "put");
  const auto work = [&](bool closes) {
    return [&, closes] {
      Handle own(name);
      for (std::uint64_t i = 0; i < kRounds; ++i) {
        if (shmd_lock(own, SHMD_FOREVER) != 0) return 1;
        const std::uint64_t sum = get(own, "sum");
        if (closes && i % 16 == 0) close_unknown();
        if (i % 50 == 7) std::this_thread::sleep_for(8ms); // long enough for others to ask
        if (put(own, "sum", sum + 1) != 0 || shmd_unlock(own) != 0) return 2;
        if (closes && i % 16 == 8) close_unknown();
      }
      return 0;
    };
  };
  Child one(work(true)), two(work(true)), three(work(false));
  CHECK(one.join() == 0);
  CHECK(two.join() == 0);
  CHECK(three.join() == 0);
  CHECK(get(d, "sum") == 3 * kRounds);
}

// The mechanism: the witness sees no memory of a dead process, whatever it had closed before.
TEST_CASE("the death of a process that had closed its descriptors is noticed all the same", "[descriptors]") {
  const Name name("death");
  Handle d(name);
  Shared<std::atomic<int>> stage;
  Child child([&]() -> int {
    Handle own(name);
    close_unknown();
    must(shmd_lock(own, SHMD_FOREVER), "lock");
    *stage = 1;
    for (;;) pause();
  });
  REQUIRE(eventually([&] { return *stage == 1; }));
  REQUIRE(shmd_lock(d, 50'000'000) == SHMD_TIMED_OUT);
  child.end(SIGKILL);
  REQUIRE(shmd_lock(d, SHMD_FOREVER) == SHMD_RECOVERED);
  REQUIRE(shmd_unlock(d) == 0);
}

// The mechanism: `mapped_at` of the slot's entry; of_former_program() in slot.c where addresses are not random. And
// would_deadlock() in lock_wait.c asks whether the owner lives: pid, start time and thread are the same as before.
TEST_CASE("a section that a program was in when it executed another in its place is taken over, by itself too",
          "[descriptors]") {
  for (const bool fixed : {false, true}) {
    CAPTURE(fixed);
    const Name name("exec");
    Handle d(name);
    Child child([&]() -> int {
      if (fixed) (void)personality(ADDR_NO_RANDOMIZE); // from the next program on: hence two
      setenv("DESCRIPTORS_AGAIN", name.c_str(), 1);
      execl("/proc/self/exe", "first", "a program that executes another inside a section", static_cast<char*>(nullptr));
      return 99;
    });
    CHECK(child.join() == 0);
    REQUIRE(shmd_lock(d, SHMD_FOREVER) == 0);
    REQUIRE(get(d, "again") == 1);
    REQUIRE(shmd_unlock(d) == 0);
  }
}
// Hidden, both: run only by the test above, which executes this program again.
TEST_CASE("a program that executes another inside a section", "[.]") {
  const char* name = std::getenv("DESCRIPTORS_AGAIN");
  REQUIRE(name != nullptr);
  Handle d(name);
  REQUIRE(shmd_lock(d, SHMD_FOREVER) == 0);
  execl("/proc/self/exe", "second", "a program executed inside a section", static_cast<char*>(nullptr));
  FAIL("not executed");
}
TEST_CASE("a program executed inside a section", "[.]") {
  const char* name = std::getenv("DESCRIPTORS_AGAIN");
  REQUIRE(name != nullptr);
  Handle d(name);
  const int result = shmd_lock(d, 5'000'000'000);
  INFO(result << ": " << shmd_last_error()->message);
  REQUIRE((result == SHMD_RECOVERED || result == 0)); // it may have got its former slot, and repaired with it
  REQUIRE(put(d, "again", 1) == 0);
  REQUIRE(shmd_unlock(d) == 0);
}

// The mechanism: shmd_liveness_keep() where memory is allocated: the byte is held again, for those who can ask for nothing else.
TEST_CASE("a process takes its byte again, and so lives for another PID namespace, too", "[descriptors]") {
  const Name name("again");
  Shared<std::atomic<int>> stage;
  Child holder([&] {
    Handle d(name);
    close_unknown();
    if (use(d) < 0) return 1;
    must(shmd_lock(d, SHMD_FOREVER), "lock");
    *stage = 1;
    if (!eventually([&] { return *stage == 2; })) return 2;
    return shmd_unlock(d) == 0 ? 0 : 3;
  });
  REQUIRE(eventually([&] { return *stage == 1; }));
  const int result = elsewhere([&] {
    Handle d(name);
    return shmd_lock(d, 200'000'000) == SHMD_TIMED_OUT ? 0 : 1;
  });
  *stage = 2;
  CHECK(holder.join() == 0);
  if (result == kForbidden) SHMDICT_SKIP("the kernel does not let this user make PID namespaces");
  REQUIRE(result == 0);
}

// What concurrency.md says does not work: a process that closed its descriptors inside a section, and nobody who can see it.
TEST_CASE("a section taken from a process that closed its descriptors is told to it, and then it goes on in a new slot",
          "[descriptors]") {
  const Name name("taken");
  Handle keeper(name);
  Shared<std::atomic<int>> stage;
  Child victim([&] {
    Handle d(name);
    if (shmd_named_lock(d, "job", 0) != 0) return 1;
    must(shmd_lock(d, SHMD_FOREVER), "lock");
    close_unknown();
    const OwnFile own;
    *stage = 1;
    if (!eventually([&] { return *stage == 2; })) return 2;
    if (shmd_unlock(d) != SHMD_ERR_NOT_LOCKED) return 3;
    const int result = use(d);
    if (result != SHMD_ERR_NOT_ATTACHED && result != 0) return 4;
    if (use(d) != 0 || put(d, "x", 1) != 0) return 5;
    if (shmd_named_unlock(d, "job") != SHMD_ERR_NOT_LOCKED) return 6;
    return own.untouched() ? 0 : 7;
  });
  REQUIRE(eventually([&] { return *stage == 1; }));
  const int result = elsewhere([&] {
    Handle d(name);
    if (shmd_lock(d, SHMD_FOREVER) != SHMD_RECOVERED || shmd_unlock(d) != 0) return 1;
    return shmd_named_lock(d, "job", SHMD_FOREVER) == SHMD_RECOVERED ? 0 : 2;
  });
  *stage = 2;
  if (result == kForbidden) SHMDICT_SKIP("the kernel does not let this user make PID namespaces");
  CHECK(result == 0);
  CHECK(victim.join() == 0);
}

// The mechanism: shmd_slot_witness() in take_byte(), lives() of named_lock.c and shmd_liveness_others().
TEST_CASE("the slot, the named locks and the name of a process that closed its descriptors stay its own",
          "[descriptors]") {
  const Name name("own");
  Shared<std::atomic<int>> stage;
  Child owner([&] {
    shmd_options two = small_options();
    two.max_processes = 2;
    Handle d(name, two);
    if (shmd_named_lock(d, "job", 0) != 0) return 1;
    close_unknown();
    *stage = 1;
    if (!eventually([&] { return *stage == 2; })) return 2;
    if (shmd_named_unlock(d, "job") != 0 || put(d, "x", 1) != 0) return 3;
    return d.close() == 0 ? 0 : 4;
  });
  REQUIRE(eventually([&] { return *stage == 1; }));
  {
    Child second([&] {
      Handle d(name);
      if (shmd_named_lock(d, "job", 100'000'000) != SHMD_TIMED_OUT) return 1;
      Child third([&] {
        shmd_dict* own = nullptr;
        shmd_options o = small_options();
        (void)shmd_close(d); // the parent's
        return shmd_open(name.c_str(), &o, &own) == SHMD_ERR_TOO_MANY_PROCESSES ? 0 : 1;
      });
      if (third.join() != 0) return 2;
      return d.close() == 0 ? 0 : 3; // the last one that holds the byte of those present
    });
    CHECK(second.join() == 0);
  }
  CHECK(name.exists());
  *stage = 2;
  CHECK(owner.join() == 0);
  CHECK_FALSE(name.exists());
}

// The mechanism: `mark` in ready.c. All eventfds are one file to fstat.
TEST_CASE("a counter that the program opened in a follower's descriptor's place is neither read nor written",
          "[descriptors]") {
  const Name name("counter");
  Child child([&] {
    Handle d(name);
    shmd_follower* f = nullptr;
    if (shmd_follow_open(d, SHMD_NOW, &f) < 0) return 1;
    const int fd = shmd_follow_fd(f);
    if (fd < 0) return 2;
    close(fd);
    const int counter = eventfd(7, EFD_NONBLOCK);
    if (counter != fd && dup2(counter, fd) != fd) return 3;
    for (std::uint64_t i = 0; i < 20; ++i) {
      must(put(d, "x", i), "put");
      shmd_change change;
      if (!eventually([&] { return shmd_follow_next(f, &change) == 0; })) return 4;
      while (shmd_follow_next(f, &change) == 0) {
      }
      std::this_thread::sleep_for(1ms);
    }
    const int fresh = shmd_follow_fd(f);
    if (fresh < 0 || fresh == fd || shmd_follow_fd(f) != fresh) return 5;
    must(put(d, "x", 99), "put");
    struct pollfd p = {fresh, POLLIN, 0};
    if (poll(&p, 1, 60'000) != 1) return 6;
    shmd_follow_close(f);
    std::uint64_t count = 0;
    if (read(fd, &count, sizeof count) != sizeof count || count != 7) return 7;
    return fcntl(fresh, F_GETFD) < 0 ? 0 : 8;
  });
  REQUIRE(child.join() == 0);
}

// The mechanism: shmd_liveness_keep() where memory is allocated, and shmd_lock_resign().
TEST_CASE("where nothing leads to the object any more, writes say that a descriptor was closed, and nothing is touched",
          "[descriptors]") {
  if (geteuid() != 0) SHMDICT_SKIP("needs root to become somebody else");
  Child child([&] {
    shmd_dict* d = nullptr;
    shmd_options o = small_options();
    o.flags = SHMD_ANONYMOUS;
    if (shmd_open(nullptr, &o, &d) < 0 || put(d, "x", 1) != 0) return 1;
    if (setgid(65534) != 0 || setuid(65534) != 0) return 2; // or the mapping would lead there
    close_unknown();
    const OwnFile own;
    if (use(d) != SHMD_ERR_NOT_ATTACHED) return 3;
    if (std::string(shmd_last_error()->message).find("closed the dict's descriptors") == std::string::npos) return 4;
    if (put(d, "x", 2) != SHMD_ERR_NOT_ATTACHED || shmd_lock(d, 0) != SHMD_ERR_NOT_ATTACHED) return 5;
    if (get(d, "x") != 1) return 6;
    (void)shmd_close(d);
    return own.untouched() ? 0 : 7;
  });
  REQUIRE(child.join() == 0);
}

// ---- privileges, another root directory ----

namespace {

// In a process that can open nothing any more: forked children write, see each other, and their deaths are noticed.
int serve(shmd_dict* d, const std::string& name, std::atomic<int>& stage) {
  must(put(d, "sum", 0), "put");
  for (int i = 0; i < 3; ++i) {
    Child worker([&] {
      for (int n = 0; n < 50; ++n) {
        if (shmd_lock(d, SHMD_FOREVER) != 0) return 1;
        if (put(d, "sum", get(d, "sum") + 1) != 0 || shmd_unlock(d) != 0) return 2;
      }
      Child grandchild([&] { return use(d) == 0 ? 0 : 1; });
      if (grandchild.join() != 0) return 3;
      return 0;
    });
    if (put(d, "parent", 1) != 0) return 1;
    if (worker.join() != 0) return 2;
  }
  if (get(d, "sum") != 150) return 3;
  stage = 0;
  Child holder([&]() -> int {
    must(shmd_lock(d, SHMD_FOREVER), "lock");
    stage = 1;
    for (;;) pause();
  });
  if (!eventually([&] { return stage == 1; })) return 4;
  if (shmd_lock(d, 100'000'000) != SHMD_TIMED_OUT || shmd_last_error()->pid != holder.pid()) return 5;
  shmd_stats stats;
  if (shmd_stat(d, &stats) != 0 || stats.attached != 2) return 6;
  holder.end(SIGKILL);
  if (shmd_lock(d, SHMD_FOREVER) != SHMD_RECOVERED || shmd_unlock(d) != 0) return 7;
  // The last one may not remove the name, and says so.
  if (shmd_close(d) != SHMD_ERR_PERMISSION_DENIED) return 8;
  const std::string message = shmd_last_error()->message;
  return message.find(name) != std::string::npos && message.find("name") != std::string::npos ? 0 : 9;
}

} // namespace

// The mechanism: `process_bytes` (descriptor.c): the bytes are locked by the process through the inherited description.
TEST_CASE("children forked after privileges were dropped write, and their deaths are noticed", "[descriptors]") {
  if (geteuid() != 0) SHMDICT_SKIP("needs root to become somebody else");
  const Name name("dropped");
  Shared<std::atomic<int>> stage;
  Child server([&] {
    shmd_dict* d = nullptr;
    const shmd_options o = small_options();
    must(shmd_open(name.c_str(), &o, &d), "open");
    if (setgid(65534) != 0 || setuid(65534) != 0) return 90;
    return serve(d, name, *stage);
  });
  CHECK(server.join() == 0);
  CHECK(name.exists());
}

TEST_CASE("children forked in another root directory write, and their deaths are noticed", "[descriptors]") {
  if (geteuid() != 0) SHMDICT_SKIP("needs root to change the root directory");
  const Name name("jail");
  Shared<std::atomic<int>> stage;
  char directory[] = "/tmp/shmdict-test-XXXXXX";
  REQUIRE(mkdtemp(directory) != nullptr);
  Child server([&] {
    shmd_dict* d = nullptr;
    const shmd_options o = small_options();
    must(shmd_open(name.c_str(), &o, &d), "open");
    if (chroot(directory) != 0 || chdir("/") != 0) return 90;
    return serve(d, name, *stage);
  });
  CHECK(server.join() == 0);
  CHECK(name.exists());
  CHECK(rmdir(directory) == 0);
}

// The mechanism: a child whose process locks its byte is seen by those who are not its family.
TEST_CASE("a process that came by name sees a worker without descriptors live, and die", "[descriptors]") {
  if (geteuid() != 0) SHMDICT_SKIP("needs root to become somebody else");
  const Name name("stranger");
  Shared<std::atomic<int>> stage;
  Child server([&] {
    Handle d(name);
    if (setgid(65534) != 0 || setuid(65534) != 0) return 90;
    Child worker([&]() -> int {
      must(shmd_lock(d, SHMD_FOREVER), "lock");
      *stage = 1;
      for (;;) pause();
    });
    if (!eventually([&] { return *stage >= 2; })) return 1;
    worker.end(SIGKILL);
    return eventually([&] { return *stage == 4; }) ? 0 : 2;
  });
  REQUIRE(eventually([&] { return *stage == 1; }));
  const int result = elsewhere([&] { // where only the byte can be asked
    Handle d(name);
    if (shmd_lock(d, 200'000'000) != SHMD_TIMED_OUT) return 1;
    *stage = 2;
    return shmd_lock(d, SHMD_FOREVER) == SHMD_RECOVERED && shmd_unlock(d) == 0 ? 0 : 2;
  });
  *stage = 4; // an end for the worker, whatever happened
  CHECK(server.join() == 0);
  if (result == kForbidden) SHMDICT_SKIP("the kernel does not let this user make PID namespaces");
  CHECK(result == 0);
}

// ---- no descriptor left ----

// How many slots' bytes are held, as a stranger sees it.
int held_slots(const std::string& path) {
  const int fd = open(path.c_str(), O_RDWR);
  int count = 0;
  for (off_t i = 0; i < 256; ++i) {
    struct flock lock = {};
    lock.l_type = F_WRLCK;
    lock.l_start = (off_t{1} << 61) + 4096 + i;
    lock.l_len = 1;
    if (fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK) ++count;
  }
  close(fd);
  return count;
}

// The mechanism: shmd_registry_keep(): a process's own locks go with each descriptor of the object that it closes.
TEST_CASE("a worker that holds its bytes as a process keeps them over the library's own opens and closes",
          "[descriptors]") {
  if (geteuid() != 0) SHMDICT_SKIP("needs root to become somebody else");
  const Name name("keeps");
  Shared<std::atomic<int>> stage;
  Child child([&] {
    Handle d(name);
    if (seteuid(65534) != 0) return 1;
    Child worker([&] {
      if (put(d, "x", 1) != 0 || seteuid(0) != 0) return 1; // now it may open again
      {
        shmd_options o = small_options();
        o.flags = SHMD_READ_ONLY;
        const Handle reader(name, o), again(name);
        if (get(reader, "x") != 1) return 2;
      }
      *stage = 1;
      if (!eventually([&] { return *stage == 2; })) return 3;
      if (shmd_list([](void*, const shmd_object_info*) { return 0; }, nullptr) < 0) return 4;
      *stage = 3;
      return eventually([&] { return *stage == 4; }) ? 0 : 5;
    });
    return worker.join();
  });
  REQUIRE(eventually([&] { return *stage == 1; }));
  CHECK(held_slots(name.path()) == 2);
  *stage = 2;
  REQUIRE(eventually([&] { return *stage == 3; }));
  CHECK(held_slots(name.path()) == 2);
  *stage = 4;
  CHECK(child.join() == 0);
}

// The mechanism: hold_name() in presence.c needs none; a child closes what it inherits before it opens its own.
TEST_CASE("the last close removes the name though no descriptor is free, and forked children write", "[descriptors]") {
  const Name name("nofile");
  Child child([&] {
    struct rlimit limit = {40, 40};
    Handle d(name);
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0) return 1;
    while (dup(0) >= 0) {
    }
    Child grandchild([&] { return put(d, "x", 1) == 0 ? 0 : 1; });
    if (grandchild.join() != 0) return 2;
    if (use(d) != 0 || d.close() != 0) return 3;
    return name.exists() ? 4 : 0;
  });
  REQUIRE(child.join() == 0);
}
