// SPDX-License-Identifier: Apache-2.0
#include <sys/mman.h>

#include <chrono>
#include <cstdint>
#include <stdexcept>

#include "harness/histogram.hpp"
#include "probes.hpp"

namespace bench {

measured touch(std::size_t megabytes, double seconds) {
  using clock = std::chrono::steady_clock;
  const std::size_t bytes = megabytes << 20U;
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) throw std::runtime_error("no memory for the probe");
  auto* words = static_cast<std::uint64_t*>(memory);
  const std::size_t count = bytes / sizeof *words;
  for (std::size_t i = 0; i < count; i += 512) words[i] = i; // each page is there

  histogram times;
  std::uint64_t random = 0x9E3779B97F4A7C15U;
  const auto start = clock::now();
  for (auto now = start; std::chrono::duration<double>(now - start).count() < seconds;) {
    random ^= random << 13U;
    random ^= random >> 7U;
    random ^= random << 17U;
    const auto before = clock::now();
    __atomic_fetch_add(&words[random % count], 1, __ATOMIC_SEQ_CST); // is over when it is over
    now = clock::now();
    times.add(std::chrono::duration<double, std::nano>(now - before).count());
  }
  munmap(memory, bytes);
  return {{"p50_ns", times.quantile(0.5)}, {"p9999_ns", times.quantile(0.9999)}, {"max_ns", times.max()}};
}

} // namespace bench
