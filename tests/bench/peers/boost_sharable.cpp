// SPDX-License-Identifier: Apache-2.0
#include <boost/interprocess/sync/interprocess_sharable_mutex.hpp>
#include <boost/interprocess/sync/sharable_lock.hpp>

#include "boost_map.hpp"

namespace bench {
namespace {

using mutex = bip::interprocess_sharable_mutex;

template <class K, class V>
struct boost_sharable : boost_map<K, V, mutex, bip::sharable_lock<mutex>> {
  static constexpr const char* name = "boost.interprocess+sharable";
  static constexpr bool shared = true, threads = true;
  static void remove(const config& c) { remove_segment(c.object(name)); }
  boost_sharable(const config& c, role r) : boost_map<K, V, mutex, bip::sharable_lock<mutex>>(c.object(name), c, r) {}
};

const registration enlisted = enlist<boost_sharable>();

} // namespace
} // namespace bench
