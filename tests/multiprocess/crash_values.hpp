// SPDX-License-Identifier: Apache-2.0
// Values that verify themselves, for the torture tests: version v of a key is a value whose every byte follows from key
// and version, or no value at all. Whoever reads one can tell which version it is, and that it is nothing else.
#pragma once

#include <atomic>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>

namespace crash {

inline std::uint64_t mixed(std::uint64_t a, std::uint64_t b) {
  std::uint64_t x = a * UINT64_C(0x9e3779b97f4a7c15) ^ (b + UINT64_C(0x2545f4914f6cdd1d));
  x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
  x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
  return x ^ (x >> 31);
}

inline std::size_t version_size(std::uint64_t key, std::uint64_t version) {
  const std::uint64_t x = mixed(key, version);
  if (x % 512 == 0) return 70000; // larger than the tests' segments
  if (x % 16 == 0) return 2000 + (x >> 8) % 2000;
  return 16 + (x >> 8) % 200;
}

inline std::string version_value(std::uint64_t key, std::uint64_t version) {
  std::string value(version_size(key, version), '\0');
  std::memcpy(&value[0], &version, 8);
  std::uint64_t x = mixed(version, key);
  for (std::size_t i = 8; i < value.size(); ++i) {
    if (i % 8 == 0) x = x * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    value[i] = static_cast<char>(x >> (8 * (i % 8)));
  }
  return value;
}

// The version that these bytes are, if they are one.
inline std::optional<std::uint64_t> version_of(std::uint64_t key, const std::string& value) {
  std::uint64_t version;
  if (value.size() < 16) return std::nullopt;
  std::memcpy(&version, value.data(), 8);
  if (version_size(key, version) != value.size() || version_value(key, version) != value) return std::nullopt;
  return version;
}

// Every eighth version of a key is its absence; version 0 is, before all.
inline bool version_absent(std::uint64_t key, std::uint64_t version) {
  return version == 0 || mixed(version, key + 77) % 8 == 0;
}

// How far a key is: written by whoever writes the key, before and after.
struct Versions {
  std::atomic<std::uint64_t> started{0};
  std::atomic<std::uint64_t> acknowledged{0};
};

// What was known before a read; allows() tells whether what was read could be right. Not older than acknowledged before,
// not older than seen before, not newer than begun.
class Expectation {
 public:
  Expectation(const Versions& versions, std::uint64_t seen)
      : versions_(versions), oldest_(std::max(versions.acknowledged.load(), seen)) {}

  bool allows_version(std::uint64_t version) const { return version >= oldest_ && version <= versions_.started.load(); }
  // The version of an absence, or nothing: the newest that it can be is not known, the oldest is what counts.
  std::optional<std::uint64_t> absence(std::uint64_t key) const {
    for (std::uint64_t v = oldest_, last = versions_.started.load(); v <= last; ++v)
      if (version_absent(key, v)) return v;
    return std::nullopt;
  }
  std::string range() const {
    return "[" + std::to_string(oldest_) + ", " + std::to_string(versions_.started.load()) + "]";
  }

 private:
  const Versions& versions_;
  std::uint64_t oldest_;
};

} // namespace crash
