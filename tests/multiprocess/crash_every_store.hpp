// SPDX-License-Identifier: Apache-2.0
// A child killed at every store to shared memory that a piece of code makes.
#pragma once

#include "multiprocess/crash_support.hpp"
#include "support/catch.hpp"
#include "support/process.hpp"

namespace crash {

struct Outcome {
  std::atomic<std::uint64_t> stores{0}, done{0};
};

// Runs `body` in a child that dies at its n-th store. False if it came to its end before.
template <class Body>
bool dies_at(std::uint64_t n, Outcome& out, Body body) {
  out.done = 0;
  support::Child child([&] {
    body([&] { // from here on
      shmd_crash_count = 0;
      shmd_crash_at = n;
    });
    shmd_crash_at = 0;
    out.stores = shmd_crash_count;
    out.done = 1;
    return 0;
  });
  const int end = child.join();
  if (out.done == 1) return false;
  REQUIRE(end == -SIGKILL);
  return true;
}

// Every store, or every `step`-th if there are many.
template <class Body, class After>
void at_every_store(std::uint64_t most, Body body, After after) {
  support::Shared<Outcome> out;
  std::uint64_t step = 1, kills = 0;
  REQUIRE_FALSE(dies_at(UINT64_MAX, *out, body));
  after(std::uint64_t{0}, true);
  const std::uint64_t total = out->stores;
  if (sanitized) most /= 8;
  if (total > most) step = total / most + 1;
  for (std::uint64_t n = 1; n <= total; n += step) {
    INFO("store " << n << " of " << total);
    const bool died = dies_at(n, *out, body);
    kills += died;
    after(n, !died);
  }
  REQUIRE(kills > 3);
}

} // namespace crash
