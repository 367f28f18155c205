// SPDX-License-Identifier: Apache-2.0
// One holder of the lock at a time, whatever the claimants are: threads, processes, handles, signal handlers, forked
// children, owners that are killed, two copies of the library in one process.
#include <dlfcn.h>
#include <pthread.h>
#include <shmdict/atomics.h>
#include <sys/time.h>

#include <fstream>
#include <memory>
#include <random>
#include <vector>

#include "support/catch.hpp"
#include "support/process.hpp"

using namespace support;

namespace {

// Overlap detector in shared memory: who is inside. A holder that is taken over from may have left its mark.
struct Arena {
  std::atomic<std::uint64_t> inside{0};
  std::atomic<std::uint64_t> count{0}; // not atomic in its use: read, then written
  std::atomic<int> overlaps{0};
  std::atomic<int> errors{0};
  std::atomic<int> recovered{0};
  std::atomic<std::uint64_t> sections{0};
  std::atomic<int> handled{0}, refused{0};
  std::atomic<int> stop{0};
};

std::atomic<std::uint64_t> identities{0};

void section(Arena& arena, std::uint64_t me, int locked) {
  std::uint64_t nobody = 0;
  if (!arena.inside.compare_exchange_strong(nobody, me)) {
    if (locked == SHMD_RECOVERED)
      arena.inside = me; // the mark of the dead
    else
      ++arena.overlaps;
  }
  const std::uint64_t n = arena.count.load(std::memory_order_relaxed);
  for (int i = 0; i < 20; ++i) std::atomic_signal_fence(std::memory_order_seq_cst);
  if (n % 64 == 0) std::this_thread::yield();
  arena.count.store(n + 1, std::memory_order_relaxed);
  if (arena.inside.exchange(0) != me) ++arena.overlaps;
  ++arena.sections;
}

void claim(shmd_dict* d, Arena& arena, std::uint64_t me) {
  const int locked = shmd_lock(d, SHMD_FOREVER);
  if (locked < 0) {
    ++arena.errors;
    return;
  }
  if (locked == SHMD_RECOVERED) ++arena.recovered;
  section(arena, me, locked);
  if (shmd_unlock(d) != 0) ++arena.errors;
}

Arena* signal_arena = nullptr;
shmd_dict* signal_dict = nullptr;

// Interrupts whatever the thread does: inside a call it must be refused, outside it may write, and look back.
void on_signal(int) {
  const int saved = errno;
  const auto count = [](int result) {
    if (result >= 0)
      ++signal_arena->handled;
    else if (result == SHMD_ERR_BUSY)
      ++signal_arena->refused;
    else
      ++signal_arena->errors;
    return result >= 0;
  };
  static std::uint64_t turn = 0;
  ++turn;
  (void)count(shmd_put(signal_dict, shmd_root(), "signal", 6, &turn, sizeof turn, 0));
// ThreadSanitizer objects to whatever allocates in a handler; it cannot know that the worker only allocates in calls.
#if !defined(SHMD_TSAN)
  shmd_snapshot* s = nullptr;
  if (count(shmd_snapshot_open(signal_dict, &s))) {
    std::uint64_t value = 0;
    std::size_t size = 0;
    if (!shmd_in_transaction(signal_dict) && // whose own view may well have one of them only
        shmd_snapshot_get(s, shmd_root(), "pair1", 5, &value, sizeof value, &size) == SHMD_OK) {
      const std::uint64_t first = value;
      if (shmd_snapshot_get(s, shmd_root(), "pair2", 5, &value, sizeof value, &size) != SHMD_OK || value != first)
        ++signal_arena->errors;
    }
    shmd_snapshot_close(s);
  }
#endif
  errno = saved;
}

// Ends a test that hangs in a way that no join can end.
class Watchdog {
 public:
  explicit Watchdog(std::chrono::seconds limit)
      : thread_([this, limit] {
          if (eventually([this] { return done_.load(); }, limit)) return;
          std::cerr << "a thread hangs" << std::endl;
          std::abort();
        }) {}
  ~Watchdog() {
    done_ = true;
    thread_.join();
  }
  Watchdog(const Watchdog&) = delete;
  Watchdog& operator=(const Watchdog&) = delete;

 private:
  std::atomic<bool> done_{false};
  std::thread thread_;
};

int claimant_process(const std::string& name, Arena& arena, int threads, std::uint64_t id) {
  Handle first(name), second(name);
  std::vector<std::thread> workers;
  for (int t = 0; t < threads; ++t) {
    workers.emplace_back([&, t] {
      while (!arena.stop) claim(t % 2 ? first : second, arena, id * 100 + static_cast<std::uint64_t>(t) + 1);
    });
  }
  for (auto& w : workers) w.join();
  return 0;
}

} // namespace

// The mechanism: one compare-and-exchange on one word (shmd_hold_try() in lock.c).
TEST_CASE("threads, processes, handles and owners that are killed never hold the lock together", "[lock][torture]") {
  Name name("torture");
  Handle keeper(name, with(SHMD_UNLINK_NEVER));
  Shared<Arena> arena;
  std::vector<std::unique_ptr<Child>> steady;
  for (std::uint64_t i = 1; i <= 2; ++i)
    steady.push_back(std::make_unique<Child>([&, i] { return claimant_process(name, *arena, 3, i); }));
  std::mt19937 random(7);
  int kills = 0;
  const auto end = Clock::now() + 4s;
  const auto enough = [&] { return arena->sections > 1000 && arena->recovered > 0; };
  while (Clock::now() < end || (!enough() && Clock::now() < end + 60s)) {
    Child victim([&, kills]() -> int {
      Handle d(name);
      for (;;) claim(d, *arena, static_cast<std::uint64_t>(1'000'000 + kills));
    });
    std::this_thread::sleep_for(std::chrono::microseconds(2000 + random() % 15000));
    victim.end(SIGKILL);
    ++kills;
  }
  arena->stop = 1;
  for (auto& s : steady) REQUIRE(s->join() == 0);
  std::cout << kills << " kills, " << arena->recovered << " found the lock held, " << arena->sections << " sections\n";
  REQUIRE(arena->overlaps == 0);
  REQUIRE(arena->errors == 0);
  REQUIRE(arena->sections > 1000);
  REQUIRE(arena->recovered > 0);
}

// The mechanism: `busy` in lock.c and snapshot.c, set from the first instruction of a call to its last. Which stores it
// covers is the business of core/quiesce_test.cpp.
TEST_CASE("a signal handler that interrupts a call gets busy, and otherwise writes and takes snapshots",
          "[lock][signal]") {
  Name name("signal");
  Handle d(name);
  Shared<Arena> arena;
  signal_arena = &*arena;
  signal_dict = d;
  struct sigaction action = {}, before = {};
  action.sa_handler = on_signal;
  action.sa_flags = SA_RESTART;
  REQUIRE(sigaction(SIGUSR1, &action, &before) == 0);
  std::atomic<bool> stop{false};
  std::atomic<std::uint64_t> puts{0};
  const Watchdog watchdog(120s);
  std::thread worker([&] {
    while (!stop) {
      if (put(d, "worker", puts) < 0) ++arena->errors;
      claim(d, *arena, 1);
      if (shmd_begin(d, SHMD_FOREVER) < 0 || put(d, "pair1", puts) < 0 || put(d, "pair2", puts) < 0 ||
          shmd_commit(d) < 0)
        ++arena->errors;
      shmd_snapshot* s = nullptr;
      if (shmd_snapshot_open(d, &s) < 0)
        ++arena->errors;
      else
        shmd_snapshot_close(s);
      ++puts;
    }
  });
  std::thread rival([&] {
    while (!stop) claim(d, *arena, 2);
  });
  const auto end = Clock::now() + 2s;
  const auto enough = [&] { return arena->refused > 0 && arena->handled > 0; };
  while (Clock::now() < end || (!enough() && Clock::now() < end + 60s)) {
    pthread_kill(worker.native_handle(), SIGUSR1);
    std::this_thread::sleep_for(50us);
  }
  stop = true;
  worker.join();
  rival.join();
  sigaction(SIGUSR1, &before, nullptr);
  std::cout << arena->handled << " signals wrote, " << arena->refused << " were refused\n";
  REQUIRE(arena->overlaps == 0);
  REQUIRE(arena->errors == 0);
  REQUIRE(arena->refused > 0);
  REQUIRE(arena->handled > 0);
  REQUIRE(put(d, "worker", 1) == 0);
}

// The mechanism: the slot in the lock word is the parent's (mine() in lock.c), and reattach() gave the child another.
TEST_CASE("a child forked inside a section and its parent never hold the lock together", "[lock][fork][torture]") {
  Name name("family");
  Handle d(name);
  Shared<Arena> arena;
  for (int round = 0; round < 50; ++round) {
    const int locked = shmd_lock(d, SHMD_FOREVER);
    REQUIRE(locked >= 0);
    Child child([&] {
      (void)shmd_unlock(d); // the parent's, copied: nothing happens
      for (int i = 0; i < 50; ++i) claim(d, *arena, 2);
      return 0;
    });
    section(*arena, 1, locked);
    REQUIRE(shmd_unlock(d) == 0);
    for (int i = 0; i < 50; ++i) claim(d, *arena, 1);
    REQUIRE(child.join() == 0);
  }
  REQUIRE(arena->overlaps == 0);
  REQUIRE(arena->errors == 0);
  REQUIRE(arena->count == 50u * 101u);
}

#ifdef SHMDICT_SHARED_LIBRARY
namespace {

// One more copy of the library in this process, with variables of its own.
class Copy {
 public:
  explicit Copy(const std::string& suffix) : path_("/tmp/" + unique_name("copy." + suffix) + ".so") {
    std::ifstream from(SHMDICT_SHARED_LIBRARY, std::ios::binary);
    std::ofstream(path_, std::ios::binary) << from.rdbuf();
    library_ = dlopen(path_.c_str(), RTLD_NOW | RTLD_LOCAL);
    std::remove(path_.c_str());
    if (library_ == nullptr) throw std::runtime_error(dlerror());
    shmd_options options;
    shmd_options_init(&options);
    options_ = options;
    options_.max_size = std::uint64_t{64} << 20;
  }
  ~Copy() {
    close();
#if !defined(__SANITIZE_THREAD__) // which calls exit handlers of libraries that are gone
    dlclose(library_);
#endif
  }
  Copy(const Copy&) = delete;
  Copy& operator=(const Copy&) = delete;

  int open(const std::string& name) {
    return function<decltype(&shmd_open)>("shmd_open")(name.c_str(), &options_, &d_);
  }
  void close() {
    if (d_ != nullptr) function<decltype(&shmd_close)>("shmd_close")(d_);
    d_ = nullptr;
  }
  int lock(std::int64_t timeout) { return lock_(d_, timeout); }
  int unlock() { return unlock_(d_); }
  int put(std::uint64_t value) { return put_(d_, shmd_root(), "x", 1, &value, sizeof value, 0); }

 private:
  template <class F>
  F function(const char* symbol) {
    return reinterpret_cast<F>(dlsym(library_, symbol));
  }
  std::string path_;
  void* library_ = nullptr;
  shmd_dict* d_ = nullptr;
  shmd_options options_;

 public:
  decltype(&shmd_lock) lock_ = nullptr;
  decltype(&shmd_unlock) unlock_ = nullptr;
  decltype(&shmd_put) put_ = nullptr;
  void bind() {
    lock_ = function<decltype(&shmd_lock)>("shmd_lock");
    unlock_ = function<decltype(&shmd_unlock)>("shmd_unlock");
    put_ = function<decltype(&shmd_put)>("shmd_put");
  }
};

} // namespace

// The mechanism: each copy has descriptions, and so a slot, of its own; would_deadlock() in lock_wait.c.
TEST_CASE("two copies of the library in one process are two attachees, and a thread is not left waiting for itself",
          "[lock][copies]") {
  Name name("copies");
  Copy a("a"), b("b");
  a.bind();
  b.bind();
  REQUIRE(a.open(name) == SHMD_CREATED);
  REQUIRE(b.open(name) == 0);
  REQUIRE(a.lock(SHMD_FOREVER) == 0);
  REQUIRE(b.lock(SHMD_FOREVER) == SHMD_ERR_WOULD_DEADLOCK);
  REQUIRE(b.put(1) == SHMD_ERR_WOULD_DEADLOCK);
  std::thread([&] { REQUIRE(b.lock(50'000'000) == SHMD_TIMED_OUT); }).join(); // another thread may wait
  REQUIRE(a.unlock() == 0);
  REQUIRE(b.put(1) == 0);

  Shared<Arena> arena;
  const auto work = [&](Copy& copy, std::uint64_t me) {
    for (int i = 0; i < 20000; ++i) {
      const int locked = copy.lock(SHMD_FOREVER);
      if (locked != 0) ++arena->errors;
      section(*arena, me, locked);
      if (copy.unlock() != 0) ++arena->errors;
    }
  };
  std::thread first(work, std::ref(a), 1), second(work, std::ref(b), 2), third(work, std::ref(b), 3);
  first.join();
  second.join();
  third.join();
  REQUIRE(arena->overlaps == 0);
  REQUIRE(arena->errors == 0);
  REQUIRE(arena->count == 60000);
}
#endif
