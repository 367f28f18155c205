// SPDX-License-Identifier: Apache-2.0
// JSON values as bytes: CBOR, and what all formats have in common. Bytes are untrusted: bounded depth, bounded memory.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <vector>

#include "../error.hpp"

SHM_DETAIL_BEGIN

inline constexpr int json_depth = 1000; // of a value; more is refused both ways: parsers recurse

inline bool is_nested_deeper(const nlohmann::json& j, int most) {
  if (!j.is_structured()) return false;
  if (most == 0) return true;
  for (const auto& e : j)
    if (is_nested_deeper(e, most - 1)) return true;
  return false;
}

// Walks over CBOR items without building anything: nlohmann's parser recurses, and hostile bytes nest for nothing.
// False if they nest too deep. Whether they are CBOR at all is the parser's matter.
inline bool cbor_depth_ok(const unsigned char* p, std::size_t size) {
  struct level {
    std::uint64_t items; // still to come
    bool open;           // until a break
  };
  std::vector<level> levels;
  const unsigned char* const end = p + size;
  while (p < end) {
    const unsigned char first = *p++;
    const unsigned major = first >> 5, info = first & 31u;
    std::uint64_t n = info;
    if (info >= 24 && info <= 27) {
      const std::size_t bytes = std::size_t{1} << (info - 24);
      if (static_cast<std::size_t>(end - p) < bytes) return true;
      n = 0;
      for (std::size_t i = 0; i < bytes; ++i) n = n << 8 | *p++;
    }
    const bool open = info == 31;
    if (first == 0xff) { // break
      if (levels.empty()) return true;
      levels.pop_back();
    } else if ((major == 2 || major == 3) && !open) {
      if (n > static_cast<std::size_t>(end - p)) return true;
      p += n;
    } else if (major == 4 || major == 5 || major == 6 || ((major == 2 || major == 3) && open)) {
      if (levels.size() >= static_cast<std::size_t>(json_depth)) return false;
      const std::uint64_t items = major == 6 ? 1 : major == 5 ? (n > UINT64_MAX / 2 ? UINT64_MAX : n * 2) : n;
      if (open || items != 0) {
        levels.push_back({items, open});
        continue;
      }
    }
    while (!levels.empty() && !levels.back().open && --levels.back().items == 0) levels.pop_back();
    if (levels.empty()) return true;
  }
  return true;
}

inline void check_depth(const nlohmann::json& j) {
  if (is_nested_deeper(j, json_depth - 1))
    throw error(errc::invalid_argument, "the JSON value is nested too deep to store");
}
inline std::vector<unsigned char> to_leaf(const nlohmann::json& j) {
  check_depth(j);
  return nlohmann::json::to_cbor(j);
}

inline nlohmann::json from_leaf(const void* data, std::size_t size) {
  const auto* p = static_cast<const unsigned char*>(data);
  if (size != 0 && cbor_depth_ok(p, size)) {
    try {
      auto j = nlohmann::json::from_cbor(p, p + size, true, false);
      if (!j.is_discarded()) return j;
    } catch (const nlohmann::json::exception&) { // some errors throw in spite of the arguments
    }
  }
  throw error(errc::corrupt, "the stored bytes are not JSON in CBOR");
}

SHM_DETAIL_END
