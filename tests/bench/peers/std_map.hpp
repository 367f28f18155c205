// SPDX-License-Identifier: Apache-2.0
// std::unordered_map, reserved for all keys; strings are looked up by string_view.
#pragma once

#include <unordered_map>

#include "local_map.hpp"

namespace bench {

template <class K, class V>
struct std_map_of {
  using type = std::unordered_map<K, V>;
};
template <class V>
struct std_map_of<std::string, V> {
  using type = std::unordered_map<std::string, V, text_hash, std::equal_to<>>;
};
template <class K, class V>
using std_map_t = typename std_map_of<K, V>::type;

} // namespace bench
