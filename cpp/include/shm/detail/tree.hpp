// SPDX-License-Identifier: Apache-2.0
// Whole (sub)trees: read from a snapshot into local data, written from local data or ranges.
#pragma once

#include <algorithm>
#include <chrono>
#include <iterator>
#include <memory>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include "place.hpp"

SHM_DETAIL_BEGIN

// A snapshot that its users share. Keeps the core's handle open.
class snapshot_state {
 public:
  snapshot_state(shmd_dict* d, handle* owner) : dict_(d) {
    check(shmd_snapshot_open(d, &snapshot_));
    if (owner != nullptr) {
      owner_ = owner->shared_from_this();
      owner_->hold();
    }
  }
  snapshot_state(const snapshot_state&) = delete;
  snapshot_state& operator=(const snapshot_state&) = delete;
  ~snapshot_state() {
    shmd_snapshot_close(snapshot_);
    if (owner_) static_cast<void>(owner_->release());
  }
  shmd_snapshot* get() const noexcept { return snapshot_; }
  shmd_dict* dict() const noexcept { return dict_; }

 private:
  shmd_dict* dict_;
  shmd_snapshot* snapshot_ = nullptr;
  std::shared_ptr<handle> owner_;
};

// Runs whole(), which reads a dict with all in it from a snapshot of its own. On a read-only handle a snapshot holds nothing
// back and is busy once a writer commits: then it is tried anew, for a tenth of a second.
template <class Whole>
auto read_whole(shmd_dict* d, const Whole& whole) {
  for (int tries = 0;; ++tries) {
    try {
      return whole();
    } catch (const error& e) {
      shmd_stats s;
      if (tries == 100 || e.code() != errc::busy || shmd_stat(d, &s) < 0 || s.read_only == 0) throw;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
}

// An iteration over one dict of a snapshot.
class cursor {
 public:
  cursor(shmd_snapshot* s, shmd_node node) : snapshot_(s) { check(shmd_iter_open(s, node, &iter_)); }
  cursor(const cursor&) = delete;
  cursor& operator=(const cursor&) = delete;
  ~cursor() { shmd_iter_close(iter_); }

  bool next() { return check(shmd_iter_next(iter_, &entry_)) != SHMD_END; }
  const shmd_entry& entry() const noexcept { return entry_; } // valid until next()
  shmd_snapshot* snapshot() const noexcept { return snapshot_; }

 private:
  shmd_snapshot* snapshot_;
  shmd_iter* iter_ = nullptr;
  shmd_entry entry_{};
};

template <class V>
struct tree;

// The value of an entry, with all that is nested in it.
template <class V>
local_t<V> load_entry(shmd_snapshot* s, const shmd_entry& e) {
  return tree<V>::load(s, e);
}

// With its key. What is no key or value of these types is told with its path from here.
template <class K, class V>
std::pair<K, local_t<V>> load_pair(shmd_snapshot* s, const shmd_entry& e) {
  try {
    return {decode<K>(e.key, e.key_size), load_entry<V>(s, e)};
  } catch (const unplaced& u) {
    throw u.below(text_of_key<K>(e.key, e.key_size));
  }
}

template <class K, class V>
local_t<dict<K, V>> load_dict(shmd_snapshot* s, shmd_node node) {
  local_t<dict<K, V>> out;
  for (cursor c(s, node); c.next();) out.insert(load_pair<K, V>(s, c.entry()));
  return out;
}

// Keys and values of a range as bytes, to be stored together by one call of the core. Bytes of strings and the like are those
// of the range where its elements stay while it is kept; all others are copied. What serializers refuse is thrown as
// `unplaced`, with its key.
template <class K, class V>
class encoded_pairs {
 public:
  template <class Range>
  explicit encoded_pairs(const Range& range) {
    if constexpr (has_size<Range>::value) pairs_.reserve(static_cast<std::size_t>(range.size()));
    for (const auto& [key, value] : range) add<keeps_elements<Range>::value>(key, value);
  }
  encoded_pairs(const encoded_pairs&) = delete;
  encoded_pairs& operator=(const encoded_pairs&) = delete;

  // The key that is too long, or whose value is, is thrown as `unplaced`.
  int put(shmd_dict* d, shmd_node node) const {
    const int result = shmd_put_many(d, node, pairs_.data(), pairs_.size(), 0);
    if (result == SHMD_ERR_KEY_TOO_LONG) refuse(result, d, [](const shmd_pair& p) { return p.key_size; });
    if (result == SHMD_ERR_VALUE_TOO_LONG) refuse(result, d, [](const shmd_pair& p) { return p.value_size; });
    return result;
  }

 private:
  template <class R, class = void>
  struct has_size : std::false_type {};
  template <class R>
  struct has_size<R, std::void_t<decltype(std::declval<const R&>().size())>> : std::true_type {};
  template <class R, class = void>
  struct keeps_elements : std::false_type {};
  template <class R>
  struct keeps_elements<R,
                        std::enable_if_t<std::is_lvalue_reference_v<decltype(*std::begin(std::declval<const R&>()))> &&
                                         std::is_convertible_v<typename std::iterator_traits<decltype(std::begin(
                                                                   std::declval<const R&>()))>::iterator_category,
                                                               std::forward_iterator_tag>>> : std::true_type {};

  template <class Size>
  [[noreturn]] SHM_COLD void refuse(int result, shmd_dict* d, const Size& size) const {
    const auto p = std::max_element(pairs_.begin(), pairs_.end(),
                                    [&](const shmd_pair& a, const shmd_pair& b) { return size(a) < size(b); });
    throw_of_core(result, d, text_of_key<K>(p->key, p->key_size));
  }
  template <bool Kept, class Key, class Value>
  void add(const Key& key, const Value& value) {
    shmd_pair p; // NOLINT(cppcoreguidelines-pro-type-member-init): all of it is set below
    p.key = this->template bytes<K, true, (Kept && std::is_same_v<Key, K>)>(key, p.key_size);
    try {
      p.value = this->template bytes<V, false, (Kept && std::is_same_v<Value, local_t<V>>)>(value, p.value_size);
    } catch (const unplaced& e) {
      throw e.below(text_of_key<K>(p.key, p.key_size));
    }
    pairs_.push_back(p);
  }
  template <class T, bool Key, bool Kept>
  const void* bytes(std::conditional_t<Key, arg_t<T>, const local_t<T>&> v, std::size_t& size) {
    const encoded<T, Key> e(v);
    size = e.size();
    if constexpr (Kept && is_bytes<T>) return e.data();
    if (size > left_) more(size);
    unsigned char* const copy = next_;
    if (size != 0) std::memcpy(copy, e.data(), size);
    next_ += size;
    left_ -= size;
    return copy;
  }
  SHM_COLD void more(std::size_t size) {
    constexpr std::size_t block = 16384;
    left_ = size > block ? size : block;
    blocks_.emplace_back(new unsigned char[left_]);
    next_ = blocks_.back().get();
  }

  std::vector<shmd_pair> pairs_;
  std::vector<std::unique_ptr<unsigned char[]>> blocks_;
  unsigned char* next_ = nullptr;
  std::size_t left_ = 0;
};

// Writes into a dict that is there. Not negative: what the core refuses is thrown as `unplaced`, with its path from here, as
// is what serializers refuse.
template <class V, class Key>
int store_under(shmd_dict* d, shmd_node node, const Key& k, const local_t<V>& value) {
  const auto path = [&] { return text_of_key<typename Key::type>(k.data(), k.size()); };
  try {
    const int result = tree<V>::store(d, node, k.data(), k.size(), value);
    if (result >= 0) return result;
    throw_of_core(result, d, {});
  } catch (const unplaced& e) {
    throw e.below(path());
  }
}
template <class K, class V>
int store_entry(shmd_dict* d, shmd_node node, arg_t<K> key, const local_t<V>& value) {
  return store_under<V>(d, node, encoded_key<K>(key), value);
}

// Ranges of pairs that local data is made of by copying: not what converts to local data, options or a name anyway.
template <class R, class = void>
struct pair_range : std::false_type {};
template <class R>
struct pair_range<R, std::void_t<decltype(std::declval<const R&>().begin(), std::declval<const R&>().end()),
                                 decltype((*std::declval<const R&>().begin()).second)>> : std::true_type {};
template <class R, class Local>
inline constexpr bool is_entries = pair_range<R>::value && !std::is_convertible_v<const R&, Local>;
template <class It, class = void>
struct input_iterator : std::false_type {};
template <class It>
struct input_iterator<It, std::void_t<typename std::iterator_traits<It>::iterator_category>> : std::true_type {};
template <class It>
inline constexpr bool is_input_iterator = input_iterator<It>::value;
template <class It>
struct iterator_pair {
  It first, last;
  It begin() const { return first; }
  It end() const { return last; }
};

// Writes into a dict that is there. 0 or the core's first error; throws what serializers throw. Nested dicts are stored one
// after the other: within a transaction, or before anybody sees the dict.
template <class K, class V, class Range>
int store_range(shmd_dict* d, shmd_node node, const Range& range) {
  if constexpr (is_nested<V>) {
    for (const auto& [key, value] : range) {
      const int result = store_entry<K, V>(d, node, key, value);
      if (result < 0) return result;
    }
    return 0;
  } else {
    return encoded_pairs<K, V>(range).put(d, node);
  }
}

// A plain value.
template <class V>
struct tree {
  static local_t<V> load(shmd_snapshot*, const shmd_entry& e) {
    if (e.is_dict) throw unplaced(errc::is_a_dict, "a key holds a nested dict where a value was expected");
    return decode<V>(e.value, e.value_size);
  }
  static int store(shmd_dict* d, shmd_node node, const void* key, std::size_t key_size, const local_t<V>& value) {
    const encoded_value<V> v(value);
    return shmd_put(d, node, key, key_size, v.data(), v.size(), 0);
  }
};

// A nested dict: replaces what was under the key.
template <class K, class V, class S>
struct tree<dict<K, V, S>> {
  static local_t<dict<K, V>> load(shmd_snapshot* s, const shmd_entry& e) {
    if (!e.is_dict) throw unplaced(errc::not_a_dict, "a key holds a value where a nested dict was expected");
    return load_dict<K, stored<V, S>>(s, e.node);
  }
  static int store(shmd_dict* d, shmd_node node, const void* key, std::size_t key_size,
                   const local_t<dict<K, V>>& value) {
    shmd_node child;
    const int result = shmd_node_open(d, node, key, key_size, SHMD_NODE_REPLACE, &child);
    return result < 0 ? result : store_range<K, stored<V, S>>(d, child, value);
  }
};

// Within a transaction.
inline int erase_entries(shmd_dict* d, shmd_node node) {
  std::vector<std::string> keys;
  {
    const snapshot_state s(d, nullptr);
    for (cursor c(s.get(), node); c.next();)
      keys.emplace_back(static_cast<const char*>(c.entry().key), c.entry().key_size);
  }
  commit_scope scope(d);
  for (const auto& key : keys) {
    const int result = shmd_erase(d, node, key.data(), key.size());
    if (result < 0) return result;
  }
  return scope.commit();
}

// Empties the dict at a place; *fresh: where it is then. The core puts a new dict in its place, which takes no time. That will not do for
// who knows a nested dict by its id inside a transaction: one that is aborted leaves the old dict as it was, and the new
// id to others. There the entries are erased.
template <class Place>
int make_empty(const Place& place, shmd_node node, shmd_node* fresh) {
  if constexpr (!Place::lazy) {
    if (node.id != 0 && shmd_in_transaction(place.d) != 0) return erase_entries(place.d, *fresh = node);
  }
  return shmd_clear(place.d, node, fresh);
}

// Runs work(node) -> result in one commit, with the dict at the place, created if missing. Results >= 0 are committed
// and returned. Throws the core's errors, and what `work` throws.
template <class Place, class Work>
int commit_at(const Place& place, const Work& work) {
  commit_scope scope(place.d);
  shmd_node node;
  int result = place.create(&node);
  try {
    if (result >= 0) result = work(node);
  } catch (const error&) {
    rethrow_in(place);
  }
  if (result >= 0) {
    const int committed = scope.commit();
    if (committed < 0) result = committed;
  }
  if (result < 0) throw_at(result, place);
  return result;
}

// The nested dict under a key, as one commit shows it. Empty if there is none.
template <class K, class V, class Place, class Key>
std::optional<local_t<dict<K, V>>> load_child(const Place& place, const Key& key) {
  using found = std::optional<local_t<dict<K, V>>>;
  return read_whole(place.d, [&]() -> found {
    const snapshot_state s(place.d, place.owner);
    shmd_node node, child;
    int result = place.find(s.get(), &node);
    if (result == 0) result = shmd_snapshot_node(s.get(), node, key.data(), key.size(), &child);
    if (result == SHMD_NOT_FOUND) return std::nullopt;
    if (result < 0) throw_at(result, place);
    try {
      return load_dict<K, V>(s.get(), child);
    } catch (const error&) {
      rethrow_at(place, key);
    }
  });
}

SHM_DETAIL_END
