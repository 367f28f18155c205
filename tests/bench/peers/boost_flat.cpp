// SPDX-License-Identifier: Apache-2.0
// boost::concurrent_flat_map on an allocator of Boost.Interprocess, reserved for all keys: it locks groups by itself. Its
// documentation promises nothing about use across processes.
#include <boost/unordered/concurrent_flat_map.hpp>

#include "boost_map.hpp"

namespace bench {
namespace {

template <class K, class V>
class boost_flat {
  using key_type = shared_t<K>;
  using mapped = shared_t<V>;
  static constexpr bool text_key = std::is_same_v<key_type, shared_string>;
  using map =
      boost::concurrent_flat_map<key_type, mapped, std::conditional_t<text_key, shared_text_hash, boost::hash<K>>,
                                 std::conditional_t<text_key, shared_text_equal, std::equal_to<K>>,
                                 shared_allocator<std::pair<const key_type, mapped>>>;

 public:
  static constexpr const char* name = "boost.concurrent_flat_map";
  static constexpr bool shared = true, threads = true;
  static void remove(const config& c) { remove_segment(c.object(name)); }

  boost_flat(const config& c, role r)
      : segment_(r == role::create ? segment(bip::create_only, c.object(name).c_str(), segment_bytes(c))
                                   : segment(bip::open_only, c.object(name).c_str())),
        map_(segment_.find_or_construct<map>("map")(segment_.get_segment_manager())) {}
  void reserve(std::size_t keys) { map_->reserve(keys); }

  std::optional<V> get(argument_t<K> key) const {
    std::optional<V> out;
    map_->cvisit(key, [&](const auto& entry) { out = copy_of(entry.second); });
    return out;
  }
  void put(argument_t<K> key, const V& value) {
    const auto set = [&](auto& entry) { assign(entry.second, value); };
    while (map_->visit(key, set) == 0) // absent: somebody else may insert it meanwhile
      if (map_->emplace(make_key(key), make_value(value))) return;
  }
  void add(argument_t<K> key) requires std::is_same_v<V, std::int64_t> {
    while (map_->visit(key, [](auto& entry) { ++entry.second; }) == 0)
      if (map_->emplace(make_key(key), V{1})) return;
  }
  bool erase(argument_t<K> key) { return map_->erase(key) != 0; }
  bool view(argument_t<K> key, std::uint64_t& sum) const {
    return map_->cvisit(key, [&](const auto& entry) { sum += digest(entry.second); }) != 0;
  }
  std::uint64_t iterate(std::uint64_t& sum) const {
    return map_->cvisit_all([&](const auto& entry) { sum += digest(entry.second); });
  }
  std::size_t memory() const { return segment_.get_size() - segment_.get_free_memory(); }

 private:
  key_type make_key(argument_t<K> key) {
    if constexpr (text_key)
      return key_type(key.data(), key.size(), segment_.get_segment_manager());
    else
      return key;
  }
  mapped make_value(const V& value) {
    if constexpr (std::is_same_v<V, std::string>)
      return mapped(value.data(), value.size(), segment_.get_segment_manager());
    else
      return value;
  }

  segment segment_;
  map* map_;
};
template <class V>
class boost_flat<path, V> {}; // no map of maps: a visit locks the group

const registration enlisted = enlist<boost_flat>();

} // namespace
} // namespace bench
