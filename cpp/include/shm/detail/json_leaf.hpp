// SPDX-License-Identifier: Apache-2.0
// JSON values as bytes: CBOR, and what all formats have in common. Bytes are untrusted: bounded depth, bounded memory.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "../error.hpp"
#include "encoded.hpp"

SHM_DETAIL_BEGIN

inline constexpr int json_depth = 1000; // of a value; more is refused both ways: parsers recurse

// Why a value cannot be stored, so that it could be read again; nullptr if it can. `path` leads to the part. `most`: levels
// of objects and arrays within each other. Binary data with a subtype comes back from few formats.
inline const char* unstorable(const nlohmann::json& j, int most, bool subtypes, std::string& path) {
  if (j.is_discarded()) return "a discarded JSON value cannot be stored: it comes from text that is no JSON";
  if (j.is_binary() && !subtypes && j.get_binary().has_subtype())
    return "binary data with a subtype cannot be stored: store it without, or the subtype beside it";
  if (!j.is_structured()) return nullptr;
  if (most <= 0) return "the JSON value is nested too deep to store: 1,000 levels of objects and arrays are possible";
  std::size_t index = 0;
  for (auto it = j.begin(); it != j.end(); ++it, ++index) {
    const char* why = unstorable(*it, most - 1, subtypes, path);
    if (why == nullptr) continue;
    path.insert(0, j.is_object() ? text_of_key<std::string>(it.key().data(), it.key().size())
                                 : "[" + std::to_string(index) + "]");
    return why;
  }
  return nullptr;
}
inline void check_storable(const nlohmann::json& j, int most = json_depth - 1, bool subtypes = false) {
  std::string path;
  if (const char* why = unstorable(j, most, subtypes, path)) throw unplaced(errc::invalid_argument, why, path);
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

// A discarded value if the bytes are not JSON.
inline nlohmann::json from_leaf_or_discarded(const void* data, std::size_t size) {
  const auto* p = static_cast<const unsigned char*>(data);
  if (size != 0 && cbor_depth_ok(p, size)) {
    try {
      return nlohmann::json::from_cbor(p, p + size, true, false);
    } catch (const nlohmann::json::exception&) { // some errors throw in spite of the arguments
    }
  }
  return nlohmann::json(nlohmann::json::value_t::discarded);
}
inline constexpr const char* not_cbor = "the stored bytes are not JSON in CBOR";
inline nlohmann::json from_leaf(const void* data, std::size_t size) {
  auto j = from_leaf_or_discarded(data, size);
  if (j.is_discarded()) throw unplaced(errc::corrupt, not_cbor);
  return j;
}

SHM_DETAIL_END
