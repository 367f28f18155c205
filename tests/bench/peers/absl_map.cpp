// SPDX-License-Identifier: Apache-2.0
// absl::flat_hash_map, reserved for all keys; strings are looked up by string_view. It may have been compiled for C++14,
// with a string_view of its own, so that its own transparent hash does not take std's.
#include <absl/container/flat_hash_map.h>
#include <absl/hash/hash.h>
#include <absl/strings/string_view.h>

#include "local_map.hpp"

namespace bench {
namespace {

struct absl_text_hash {
  using is_transparent = void;
  std::size_t operator()(std::string_view s) const {
    return absl::Hash<absl::string_view>()(absl::string_view(s.data(), s.size()));
  }
};
template <class K, class V>
struct flat_map_of {
  using type = absl::flat_hash_map<K, V>;
};
template <class V>
struct flat_map_of<std::string, V> {
  using type = absl::flat_hash_map<std::string, V, absl_text_hash, std::equal_to<>>;
};
template <class K, class V>
using flat_map = typename flat_map_of<K, V>::type;

template <class K, class V>
struct absl_map : local_map<flat_map, K, V, no_lock> {
  using local_map<flat_map, K, V, no_lock>::local_map;
  static constexpr const char* name = "absl::flat_hash_map";
  static constexpr bool shared = false, threads = false;
};

const registration enlisted = enlist<absl_map>();

} // namespace
} // namespace bench
