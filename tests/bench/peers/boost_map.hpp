// SPDX-License-Identifier: Apache-2.0
// boost::unordered_map in a managed_shared_memory of Boost.Interprocess, behind one mutex; reserved for all keys, strings
// are looked up by string_view.
#pragma once

#include <boost/container_hash/hash.hpp>
#include <boost/interprocess/allocators/allocator.hpp>
#include <boost/interprocess/containers/string.hpp>
#include <boost/interprocess/managed_shared_memory.hpp>
#include <boost/unordered/unordered_map.hpp>
#include <mutex>

#include "harness/measure.hpp"

namespace bench {

namespace bip = boost::interprocess;
using segment = bip::managed_shared_memory;
template <class T>
using shared_allocator = bip::allocator<T, segment::segment_manager>;
using shared_string = bip::basic_string<char, std::char_traits<char>, shared_allocator<char>>;

inline std::string_view view_of(std::string_view s) { return s; }
inline std::string_view view_of(const shared_string& s) { return {s.data(), s.size()}; }

struct shared_text_hash {
  using is_transparent = void;
  template <class S>
  std::size_t operator()(const S& s) const {
    const auto view = view_of(s);
    return boost::hash_range(view.begin(), view.end());
  }
};
struct shared_text_equal {
  using is_transparent = void;
  template <class A, class B>
  bool operator()(const A& a, const B& b) const {
    return view_of(a) == view_of(b);
  }
};

template <class T>
using shared_t = std::conditional_t<std::is_same_v<T, text> || std::is_same_v<T, std::string>, shared_string, T>;

template <class T>
std::conditional_t<std::is_same_v<T, shared_string>, std::string, T> copy_of(const T& value) {
  if constexpr (std::is_same_v<T, shared_string>)
    return std::string(value.data(), value.size());
  else
    return value;
}
inline void assign(std::int64_t& to, std::int64_t from) { to = from; }
inline void assign(shared_string& to, std::string_view from) { to.assign(from.data(), from.size()); }

inline std::size_t digest(const shared_string& s) { return bench::digest(view_of(s)); }

// Room for all keys, those of insert, and what rounding takes; pages that are not used cost nothing.
inline std::size_t segment_bytes(const config& c) {
  return (std::size_t{64} << 20U) + (c.keys + 200000 * c.workers()) * (400 + 2 * c.value_bytes);
}

template <class K, class V>
struct shared_map_of {
  using type = boost::unordered_map<K, V, boost::hash<K>, std::equal_to<K>, shared_allocator<std::pair<const K, V>>>;
};
template <class V>
struct shared_map_of<shared_string, V> {
  using type = boost::unordered_map<shared_string, V, shared_text_hash, shared_text_equal,
                                    shared_allocator<std::pair<const shared_string, V>>>;
};
template <class V>
struct shared_map_of<path, V> {
  using inner = typename shared_map_of<std::int64_t, V>::type;
  using type = typename shared_map_of<shared_string, inner>::type;
};

template <class K, class V, class Mutex, class ReadLock>
class boost_map {
  static constexpr bool nested = std::is_same_v<K, path>;
  using stored_value = shared_t<V>;
  using map = typename shared_map_of<shared_t<K>, stored_value>::type;

 public:
  boost_map(const std::string& object, const config& c, role r)
      : segment_(r == role::create ? segment(bip::create_only, object.c_str(), segment_bytes(c))
                                   : segment(bip::open_only, object.c_str())),
        mutex_(segment_.find_or_construct<Mutex>("mutex")()),
        map_(segment_.find_or_construct<map>("map")(segment_.get_segment_manager())) {}
  void reserve(std::size_t keys) { map_->reserve(keys); }

  std::optional<V> get(argument_t<K> key) {
    const ReadLock guard(*mutex_);
    if constexpr (nested) {
      const auto group = map_->find(key.group.view());
      return group == map_->end() ? std::nullopt : value_in(group->second, key.item);
    } else {
      return value_in(*map_, key);
    }
  }
  void put(argument_t<K> key, const V& value) {
    const std::lock_guard guard(*mutex_);
    assign(slot(key), value);
  }
  void put_locked(argument_t<K> key, const V& value) { put(key, value); }
  void add(argument_t<K> key) requires std::is_same_v<V, std::int64_t> {
    const std::lock_guard guard(*mutex_);
    ++slot(key);
  }
  bool erase(argument_t<K> key) {
    const std::lock_guard guard(*mutex_);
    if constexpr (nested) {
      const auto group = map_->find(key.group.view());
      return group != map_->end() && group->second.erase(key.item) != 0;
    } else {
      const auto found = map_->find(key);
      if (found == map_->end()) return false;
      map_->erase(found);
      return true;
    }
  }
  bool view(argument_t<K> key, std::uint64_t& sum) requires(!nested) {
    const ReadLock guard(*mutex_);
    const auto found = map_->find(key);
    if (found == map_->end()) return false;
    sum += digest(found->second);
    return true;
  }
  std::uint64_t iterate(std::uint64_t& sum) requires(!nested) {
    const ReadLock guard(*mutex_);
    for (const auto& entry : *map_) sum += digest(entry.second);
    return map_->size();
  }
  std::size_t memory() const { return segment_.get_size() - segment_.get_free_memory(); }

 private:
  template <class M, class Key>
  static std::optional<V> value_in(const M& m, const Key& key) {
    const auto found = m.find(key);
    return found == m.end() ? std::nullopt : std::optional<V>(copy_of(found->second));
  }
  template <class Value>
  Value make_value() const {
    if constexpr (std::is_arithmetic_v<Value>)
      return Value();
    else
      return Value(segment_.get_segment_manager());
  }
  template <class M>
  auto& text_in(M& m, std::string_view key) {
    const auto found = m.find(key);
    if (found != m.end()) return found->second;
    return m
        .emplace(shared_string(key.data(), key.size(), segment_.get_segment_manager()),
                 make_value<typename M::mapped_type>())
        .first->second;
  }
  template <class M>
  auto& number_in(M& m, std::int64_t key) {
    if constexpr (std::is_arithmetic_v<typename M::mapped_type>) {
      return m[key];
    } else {
      const auto found = m.find(key);
      if (found != m.end()) return found->second;
      return m.emplace(key, make_value<typename M::mapped_type>()).first->second;
    }
  }
  auto& slot(argument_t<K> key) {
    if constexpr (nested)
      return number_in(text_in(*map_, key.group.view()), key.item);
    else if constexpr (std::is_same_v<K, text>)
      return text_in(*map_, key);
    else
      return number_in(*map_, key);
  }

  segment segment_;
  Mutex* mutex_;
  map* map_;
};

inline void remove_segment(const std::string& object) { bip::shared_memory_object::remove(object.c_str()); }

} // namespace bench
