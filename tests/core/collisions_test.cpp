// SPDX-License-Identifier: Apache-2.0
// Keys whose hash32 is the same in all bits: the index parts keys by hash32, so these share one array for ever. It grows
// to SHMD_ARRAY_OVERFLOW_LOG2, then TOO_MANY_COLLISIONS. What guards it: grow() in index.c (without its last return the
// array would be split for ever, see shmd_index_room's bound on tries), SHMD_MAX_DEPTH, shmd_index_shrink on the way back.
#include <algorithm>
#include <cstring>
#include <random>
#include <set>

#include "core.h"
#include "support/catch.hpp"
#include "support/dict.hpp"

using support::Dict;

namespace {

constexpr std::uint64_t inverse(std::uint64_t odd) { // modulo 2^64, by Newton's iteration
  std::uint64_t x = odd;
  for (int i = 0; i < 6; ++i) x *= 2 - odd * x;
  return x;
}

// The key that hashes to `hash`: shmd_hash_u64 is a bijection.
std::uint64_t unhash(std::uint64_t seed, std::uint64_t hash) {
  return shmd_reverse_bytes(hash * inverse(0xd6e8feb86659fd93u)) * inverse(0x9e3779b97f4a7c15u) ^ seed;
}

std::uint64_t seed_of(shmd_dict* d) { return shmd_reader_of(d)->hash_seed; }

int put(shmd_dict* d, std::uint64_t key, std::uint64_t value) {
  return shmd_put(d, shmd_root(), &key, 8, &value, 8, 0);
}

bool holds(shmd_dict* d, std::uint64_t key, std::uint64_t value) {
  std::uint64_t found = 0;
  std::size_t size = 0;
  return shmd_get(d, shmd_root(), &key, 8, &found, 8, &size) == 0 && size == 8 && found == value;
}

} // namespace

TEST_CASE("the inverse of the integer hash is one") {
  std::mt19937_64 rng(1);
  for (int i = 0; i < 1000; ++i) {
    const std::uint64_t seed = rng(), key = rng();
    REQUIRE(unhash(seed, shmd_hash_u64(seed, key)) == key);
  }
}

// Keys as programs have them, spread over the groups of eight slots that their probes begin at: at 4096 arrays and four keys a
// group on average, no group is much fuller than chance would make it (18 keys or so). With one multiplication, or without
// the bytes reversed, some of these families fill a few groups with hundreds.
TEST_CASE("keys that differ in few bits, or by a step, do not gather in few groups") {
  constexpr std::size_t arrays_log2 = 12, keys = std::size_t{1} << 20;
  const auto fullest = [](std::uint64_t seed, auto key_of) {
    std::vector<std::uint8_t> groups(std::size_t{64} << arrays_log2);
    unsigned most = 0;
    for (std::uint64_t i = 0; i < keys; ++i) {
      const auto hash = shmd_hash_u64(seed, key_of(i));
      auto& n = groups[static_cast<std::uint32_t>(hash) >> (32 - arrays_log2) << 6 | (hash >> 3 & 63)];
      if (n < 255) ++n;
      most = std::max<unsigned>(most, n);
    }
    return most;
  };
  for (const std::uint64_t seed : {0x0123456789abcdefu, 0xf0e1d2c3b4a59687u}) {
    for (unsigned shift = 0; shift <= 44; shift += 4)
      CHECK(fullest(seed, [=](std::uint64_t i) { return i << shift; }) <= 24);
    for (const std::uint64_t step : {10u, 48u, 1000u, 4096u, 1000003u})
      CHECK(fullest(seed, [=](std::uint64_t i) { return 0x7f0000000000u + i * step; }) <= 24);
    for (const unsigned upper : {16u, 32u, 48u, 54u}) // pairs of numbers
      CHECK(fullest(seed, [=](std::uint64_t i) { return i % 1024 | i / 1024 << upper; }) <= 24);
    CHECK(fullest(seed, [](std::uint64_t i) { return ~i; }) <= 24);
    CHECK(fullest(seed, [](std::uint64_t i) { return shmd_reverse_bytes(i); }) <= 24);
    CHECK(fullest(seed, [](std::uint64_t i) {
            const double number = static_cast<double>(i) * 0.1;
            std::uint64_t bits = 0;
            std::memcpy(&bits, &number, sizeof bits);
            return bits;
          }) <= 24);
  }
}

TEST_CASE("keys that share all bits of hash32 are stored up to the bound, then refused, and erased again") {
  Dict d(support::unique_name("collisions"));
  const std::uint64_t seed = seed_of(d);
  std::mt19937_64 rng(2);
  std::vector<std::uint64_t> others(3000), equal;
  for (auto& key : others) {
    key = rng();
    REQUIRE(put(d, key, ~key) == 0);
  }
  const std::uint64_t hash32 = 0x5eadbeef;
  std::set<std::uint64_t> highs; // tags repeat: the whole key decides
  int result = 0;
  while (result == 0) {
    const std::uint64_t high = equal.size() % 3 == 0 ? equal.size() << 32 | hash32 : rng() << 32 | hash32;
    if (!highs.insert(high).second) continue;
    const std::uint64_t key = unhash(seed, high);
    REQUIRE(static_cast<std::uint32_t>(shmd_hash_u64(seed, key)) == hash32);
    result = put(d, key, key + 1);
    if (result == 0) equal.push_back(key);
    REQUIRE(equal.size() < 5000);
    if (equal.size() % 512 == 0) REQUIRE(d.check() == "");
  }
  REQUIRE(result == SHMD_ERR_TOO_MANY_COLLISIONS);
  REQUIRE_THAT(shmd_last_error()->message, support::contains("share the 23 bits"));
  REQUIRE(equal.size() >= 3000);
  std::printf("%zu keys of one hash32\n", equal.size());
  REQUIRE(d.check() == "");
  REQUIRE(d.count() == others.size() + equal.size());
  for (const auto key : equal) REQUIRE(holds(d, key, key + 1));
  for (const auto key : others) REQUIRE(holds(d, key, ~key));

  // Overwriting needs no room; other keys are not concerned, but for those that share the bits that lead to an array.
  REQUIRE(put(d, equal[17], 5) == 0);
  REQUIRE(holds(d, equal[17], 5));
  REQUIRE(put(d, equal[17], equal[17] + 1) == 0);
  for (std::uint32_t bit = 0; bit < 32; ++bit) {
    const std::uint64_t near = unhash(seed, std::uint64_t{77} << 32 | (hash32 ^ 1u << bit));
    const int stored = put(d, near, bit);
    if (bit < 32 - SHMD_MAX_DEPTH && stored == SHMD_ERR_TOO_MANY_COLLISIONS) continue;
    REQUIRE(stored == 0);
    others.push_back(near);
    REQUIRE(holds(d, near, bit));
    REQUIRE(put(d, near, ~near) == 0);
  }
  REQUIRE(d.check() == "");

  // A snapshot iterates over all of them, each once.
  shmd_snapshot* s = nullptr;
  shmd_iter* it = nullptr;
  shmd_entry e;
  REQUIRE(shmd_snapshot_open(d, &s) == 0);
  REQUIRE(shmd_iter_open(s, shmd_root(), &it) == 0);
  std::set<std::uint64_t> seen;
  while ((result = shmd_iter_next(it, &e)) == 0) {
    std::uint64_t key;
    std::memcpy(&key, e.key, 8);
    REQUIRE(seen.insert(key).second);
  }
  REQUIRE(result == SHMD_END);
  REQUIRE(seen.size() == others.size() + equal.size());
  shmd_iter_close(it);
  shmd_snapshot_close(s);

  const auto index_before = d.stat().index_bytes;
  std::shuffle(equal.begin(), equal.end(), rng);
  for (std::size_t i = 0; i < equal.size(); ++i) {
    REQUIRE(shmd_erase(d, shmd_root(), &equal[i], 8) == 0);
    if (i % 500 == 0) {
      REQUIRE(d.check() == "");
      for (std::size_t n = i + 1; n < equal.size(); n += 13) REQUIRE(holds(d, equal[n], equal[n] + 1));
    }
  }
  REQUIRE(d.check() == "");
  REQUIRE(d.count() == others.size());
  for (const auto key : others) REQUIRE(holds(d, key, ~key));
  REQUIRE(d.stat().index_bytes < index_before);
  for (std::size_t i = 0; i < 100; ++i) REQUIRE(put(d, equal[i], 1) == 0); // and there is room again
  REQUIRE(d.check() == "");
}

// Two groups that differ in the last bit of those that lead to an array: the deepest directory there is.
TEST_CASE("groups of collisions that differ in one bit of hash32 do not disturb each other") {
  for (const std::uint32_t bit : {31u, 9u, 8u, 0u}) {
    Dict d(support::unique_name("collisions"));
    const std::uint64_t seed = seed_of(d);
    std::vector<std::uint64_t> keys;
    for (std::uint64_t i = 0; i < 2000; ++i)
      keys.push_back(unhash(seed, i << 40 | (0x12345678u ^ (i % 2 == 0 ? 0 : 1u << bit))));
    std::size_t stored = 0;
    for (const auto key : keys) {
      const int result = put(d, key, key);
      REQUIRE((result == 0 || (result == SHMD_ERR_TOO_MANY_COLLISIONS && stored >= 1500)));
      stored += result == 0;
    }
    REQUIRE(stored == 2000);
    REQUIRE(d.check() == "");
    for (const auto key : keys) REQUIRE(holds(d, key, key));
    for (const auto key : keys) REQUIRE(shmd_erase(d, shmd_root(), &key, 8) == 0);
    REQUIRE(d.check() == "");
    REQUIRE(d.count() == 0);
    REQUIRE(shmd_compact(d) == 0);
    REQUIRE(d.stat().index_bytes < 1024);
  }
}
