// SPDX-License-Identifier: Apache-2.0
// shm::snapshot<K, V>: a dict as it was after one commit, whatever is written meanwhile. Blocks nobody.
//
//   for (auto [key, value] : d.snapshot()) ...   // by value: each step reads one entry
// Iterators are input iterators: one pass, no particular order. Nested dicts come as local_t, or as snapshots by at().
// Lifetime: holds old versions in shared memory back until it and its iterators are gone; keep it short. On a read-only
// handle it holds nothing back and fails with busy once a writer has committed. Inside a transaction it shows that
// transaction's changes and must end before it. A dict may be closed while its snapshots live; they keep it mapped.
// Thread safety: copies share state; use all of them, and iterators, in one thread at a time.
// Errors: snapshot_too_old (it held back more than max_pin_bytes), busy, corrupt, removed (of an erased dict_ref), closed
// (it was moved from).
#pragma once

#include <cstddef>
#include <iterator>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>
#include <vector>

#include "detail/tree.hpp"

SHM_NAMESPACE_BEGIN

namespace detail {

enum class part { item, key, value };

template <class K, class V, part Part>
using part_t = std::conditional_t<Part == part::key, K,
                                  std::conditional_t<Part == part::value, local_t<V>, std::pair<K, local_t<V>>>>;

template <class K, class V, part Part>
part_t<K, V, Part> load_part(const cursor& c, shmd_dict* d) {
  const shmd_entry& e = c.entry();
  try {
    if constexpr (Part == part::key)
      return decode<K>(e.key, e.key_size);
    else if constexpr (Part == part::value)
      return load_entry<V>(c.snapshot(), e);
    else
      return {decode<K>(e.key, e.key_size), load_entry<V>(c.snapshot(), e)};
  } catch (const error&) {
    rethrow_in(root_place{d, nullptr}, text_of_key<K>(e.key, e.key_size));
  }
}

// Input iterator over a snapshot, or the copy of one entry that find() returns. Dereferencing gives a value, not a
// reference into the dict. Equal: both at the end, copies of each other, or found entries of the same key.
template <class K, class V, part Part>
class iterator {
 public:
  using iterator_category = std::input_iterator_tag;
  using value_type = part_t<K, V, Part>;
  using difference_type = std::ptrdiff_t;
  using pointer = const value_type*;
  using reference = value_type;

  iterator() noexcept = default; // the end
  iterator(std::shared_ptr<snapshot_state> state, shmd_node node)
      : state_(std::move(state)), cursor_(std::make_shared<cursor>(state_->get(), node)) {
    ++*this;
  }
  explicit iterator(value_type found) : current_(std::move(found)) {}

  value_type operator*() const { return current_ ? *current_ : load_part<K, V, Part>(*cursor_, state_->dict()); }
  pointer operator->() const { // valid until the iterator moves
    if (!current_) current_.emplace(load_part<K, V, Part>(*cursor_, state_->dict()));
    return &*current_;
  }
  iterator& operator++() {
    current_.reset();
    if (cursor_ && !cursor_->next()) {
      cursor_.reset();
      state_.reset();
    }
    return *this;
  }
  struct holder { // what *it++ needs
    value_type value;
    value_type operator*() && { return std::move(value); }
  };
  holder operator++(int) {
    holder old{**this};
    ++*this;
    return old;
  }
  friend bool operator==(const iterator& a, const iterator& b) { return a.equals(b); }
  friend bool operator!=(const iterator& a, const iterator& b) { return !a.equals(b); }

 private:
  bool equals(const iterator& other) const {
    if (cursor_ || other.cursor_) return cursor_ == other.cursor_;
    if (!current_ || !other.current_) return current_.has_value() == other.current_.has_value();
    if constexpr (Part == part::item)
      return current_->first == other.current_->first;
    else
      return *current_ == *other.current_;
  }

  std::shared_ptr<snapshot_state> state_; // outlives the cursor
  std::shared_ptr<cursor> cursor_;        // null: the end, or a found entry
  mutable std::optional<value_type> current_;
};

// keys(), values(), items(): a range over one snapshot.
template <class K, class V, part Part>
class part_range {
 public:
  using iterator = detail::iterator<K, V, Part>;
  using const_iterator = iterator;
  using value_type = typename iterator::value_type;

  part_range(std::shared_ptr<snapshot_state> state, std::optional<shmd_node> node)
      : state_(std::move(state)), node_(node) {}
  iterator begin() const { return state_ && node_ ? iterator(state_, *node_) : iterator(); }
  iterator end() const noexcept { return {}; }
  std::vector<value_type> to_vector() const {
    std::vector<value_type> out;
    for (auto&& e : *this) out.push_back(std::forward<decltype(e)>(e));
    return out;
  }

 private:
  std::shared_ptr<snapshot_state> state_;
  std::optional<shmd_node> node_; // empty: there was no such dict
};

} // namespace detail

template <class K, class V>
class snapshot {
 public:
  using key_type = K;
  using mapped_type = local_t<V>;
  using value_type = std::pair<K, mapped_type>;
  using local_type = local_t<dict<K, V>>;
  using iterator = detail::iterator<K, V, detail::part::item>;
  using const_iterator = iterator;

  // Of the dict at a place; of a missing one it is empty.
  template <class Place>
  static snapshot of(const Place& place) {
    snapshot s(std::make_shared<detail::snapshot_state>(place.d, place.owner));
    shmd_node node;
    const int result = place.find(s.state_->get(), &node);
    if (result < 0) detail::throw_at(result, place);
    if (result == 0) s.node_ = node;
    place.describe(s.path_);
    return s;
  }

  iterator begin() const { return node() ? iterator(state_, *node_) : iterator(); }
  iterator end() const noexcept { return {}; }

  // By key: a copy, nullopt or the default if it is absent.
  std::optional<mapped_type> get(detail::arg_t<K> key) const {
    const auto k = detail::key_at<K>(root(), key);
    if (!node()) return std::nullopt;
    if constexpr (detail::is_nested<V>) {
      const auto child = find_child(k);
      if (!child) return std::nullopt;
      return placed(
          k, [&] { return detail::load_dict<detail::nested_key<V>, detail::nested_value<V>>(state_->get(), *child); });
    } else {
      std::optional<mapped_type> out;
      const int result = placed(k, [&] {
        return detail::fetch<V>(
            [&](void* to, std::size_t capacity, std::size_t* size) {
              return shmd_snapshot_get(state_->get(), *node_, k.data(), k.size(), to, capacity, size);
            },
            out);
      });
      if (result < 0) fail(result, k);
      return out;
    }
  }
  mapped_type get(detail::arg_t<K> key, mapped_type otherwise) const {
    auto found = get(key);
    return found ? std::move(*found) : std::move(otherwise);
  }
  // The value, or the snapshot of the nested dict. Throws key_not_found.
  auto at(detail::arg_t<K> key) const {
    if constexpr (detail::is_nested<V>) {
      const auto k = detail::key_at<K>(root(), key);
      auto child = node() ? find_child(k) : std::nullopt;
      if (!child) fail(SHMD_NOT_FOUND, k);
      snapshot<detail::nested_key<V>, detail::nested_value<V>> s(state_);
      s.node_ = *child;
      s.path_ = path_ + detail::text_of_key<K>(k.data(), k.size());
      return s;
    } else {
      auto found = get(key);
      if (!found) fail(SHMD_NOT_FOUND, detail::key_at<K>(root(), key));
      return std::move(*found);
    }
  }
  auto operator[](detail::arg_t<K> key) const { return at(key); }

  iterator find(detail::arg_t<K> key) const {
    auto found = get(key);
    return found ? iterator(value_type(K(key), std::move(*found))) : end();
  }
  bool contains(detail::arg_t<K> key) const {
    const auto k = detail::key_at<K>(root(), key);
    if (!node()) return false;
    std::size_t size;
    const int result = shmd_snapshot_get(state_->get(), *node_, k.data(), k.size(), nullptr, 0, &size);
    if (result < 0 && result != SHMD_ERR_IS_A_DICT) fail(result, k);
    return result != SHMD_NOT_FOUND;
  }
  // Walks over all keys.
  std::size_t size() const {
    std::size_t n = 0;
    if (node())
      for (detail::cursor c(state_->get(), *node_); c.next();) ++n;
    return n;
  }
  bool empty() const { return !node() || !detail::cursor(state_->get(), *node_).next(); }

  auto keys() const { return detail::part_range<K, V, detail::part::key>(state_, node()); }
  auto values() const { return detail::part_range<K, V, detail::part::value>(state_, node()); }
  auto items() const { return detail::part_range<K, V, detail::part::item>(state_, node()); }
  local_type to_map() const {
    if (!node()) return {};
    try {
      return detail::load_dict<K, V>(state_->get(), *node_);
    } catch (const error&) {
      detail::rethrow_in(root());
    }
  }

  // Whether there is such a dict at all; a missing one reads as empty.
  bool exists() const noexcept { return state_ && node_; }

  // The log position it shows: everything committed below it, nothing above. 0 if it was moved from.
  std::uint64_t position() const noexcept { return state_ ? shmd_snapshot_position(state_->get()) : 0; }

 private:
  template <class, class>
  friend class snapshot;

  explicit snapshot(std::shared_ptr<detail::snapshot_state> state) : state_(std::move(state)) {}

  // Where it begins, empty if there was no such dict; every use asks for it first.
  const std::optional<shmd_node>& node() const {
    if (SHMD_UNLIKELY(!state_))
      detail::throw_as(SHMD_ERR_CLOSED, "the snapshot was moved from; use the one it was moved to", nullptr);
    return node_;
  }
  std::optional<shmd_node> find_child(const detail::encoded_key<K>& k) const {
    shmd_node child;
    const int result = shmd_snapshot_node(state_->get(), *node_, k.data(), k.size(), &child);
    if (result < 0) fail(result, k);
    return result == 0 ? std::optional<shmd_node>(child) : std::nullopt;
  }
  // For messages: where it is.
  detail::node_place root() const noexcept { return {state_ ? state_->dict() : nullptr, nullptr, {0, 0}, &path_}; }
  [[noreturn]] void fail(int result, const detail::encoded_key<K>& k) const { detail::throw_at<K>(result, root(), k); }
  // Runs read(), which decodes what is under a key.
  template <class Read>
  auto placed(const detail::encoded_key<K>& k, const Read& read) const {
    try {
      return read();
    } catch (const error&) {
      detail::rethrow_at(root(), k);
    }
  }

  std::shared_ptr<detail::snapshot_state> state_;
  std::optional<shmd_node> node_; // empty: there was no such dict
  std::string path_;              // of the dict, for messages
};

SHM_NAMESPACE_END
