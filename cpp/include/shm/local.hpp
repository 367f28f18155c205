// SPDX-License-Identifier: Apache-2.0
// local_t<V>: what a dict's value is outside of shared memory.
//
// Of a plain value it is the value's type; of a nested dict<K, V> it is an unordered_map<K, local_t<V>>, recursively (a
// std::map for keys that std::hash does not know). It is what get, pop and snapshots return and what assignments take:
// ordinary data of this process, with no connection to the dict.
#pragma once

#include <functional>
#include <map>
#include <type_traits>
#include <unordered_map>

#include "detail/forward.hpp"

SHM_NAMESPACE_BEGIN

namespace detail {

template <class K, class M>
using local_map =
    std::conditional_t<std::is_default_constructible_v<std::hash<K>>, std::unordered_map<K, M>, std::map<K, M>>;

template <class V>
struct local {
  using type = V;
};
template <class V, class S>
struct local<stored_as<V, S>> : local<V> {};
template <class K, class V, class S>
struct local<dict<K, V, S>> {
  using type = local_map<K, typename local<V>::type>;
};

template <class V>
inline constexpr bool is_nested = false;
template <class K, class V, class S>
inline constexpr bool is_nested<dict<K, V, S>> = true;

// K and V of a nested dict<K, V>.
template <class>
struct nested;
template <class K, class V, class S>
struct nested<dict<K, V, S>> {
  using key = K;
  using value = stored<V, S>;
};
template <class V>
using nested_key = typename nested<V>::key;
template <class V>
using nested_value = typename nested<V>::value;

} // namespace detail

template <class V>
using local_t = typename detail::local<V>::type;

SHM_NAMESPACE_END
