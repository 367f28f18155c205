// SPDX-License-Identifier: Apache-2.0
// tbb::concurrent_hash_map with buckets for all keys; an accessor locks one entry. A string to look up lies in a buffer
// that each thread keeps: nothing is allocated for it.
#include <tbb/concurrent_hash_map.h>

#include "local_map.hpp"

namespace bench {
namespace {

template <class K, class V>
class tbb_map {
  using key_type = stored_t<K>;
  using map = tbb::concurrent_hash_map<key_type, V>;

 public:
  static constexpr const char* name = "tbb::concurrent_hash_map";
  static constexpr bool shared = false, threads = true;
  static void remove(const config&) {}

  tbb_map(const config&, role) {}
  void reserve(std::size_t keys) { map_.rehash(keys); }

  std::optional<V> get(argument_t<K> key) const {
    typename map::const_accessor found;
    return map_.find(found, own(key)) ? std::optional<V>(found->second) : std::nullopt;
  }
  void put(argument_t<K> key, const V& value) {
    typename map::accessor found;
    if (!map_.find(found, own(key))) map_.insert(found, own(key));
    found->second = value;
  }
  bool erase(argument_t<K> key) { return map_.erase(own(key)); }
  void add(argument_t<K> key) requires std::is_same_v<V, std::int64_t> {
    typename map::accessor found;
    map_.insert(found, own(key));
    ++found->second;
  }
  std::uint64_t iterate(std::uint64_t& sum) const { // allowed while nobody else uses it
    std::uint64_t count = 0;
    for (const auto& entry : map_) {
      sum += digest(entry.second);
      ++count;
    }
    return count;
  }
  std::size_t memory() const { return allocated(); }

 private:
  static decltype(auto) own(argument_t<K> key) {
    if constexpr (std::is_same_v<K, text>) {
      static thread_local std::string buffer;
      return static_cast<const std::string&>(buffer.assign(key));
    } else {
      return key;
    }
  }

  map map_;
};
template <class V>
class tbb_map<path, V> {}; // no nesting: the outer entry's lock would serialise the inner map

const registration enlisted = enlist<tbb_map>();

} // namespace
} // namespace bench
