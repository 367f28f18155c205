// One process writes a time stamp and wakes; the other, which sleeps, looks at the clock as soon as it runs again.
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
#include <vector>

#include "probes.hpp"

namespace bench {

namespace {

std::int64_t now_ns() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

struct shared_words {
  std::atomic<std::uint32_t> turn{0}; // the futex
  std::atomic<std::int64_t> written{0};
  std::atomic<std::uint32_t> seen{0};
  std::int64_t took[100000];
};

void futex(std::atomic<std::uint32_t>& word, int operation, std::uint32_t value) {
  static_cast<void>(syscall(SYS_futex, &word, operation, value, nullptr, nullptr, 0));
}

// The plainest wake-up that the kernel has.
double futex_wake(std::size_t rounds) {
  void* memory = mmap(nullptr, sizeof(shared_words), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  auto* s = new (memory) shared_words();
  const pid_t sleeper = fork();
  if (sleeper == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (std::uint32_t i = 0; i < rounds; ++i) {
      while (s->turn.load() == i) futex(s->turn, FUTEX_WAIT, i);
      s->took[i] = now_ns() - s->written.load();
      s->seen.store(i + 1);
    }
    _exit(0);
  }
  for (std::uint32_t i = 0; i < rounds; ++i) {
    usleep(200); // long enough that it sleeps
    s->written.store(now_ns());
    s->turn.store(i + 1);
    futex(s->turn, FUTEX_WAKE, 1);
    while (s->seen.load() != i + 1) usleep(20);
  }
  waitpid(sleeper, nullptr, 0);
  std::vector<std::int64_t> took(s->took, s->took + rounds);
  munmap(memory, sizeof(shared_words));
  std::sort(took.begin(), took.end());
  return static_cast<double>(took.at(took.size() / 2));
}

} // namespace

measured wake(std::size_t rounds) {
  rounds = std::clamp<std::size_t>(rounds, 1, 100000);
  return {{"futex_ns", futex_wake(rounds)}};
}

} // namespace bench
