// SPDX-License-Identifier: Apache-2.0
#include "std_map.hpp"

namespace bench {
namespace {

template <class K, class V>
struct std_map : local_map<std_map_t, K, V, no_lock> {
  using local_map<std_map_t, K, V, no_lock>::local_map;
  static constexpr const char* name = "std::unordered_map";
  static constexpr bool shared = false, threads = false;
};

const registration enlisted = enlist<std_map>();

} // namespace
} // namespace bench
