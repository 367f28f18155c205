// SPDX-License-Identifier: Apache-2.0
// Descriptors of watchers: a program that waits only in poll(2) misses nothing, whoever writes; and what is started ends.
// What guards it: settle() and its calls (ready.c, watch.c), follower::settle() and the lasting interruption (follow.hpp),
// shmd_ready_end(), shmd_ready_ours().
#include <poll.h>

#include <algorithm>
#include <filesystem>
#include <shm/shm.hpp>

#include "multiprocess/crash_support.hpp"
#include "support/catch.hpp"
#include "support/process.hpp"

using namespace std::chrono_literals;
using support::Child;
using support::Name;
using support::Shared;
using Counters = shm::dict<std::string, shm::dict<int, std::int64_t>>;

namespace {

constexpr int patience = 60000; // ms
#if defined(__SANITIZE_THREAD__)
constexpr bool may_start_threads = false; // ThreadSanitizer has none start in a child of a process with several
#else
constexpr bool may_start_threads = true;
#endif

shm::options options() { return shm::options{}.max_size(std::uint64_t{64} << 20).buffer_size(std::uint64_t{16} << 20); }

bool readable(int fd, int ms) {
  pollfd p{fd, POLLIN, 0};
  const int result = ::poll(&p, 1, ms);
  if (result < 0 || (p.revents & ~POLLIN) != 0) throw std::runtime_error("poll failed");
  return result == 1;
}

std::ptrdiff_t count(const char* folder) {
  const std::filesystem::directory_iterator all(folder);
  return std::distance(begin(all), end(all));
}

} // namespace

TEST_CASE("a descriptor is readable from another process's write until all is read, and not before or after") {
  const Name name("fd");
  Counters d{shm::create_only, name, options()};
  d["a"][0] = 0;
  auto w = d["a"].watch();
  const int fd = w.fd();
  CHECK(w.fd() == fd);
  CHECK_FALSE(readable(fd, 150)); // some slices of sleep, too
  for (int i = 1; i <= 5; ++i) {
    Child writer([&] {
      Counters own{name};
      own["a"][0] = i, own["a"][1] = i;
      return 0;
    });
    REQUIRE(readable(fd, patience));
    REQUIRE(writer.join() == 0);
    CHECK(w.next(60s)->key == 0);
    CHECK(readable(fd, patience)); // one is left
    CHECK(w.next(60s)->key == 1);
    CHECK(w.poll() == nullptr);
    CHECK_FALSE(readable(fd, 20));
  }
  d["b"][0] = 0; // elsewhere in the tree: nothing to show, and told so by one poll()
  CHECK(readable(fd, patience));
  CHECK(w.poll() == nullptr);
  CHECK_FALSE(readable(fd, 20));
  auto late = d.watch(d.snapshot().position());
  CHECK_FALSE(readable(late.fd(), 20));
  d["b"][0] = 1;
  auto unread = d.watch(w.position()); // there was something before the descriptor
  CHECK(readable(unread.fd(), 0));
  static_cast<void>(unread.snapshot());
  CHECK_FALSE(readable(unread.fd(), 20));
}

TEST_CASE("driven by its descriptor alone a watcher sees each change of hammering writers once, in order") {
  constexpr std::int64_t commits = crash::sanitized ? 1500 : 30000;
  constexpr unsigned writers = 2;
  const Name name("fd.hammer");
  Counters d{shm::create_only, name, options()};
  for (unsigned i = 0; i < writers; ++i) d["watched"][static_cast<int>(i)] = 0;
  d["other"][0] = 0;
  Shared<std::atomic<bool>> go;
  Shared<std::atomic<std::uint64_t>> drained;
  std::vector<std::unique_ptr<Child>> children;
  for (unsigned i = 0; i < writers; ++i)
    children.push_back(std::make_unique<Child>([&, i] {
      Counters own{name};
      if (!support::eventually([&] { return go->load(); })) return 1;
      auto watched = own["watched"].ref(), other = own["other"].ref();
      for (std::int64_t n = 1; n <= commits; ++n) {
        watched[static_cast<int>(i)] = n;
        if (n % 3 == 0) other[0] = n;
        // however late the watchers come: half of it is told after they have found the end
        if (n == commits / 2 && !support::eventually([&] { return *drained >= 2; })) return 2;
        if (n % 64 == 0) std::this_thread::sleep_for(std::chrono::microseconds(n % 300)); // some drains find the end
      }
      return 0;
    }));
  auto w = d["watched"].watch();
  Counters reader{shm::open_only, name, shm::options{}.read_only()};
  auto reading = reader["watched"].watch();
  const int fds[] = {w.fd(), reading.fd()};
  std::int64_t seen[2][writers] = {};
  std::uint64_t drains = 0;
  *go = true;
  const auto done = [&](const std::int64_t(&of)[writers]) { return of[0] == commits && of[1] == commits; };
  while (!done(seen[0]) || !done(seen[1])) {
    pollfd p[] = {{fds[0], POLLIN, 0}, {fds[1], POLLIN, 0}};
    REQUIRE(::poll(p, 2, patience) > 0); // a change that was missed at the end is never told
    const auto drain = [&](auto& from, std::int64_t(&of)[writers]) {
      while (auto* c = from.poll()) {
        if (c->kind != shm::change_kind::put) throw std::runtime_error("it fell behind");
        if (*c->value != ++of[c->key]) throw std::runtime_error("a change is missing or came twice");
      }
      *drained = ++drains;
    };
    if (p[0].revents != 0) drain(w, seen[0]);
    if (p[1].revents != 0) drain(reading, seen[1]);
  }
  for (auto& child : children) CHECK(child->join() == 0);
  CHECK(drains > 2);
  CHECK(support::eventually([&] {
    return w.poll() == nullptr && reading.poll() == nullptr && !readable(fds[0], 0) && !readable(fds[1], 0);
  }));
}

TEST_CASE("stop() of another thread and the watcher's end wake who waits for the descriptor, for good") {
  const Name name("fd.stop");
  Counters d{shm::create_only, name, options()};
  for (int i = 0; i < (crash::sanitized ? 100 : 300); ++i) {
    auto w = d.watch();
    const int fd = w.fd();
    std::thread other([&, i] {
      if (i % 16 == 0) std::this_thread::sleep_for(1ms);
      w.stop();
    });
    if (i % 2 == 0) CHECK(w.next() == nullptr);
    while (!w.stopped()) static_cast<void>(w.poll()); // calls that meet the interruption do not use it up
    const bool woken = readable(fd, patience);
    other.join();
    REQUIRE(woken);
    CHECK(w.poll() == nullptr);
    CHECK(readable(fd, 0));
  }
  auto w = std::make_unique<decltype(d.watch())>(d.watch());
  const int copy = ::dup(w->fd());
  CHECK_FALSE(readable(copy, 20));
  w.reset();
  CHECK(readable(copy, 0));
  ::close(copy);
}

TEST_CASE("a descriptor's thread and the descriptor are gone with the watcher, and none starts without fd()") {
  const Name name("fd.leak");
  Counters d{shm::create_only, name, options()};
  static_cast<void>(d.watch().fd());
  // A joined thread may stand in /proc a little longer.
  const auto tasks = count("/proc/self/task"), descriptors = count("/proc/self/fd");
  {
    auto without = d.watch();
    static_cast<void>(without.poll());
    CHECK(count("/proc/self/task") <= tasks);
    CHECK(count("/proc/self/fd") == descriptors);
    static_cast<void>(without.fd());
    CHECK(count("/proc/self/fd") == descriptors + 1);
  }
  std::vector<support::Clock::duration> ends;
  for (int i = 0; i < 300; ++i) {
    auto w = std::make_unique<decltype(d.watch())>(d.watch());
    static_cast<void>(w->fd());
    if (i % 3 == 0) d["a"][0] = i;
    if (i % 10 != 1) continue;
    std::this_thread::sleep_for(2ms); // now its thread is asleep
    const auto start = support::Clock::now();
    w.reset();
    ends.push_back(support::Clock::now() - start);
  }
  std::sort(ends.begin(), ends.end());
  CHECK(ends[ends.size() / 4] < 15ms); // at once; with the next slice all would take 23
  CHECK(count("/proc/self/fd") == descriptors);
  CHECK(support::eventually([&] { return count("/proc/self/task") <= tasks; }));
}

TEST_CASE("a forked child leaves its parent's descriptor alone, and can have its own") {
  const Name name("fd.fork");
  Counters d{shm::create_only, name, options()};
  auto w = d.watch();
  const int fd = w.fd();
  d["a"][0] = 1;
  REQUIRE(readable(fd, patience));
  Child child([&] {
    while (w.poll() != nullptr) {
    }
    if (!readable(fd, 0)) return 1; // still what it says to the parent
    if (may_start_threads && readable(w.fd(), 20)) return 2;
    d["a"][0] = 2;
    if (may_start_threads && !readable(w.fd(), patience)) return 3;
    const auto own = std::make_unique<decltype(w)>(std::move(w)); // destroyed here
    return own->next(60s) != nullptr ? 0 : 4;
  });
  CHECK(child.join() == 0);
  CHECK(readable(fd, 0));
  int changes = 0;
  while (w.poll() != nullptr) ++changes;
  CHECK(changes == 3); // the dict, its key, and what the child put
  CHECK_FALSE(readable(fd, 20));
  Child silent([&] { // a copy that is only destroyed
    const auto own = std::make_unique<decltype(w)>(std::move(w));
    return 0;
  });
  CHECK(silent.join() == 0);
  d["a"][0] = 3;
  CHECK(readable(fd, patience));
}
