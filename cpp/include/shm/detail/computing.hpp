// SPDX-License-Identifier: Apache-2.0
// What get_or_compute() of dicts and json_dicts does: of all that ask for one key at a time, one computes.
#pragma once

#include <cstdint>
#include <utility>

#include "place.hpp"

SHM_DETAIL_BEGIN

struct key_lock { // given back at the end of the scope
  ~key_lock() { static_cast<void>(shmd_key_unlock(d, node, key, size)); }
  shmd_dict* d;
  shmd_node node;
  const void* key;
  std::size_t size;
};

// get() looks the key up: an optional. store() computes, stores, and returns what is there then.
template <class K, class Place, class Get, class Store>
auto compute_once(const Place& place, const encoded_key<K>& k, std::int64_t timeout, const Get& get, const Store& store)
    -> decltype(store()) {
  const keep_open keep(place.d, place.owner);
  if (auto present = get()) return std::move(*present);
  shmd_node node{0, 0}; // missing levels are created first: the lock is one of a dict that is there
  const int made = write_at(place, [&](shmd_node n) { return node = n, 0; });
  if (made < 0) throw_at<K>(made, place, k);
  const int result = shmd_key_lock(place.d, node, k.data(), k.size(), timeout);
  if (result < 0) throw_at<K>(result, place, k);
  if (result == SHMD_TIMED_OUT) throw_at<K>(SHMD_ERR_LOCK_TIMEOUT, place, k);
  const key_lock held{place.d, node, k.data(), k.size()};
  if (auto present = get()) return std::move(*present);
  return store();
}

SHM_DETAIL_END
