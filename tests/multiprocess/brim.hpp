// SPDX-License-Identifier: Apache-2.0
// A dict so full, under a snapshot, that not even an erase finds room for its record.
#pragma once

#include <stdexcept>
#include <string>

#include "support/process.hpp"

namespace support {

inline shmd_options brim_options() {
  shmd_options o = small_options(std::uint64_t{4} << 20);
  o.segment_size = 65536;
  o.buffer_size = 16384;
  return o;
}

inline std::string brim_key(int i) { return "brim" + std::to_string(i); }
constexpr int brim_keys = 5000;

inline int erase(shmd_dict* d, const std::string& key) { return shmd_erase(d, shmd_root(), key.data(), key.size()); }

// REQUIRES: brim_options(), and a snapshot that is kept open.
inline void fill_to_the_brim(shmd_dict* d) {
  const std::string bytes(20000, 'b');
  int result = 0;
  const auto put_bytes = [&](const std::string& key, std::size_t size) {
    return result = shmd_put(d, shmd_root(), key.data(), key.size(), bytes.data(), size, 0);
  };
  for (int i = 0; i < brim_keys && put_bytes(brim_key(i), 200) >= 0; ++i) {
  }
  for (const std::size_t size : {20000, 2000, 200, 20, 8})
    for (int i = 0; put_bytes("more" + std::to_string(i % 5), size) >= 0; ++i) {
    }
  for (int i = 0; i < brim_keys && result != 0; ++i)
    if (erase(d, brim_key(i)) == SHMD_ERR_NO_SPACE) return;
  throw std::runtime_error("the dict did not get full");
}

// Once the snapshot is closed.
inline void make_room(shmd_dict* d) {
  for (int i = 0; i < brim_keys; ++i) must(erase(d, brim_key(i)), "erase");
  must(shmd_compact(d), "compact");
}

} // namespace support
