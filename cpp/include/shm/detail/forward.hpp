// SPDX-License-Identifier: Apache-2.0
// Names of the facade's templates, for headers that refer to each other.
#pragma once

#include <type_traits>

#include "namespace.hpp"

SHM_NAMESPACE_BEGIN

template <class T, class Enable = void>
struct serializer;

// S: what stores the values, if not serializer<V>.
template <class K, class V, class S = void>
class dict;
template <class K, class V, bool ReadOnly = false>
class dict_ref;
template <class K, class V>
class snapshot;
template <class K, class V>
class transaction;
template <class K, class V>
class watcher;
template <class K, class V>
class replica;
class json_dict;
class json_ref;

// What refs, snapshots and transactions of a dict<K, V, S> have as their V: V itself, or a mark that S stores it.
template <class V, class S>
struct stored_as {};
template <class V, class S>
using stored = std::conditional_t<std::is_void_v<S> || std::is_same_v<S, serializer<V>>, V, stored_as<V, S>>;

SHM_NAMESPACE_END
