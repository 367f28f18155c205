// SPDX-License-Identifier: Apache-2.0
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <random>
#include <shm/dict.hpp>
#include <string>
#include <utility>
#include <vector>

#include "probes.hpp"

namespace bench {

namespace {

constexpr std::int64_t leaves = 10000, fan_out = 10;

template <int Depth>
struct nested {
  using type = shm::dict<std::int64_t, typename nested<Depth - 1>::type>;
};
template <>
struct nested<1> {
  using type = shm::dict<std::int64_t, std::int64_t>;
};

// The leaf `i` of a place `Depth` levels above it: d[i % 10][i / 10 % 10]...[i].
template <int Depth, class Place, class Use>
void at_leaf(Place&& place, std::int64_t i, std::int64_t rest, const Use& use) {
  if constexpr (Depth == 1)
    use(std::forward<Place>(place)[i]);
  else
    at_leaf<Depth - 1>(std::forward<Place>(place)[rest % fan_out], i, rest / fan_out, use);
}

template <class Operation>
double nanoseconds(const std::vector<std::int64_t>& order, Operation operation) {
  using clock = std::chrono::steady_clock;
  std::vector<double> rounds;
  for (int round = 0; round < 50; ++round) {
    const auto start = clock::now();
    for (const auto i : order) operation(i);
    rounds.push_back(std::chrono::duration<double, std::nano>(clock::now() - start).count() / leaves);
  }
  std::nth_element(rounds.begin(), rounds.begin() + 25, rounds.end());
  return rounds[25];
}

template <int Depth>
void measure(const std::vector<std::int64_t>& order, measured& out) {
  using dict = typename nested<Depth>::type;
  dict d{shm::create_only, "bench.depth." + std::to_string(getpid())};
  std::int64_t sum = 0;
  const auto put = [&](std::int64_t i) { at_leaf<Depth>(d, i, i, [&](auto&& leaf) { std::move(leaf) = ++sum; }); };
  const auto get = [&](std::int64_t i) {
    at_leaf<Depth>(std::as_const(d), i, i, [&](auto&& leaf) { sum += std::move(leaf).get().value(); });
  };
  std::for_each(order.begin(), order.end(), put);
  const std::string depth = "depth" + std::to_string(Depth);
  out[depth + "_get_ns"] = nanoseconds(order, get);
  out[depth + "_put_ns"] = nanoseconds(order, put);
}

} // namespace

measured depth() {
  std::vector<std::int64_t> order(leaves);
  for (std::int64_t i = 0; i < leaves; ++i) order[static_cast<std::size_t>(i)] = i;
  std::shuffle(order.begin(), order.end(), std::mt19937_64(1));
  measured out;
  measure<1>(order, out);
  measure<2>(order, out);
  measure<3>(order, out);
  measure<4>(order, out);
  return out;
}

} // namespace bench
