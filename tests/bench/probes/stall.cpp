// SPDX-License-Identifier: Apache-2.0
#include <signal.h>

#include <chrono>

#include "harness/histogram.hpp"
#include "probes.hpp"

namespace bench {

namespace {
volatile sig_atomic_t stop = 0;
}

measured stall() {
  struct sigaction action {};
  action.sa_handler = [](int) { stop = 1; };
  sigaction(SIGTERM, &action, nullptr);
  sigaction(SIGINT, &action, nullptr);
  histogram gaps;
  const auto start = std::chrono::steady_clock::now();
  auto last = start;
  while (stop == 0) {
    const auto now = std::chrono::steady_clock::now();
    gaps.add(std::chrono::duration<double, std::nano>(now - last).count());
    last = now;
  }
  return {{"p9999_ns", gaps.quantile(0.9999)},
          {"max_ns", gaps.max()},
          {"seconds", std::chrono::duration<double>(last - start).count()}};
}

} // namespace bench
