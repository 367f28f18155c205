// SPDX-License-Identifier: Apache-2.0
// What peers inside of one process have in common: maps with the interface of std::unordered_map, and memory as malloc
// counts it.
#pragma once

#include <malloc.h>

#include <mutex>

#include "harness/measure.hpp"

namespace bench {

// Looks up by string_view without making a string.
struct text_hash {
  using is_transparent = void;
  std::size_t operator()(std::string_view s) const { return std::hash<std::string_view>()(s); }
};

struct no_lock {
  void lock() {}
  void unlock() {}
  void lock_shared() {}
  void unlock_shared() {}
};

inline std::size_t allocated() {
  const auto info = mallinfo2();
  return info.uordblks + info.hblkhd;
}

template <class K>
using stored_t = std::conditional_t<std::is_same_v<K, text>, std::string, K>;

// Map<Key, Value> is a map as std::unordered_map; Mutex a std::shared_mutex or no_lock.
template <template <class, class> class Map, class K, class V, class Mutex>
class local_map {
  template <class Key, class Value>
  struct levels {
    using type = Map<stored_t<Key>, Value>;
  };
  template <class Value>
  struct levels<path, Value> {
    using type = Map<std::string, Map<std::int64_t, Value>>;
  };
  static constexpr bool nested = std::is_same_v<K, path>;

 public:
  static void remove(const config&) {}

  local_map(const config&, role) {}
  void reserve(std::size_t keys) { map_.reserve(keys); }

  std::optional<V> get(argument_t<K> key) {
    const shared guard(mutex_);
    if constexpr (nested) {
      const auto group = map_.find(key.group.view());
      return group == map_.end() ? std::nullopt : value_in(group->second, key.item);
    } else {
      return value_in(map_, key);
    }
  }
  void put(argument_t<K> key, const V& value) {
    const std::lock_guard guard(mutex_);
    slot(key) = value;
  }
  void add(argument_t<K> key) requires std::is_same_v<V, std::int64_t> {
    const std::lock_guard guard(mutex_);
    ++slot(key);
  }
  bool erase(argument_t<K> key) {
    const std::lock_guard guard(mutex_);
    if constexpr (nested) {
      const auto group = map_.find(key.group.view());
      return group != map_.end() && erase_in(group->second, key.item);
    } else {
      return erase_in(map_, key);
    }
  }
  bool view(argument_t<K> key, std::uint64_t& sum) requires(!nested) {
    const shared guard(mutex_);
    const auto found = map_.find(key);
    if (found == map_.end()) return false;
    sum += digest(found->second);
    return true;
  }
  std::uint64_t iterate(std::uint64_t& sum) requires(!nested) {
    const shared guard(mutex_);
    for (const auto& entry : map_) sum += digest(entry.second);
    return map_.size();
  }
  std::size_t memory() const { return allocated(); }

 private:
  class shared { // std::shared_lock asks for more than no_lock has
   public:
    explicit shared(Mutex& m) : mutex_(m) { mutex_.lock_shared(); }
    shared(const shared&) = delete;
    shared& operator=(const shared&) = delete;
    ~shared() { mutex_.unlock_shared(); }

   private:
    Mutex& mutex_;
  };

  template <class M, class Key>
  static std::optional<V> value_in(const M& map, const Key& key) {
    const auto found = map.find(key);
    return found == map.end() ? std::nullopt : std::optional<V>(found->second);
  }
  template <class M, class Key>
  static bool erase_in(M& map, const Key& key) {
    const auto found = map.find(key);
    if (found == map.end()) return false;
    map.erase(found);
    return true;
  }
  template <class M>
  static auto& text_in(M& map, std::string_view key) {
    const auto found = map.find(key);
    return found != map.end() ? found->second : map[std::string(key)];
  }
  V& slot(argument_t<K> key) {
    if constexpr (nested)
      return text_in(map_, key.group.view())[key.item];
    else if constexpr (std::is_same_v<K, text>)
      return text_in(map_, key);
    else
      return map_[key];
  }

  Mutex mutex_;
  typename levels<K, V>::type map_;
};

} // namespace bench
