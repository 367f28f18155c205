// SPDX-License-Identifier: Apache-2.0
#include <boost/interprocess/sync/interprocess_mutex.hpp>

#include "boost_map.hpp"

namespace bench {
namespace {

using mutex = bip::interprocess_mutex;

template <class K, class V>
struct boost_mutex : boost_map<K, V, mutex, std::lock_guard<mutex>> {
  static constexpr const char* name = "boost.interprocess";
  static constexpr bool shared = true, threads = true;
  static void remove(const config& c) { remove_segment(c.object(name)); }
  boost_mutex(const config& c, role r) : boost_map<K, V, mutex, std::lock_guard<mutex>>(c.object(name), c, r) {}
};

const registration enlisted = enlist<boost_mutex>();

} // namespace
} // namespace bench
