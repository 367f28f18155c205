// SPDX-License-Identifier: Apache-2.0
// One process takes the time and wakes; the other, which sleeps, looks at the clock as soon as it runs again. By a futex, and
// by a put that a follower waits for.
#include <linux/futex.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <new>
#include <stdexcept>
#include <string>
#include <vector>

#include <shm/dict.hpp>

#include "probes.hpp"

namespace bench {

namespace {

std::int64_t now_ns() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

struct shared_words {
  std::atomic<std::uint32_t> turn{0}; // the futex
  std::atomic<std::uint32_t> ready{0};
  std::atomic<std::int64_t> written{0};
  std::atomic<std::uint32_t> seen{0};
  std::int64_t took[100000];
};

void futex(std::atomic<std::uint32_t>& word, int operation, std::uint32_t value) {
  static_cast<void>(syscall(SYS_futex, &word, operation, value, nullptr, nullptr, 0));
}

// The median of what passes between a time stamp taken before wake(i) and one after sleep(i) returned, in a process that
// slept in it. `begin` runs in the sleeper first and gives what sleeps.
template <class Begin, class Wake>
double median_wake(std::size_t rounds, shared_words* s, Begin begin, Wake wake) {
  const pid_t sleeper = fork();
  if (sleeper == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    {
      auto sleep = begin();
      s->ready.store(1);
      for (std::uint32_t i = 0; i < rounds; ++i) {
        sleep(i);
        s->took[i] = now_ns() - s->written.load();
        s->seen.store(i + 1);
      }
    }
    _exit(0);
  }
  while (s->ready.load() == 0 && waitpid(sleeper, nullptr, WNOHANG) == 0) usleep(100);
  for (std::uint32_t i = 0; i < rounds; ++i) {
    usleep(200); // long enough that it sleeps
    s->written.store(now_ns());
    wake(i);
    for (int waited = 0; s->seen.load() != i + 1; ++waited) {
      if (waited == 500000) { // ten seconds: it will not come any more
        kill(sleeper, SIGKILL);
        waitpid(sleeper, nullptr, 0);
        throw std::runtime_error("a sleeper was not woken");
      }
      usleep(20);
    }
  }
  waitpid(sleeper, nullptr, 0);
  std::vector<std::int64_t> took(s->took, s->took + rounds);
  std::sort(took.begin(), took.end());
  return static_cast<double>(took.at(took.size() / 2));
}

class words {
 public:
  words() : memory_(mmap(nullptr, sizeof(shared_words), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0)) {
    if (memory_ == MAP_FAILED) throw std::bad_alloc();
    new (memory_) shared_words();
  }
  words(const words&) = delete;
  words& operator=(const words&) = delete;
  ~words() { munmap(memory_, sizeof(shared_words)); }
  shared_words* get() const { return static_cast<shared_words*>(memory_); }

 private:
  void* memory_;
};

// The plainest wake-up that the kernel has.
double futex_wake(std::size_t rounds) {
  const words w;
  shared_words* s = w.get();
  return median_wake(
      rounds, s,
      [s] {
        return [s](std::uint32_t i) {
          while (s->turn.load() == i) futex(s->turn, FUTEX_WAIT, i);
        };
      },
      [s](std::uint32_t i) {
        s->turn.store(i + 1);
        futex(s->turn, FUTEX_WAKE, 1);
      });
}

void must(int result) {
  if (result < 0) throw std::runtime_error(shmd_last_error()->message);
}

// A put, and a follower that has the change in hand.
double watcher_wake(std::size_t rounds) {
  const words w;
  const std::string name = "bench.wake." + std::to_string(getpid());
  shm::dict<std::int64_t, std::int64_t> d{shm::create_only, name};
  const double median = median_wake(
      rounds, w.get(),
      [&] {
        shmd_follower* f = nullptr;
        must(shmd_follow_open(d.native_handle(), SHMD_NOW, &f));
        return [f](std::uint32_t) {
          shmd_change change;
          while (shmd_follow_next(f, &change) == SHMD_END) must(shmd_follow_wait(f, SHMD_FOREVER));
        };
      },
      [&](std::uint32_t i) { d[1] = i; });
  return median;
}

// In turns, so that both meet the same machine; the medians of five.
double median_of(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values.at(values.size() / 2);
}

} // namespace

measured wake(std::size_t rounds) {
  rounds = std::clamp<std::size_t>(rounds, 5, 100000);
  std::vector<double> futexes, watchers;
  for (int i = 0; i < 5; ++i) {
    futexes.push_back(futex_wake(rounds / 5));
    watchers.push_back(watcher_wake(rounds / 5));
  }
  return {{"futex_ns", median_of(futexes)}, {"watcher_ns", median_of(watchers)}};
}

} // namespace bench
