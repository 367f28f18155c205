// SPDX-License-Identifier: Apache-2.0
#include <shared_mutex>

#include "std_map.hpp"

namespace bench {
namespace {

template <class K, class V>
struct std_map_locked : local_map<std_map_t, K, V, std::shared_mutex> {
  using local_map<std_map_t, K, V, std::shared_mutex>::local_map;
  static constexpr const char* name = "std::unordered_map+shared_mutex";
  static constexpr bool shared = false, threads = true;
};

const registration enlisted = enlist<std_map_locked>();

} // namespace
} // namespace bench
