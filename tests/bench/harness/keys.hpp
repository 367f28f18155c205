// SPDX-License-Identifier: Apache-2.0
// Keys, and the order in which a worker uses them.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "config.hpp"

namespace bench {

struct text { // 24 bytes: no string keeps them inside itself
  std::array<char, 24> bytes;
  std::string_view view() const { return {bytes.data(), bytes.size()}; }
};
struct path {
  text group;
  std::int64_t item;
};

// The type a peer gets a key as.
template <class K>
struct argument {
  using type = const K&;
};
template <>
struct argument<std::int64_t> {
  using type = std::int64_t;
};
template <>
struct argument<text> {
  using type = std::string_view;
};
template <class K>
using argument_t = typename argument<K>::type;

inline std::int64_t pass(std::int64_t key) { return key; }
inline std::string_view pass(const text& key) { return key.view(); }
inline const path& pass(const path& key) { return key; }

inline text make_text(const char* prefix, std::uint64_t number) {
  char buffer[32];
  text t;
  std::snprintf(buffer, sizeof buffer, "%s%019llu", prefix, static_cast<unsigned long long>(number));
  std::copy_n(buffer, t.bytes.size(), t.bytes.begin());
  return t;
}

constexpr std::size_t group_size = 1000;

// Like ids and hashes that programs have for keys: no pattern in any bits. Consecutive numbers, or multiples of one, suit the
// identity hash of std::unordered_map so well that no two of them collide. A bijection: MurmurHash3's finaliser.
inline std::uint64_t scrambled(std::uint64_t x) {
  x ^= x >> 33;
  x *= 0xff51afd7ed558ccdU;
  x ^= x >> 33;
  x *= 0xc4ceb9fe1a85ec53U;
  return x ^ (x >> 33);
}

// The key of a number: distinct numbers give distinct keys.
template <class K>
K make_key(std::uint64_t number) {
  if constexpr (std::is_same_v<K, std::int64_t>)
    return static_cast<std::int64_t>(scrambled(number + 1));
  else if constexpr (std::is_same_v<K, text>)
    return make_text("user:", number * 2654435761U);
  else
    return path{make_text("team:", number / group_size), static_cast<std::int64_t>(scrambled(number + 1))};
}

template <class K>
std::vector<K> make_keys(const std::vector<std::uint64_t>& numbers) {
  std::vector<K> keys;
  keys.reserve(numbers.size());
  for (const auto number : numbers) keys.push_back(make_key<K>(number));
  return keys;
}

inline std::vector<std::uint64_t> shuffled(std::uint64_t first, std::size_t count, std::uint64_t seed) {
  std::vector<std::uint64_t> numbers(count);
  for (std::size_t i = 0; i < count; ++i) numbers[i] = first + i;
  std::mt19937_64 random(seed);
  std::shuffle(numbers.begin(), numbers.end(), random);
  return numbers;
}

// Every key once, shuffled.
template <class K>
std::vector<K> uniform(std::uint64_t first, std::size_t count, std::uint64_t seed) {
  return make_keys<K>(shuffled(first, count, seed));
}

// Drawn with Zipf's exponent 0.99; popular keys lie anywhere, and are the same for every seed.
template <class K>
std::vector<K> zipf(std::uint64_t first, std::size_t count, std::uint64_t seed) {
  const auto ranks = shuffled(first, count, 1);
  std::vector<double> weights(count);
  for (std::size_t i = 0; i < count; ++i) weights[i] = std::pow(static_cast<double>(i + 1), -0.99);
  std::discrete_distribution<std::size_t> draw(weights.begin(), weights.end());
  std::mt19937_64 random(seed);
  std::vector<std::uint64_t> drawn(std::clamp<std::size_t>(count, 1U << 16U, 1U << 20U));
  for (auto& number : drawn) number = ranks[draw(random)];
  return make_keys<K>(drawn);
}

// What a worker uses: keys that are there, in the order of use, and keys that are not.
template <class K>
struct worker_keys {
  std::vector<K> keys, fresh;
};

// Made once per worker, the same for all peers.
template <class K>
const worker_keys<K>& keys_of(const config& c, std::size_t worker) {
  static thread_local const worker_keys<K> made = [&] {
    const std::size_t fresh = std::min<std::size_t>(c.keys, 200000);
    return worker_keys<K>{c.distribution == distribution_kind::zipf ? zipf<K>(0, c.keys, 100 + worker)
                                                                    : uniform<K>(0, c.keys, 100 + worker),
                          uniform<K>(c.keys + worker * fresh, fresh, 200 + worker)};
  }();
  return made;
}

} // namespace bench
