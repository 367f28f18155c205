// SPDX-License-Identifier: Apache-2.0
// What the workers of one run share: a barrier and a place for each one's results, in memory that children inherit.
#pragma once

#include <pthread.h>
#include <sys/mman.h>

#include <array>
#include <new>
#include <stdexcept>

#include "system.hpp"

namespace bench {

class shared_state {
 public:
  struct slot {
    outcome result;
    double max = 0;
    std::array<std::uint64_t, histogram::bins + 2> counts{};
  };

  explicit shared_state(std::size_t workers) : workers_(workers) {
    pthread_barrierattr_t attributes;
    pthread_barrierattr_init(&attributes);
    pthread_barrierattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    memory_ = mmap(nullptr, bytes(), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory_ == MAP_FAILED) throw std::bad_alloc();
    if (pthread_barrier_init(barrier(), &attributes, static_cast<unsigned>(workers)) != 0)
      throw std::runtime_error("no barrier across processes");
    pthread_barrierattr_destroy(&attributes);
    for (std::size_t i = 0; i < workers; ++i) new (&slots()[i]) slot();
  }
  shared_state(const shared_state&) = delete;
  shared_state& operator=(const shared_state&) = delete;
  ~shared_state() { munmap(memory_, bytes()); }

  void wait() { pthread_barrier_wait(barrier()); }
  slot& of(std::size_t worker) { return slots()[worker]; }
  std::size_t workers() const { return workers_; }

 private:
  std::size_t bytes() const { return 4096 + workers_ * sizeof(slot); }
  pthread_barrier_t* barrier() { return static_cast<pthread_barrier_t*>(memory_); }
  slot* slots() { return reinterpret_cast<slot*>(static_cast<char*>(memory_) + 4096); }

  std::size_t workers_;
  void* memory_;
};

} // namespace bench
