// SPDX-License-Identifier: Apache-2.0
// What can be changed in a dict: the same for dicts, refs, transactions and nested proxies.
#pragma once

#include <chrono>
#include <initializer_list>

#include "../options.hpp"
#include "computing.hpp"
#include "reading.hpp"

SHM_DETAIL_BEGIN

// Every call is one commit: all or nothing, whoever dies. Inside a transaction of the calling thread it is part of that.
// Derived has `Place place() const` and `void rebind(shmd_node)`: what it refers to has a new identity.
template <class Derived, class Place, class K, class V>
class dict_writer : public dict_reader<Derived, Place, K, V> {
  using reader = dict_reader<Derived, Place, K, V>;
  using reader::where;

 public:
  using typename reader::iterator;
  using typename reader::local_type;
  using typename reader::mapped_type;
  using typename reader::size_type;
  using typename reader::value_type;

  using reader::operator[];
  typename element<Place, K, V>::proxy operator[](arg_t<K> key) { return element<Place, K, V>::refer(where(), key); }

  using reader::at;
  auto at(arg_t<K> key) {
    if constexpr (is_nested<V>)
      return this->template ref_to<dict_ref<nested_key<V>, nested_value<V>, false>>(key);
    else
      return reader::at(key);
  }

  // Iterators are copies of the entry that is there now; bool: inserted.
  std::pair<iterator, bool> insert(value_type entry) {
    for (;;) {
      if (put_new(entry.first, entry.second)) return {iterator(std::move(entry)), true};
      auto present = this->get(entry.first);
      if (present) return {iterator(value_type(std::move(entry.first), std::move(*present))), false};
    }
  }
  template <class... Args>
  std::pair<iterator, bool> try_emplace(arg_t<K> key, Args&&... args) {
    return insert(value_type(K(key), mapped_type(std::forward<Args>(args)...)));
  }
  std::pair<iterator, bool> insert_or_assign(arg_t<K> key, mapped_type value) {
    bool inserted = false;
    if constexpr (is_nested<V>) {
      const auto k = key_at<K>(where(), key);
      commit_at(where(), [&](shmd_node node) {
        shmd_node ignored;
        const int found = shmd_node_open(where().d, node, k.data(), k.size(), 0, &ignored);
        inserted = found == SHMD_NOT_FOUND;
        return store_under<V>(where().d, node, k, value);
      });
    } else {
      change_at<K, V>(where(), key_at<K>(where(), key), [&](std::optional<mapped_type>& v) {
        inserted = !v;
        v = value;
        return SHMD_OK;
      });
    }
    return {iterator(value_type(K(key), std::move(value))), inserted};
  }

  // One value under many keys, to give to a constructor, update() or assign().
  template <class Keys>
  static local_type fromkeys(const Keys& keys, const mapped_type& value = {}) {
    local_type out;
    for (const auto& key : keys) out.insert_or_assign(K(key), value);
    return out;
  }
  static local_type fromkeys(std::initializer_list<K> keys, const mapped_type& value = {}) {
    return fromkeys<std::initializer_list<K>>(keys, value);
  }

  // Only if the key is there: whether it was.
  bool replace(arg_t<K> key, const mapped_type& value) {
    const auto k = key_at<K>(where(), key);
    int result;
    if constexpr (is_nested<V>) {
      commit_scope scope(where().d);
      shmd_node node, ignored;
      result = where().find(&node);
      if (result == 0) result = shmd_node_open(where().d, node, k.data(), k.size(), 0, &ignored);
      if (result == 0) {
        try {
          result = store_under<V>(where().d, node, k, value);
        } catch (const error&) {
          rethrow_in(where());
        }
      }
      if (result >= 0 && result != SHMD_NOT_FOUND) result = scope.commit();
    } else {
      const auto v = value_at<V>(where(), k, value);
      result = read_at(where(), [&](shmd_node n) {
        return shmd_put(where().d, n, k.data(), k.size(), v.data(), v.size(), SHMD_REPLACE_ONLY);
      });
    }
    if (result < 0) throw_at<K>(result, where(), k);
    return result != SHMD_NOT_FOUND;
  }

  // The present value; if there is none, compute() is called, and what it returns is stored and returned. Of all processes
  // and threads that ask for one key at a time, one computes; the others wait for its result, nobody else for anything: the
  // dict's lock is not held. If the computing process dies, or compute() throws (thrown on), the next one computes.
  // Waits as long as compute() takes, or `timeout`: then lock_timeout names who computes. Not inside a transaction.
  // compute() may use the dict; if it asks for the same key it gets would_deadlock. If it asks for another key, and another
  // process or thread does the same the other way round, both wait, without a `timeout` for ever: nobody looks for such
  // circles. Give one, or let all ask in one order.
  template <class F>
  mapped_type get_or_compute(arg_t<K> key, F&& compute) {
    return compute_once(key, compute, SHMD_FOREVER);
  }
  template <class F, class Rep, class Period>
  mapped_type get_or_compute(arg_t<K> key, F&& compute, std::chrono::duration<Rep, Period> timeout) {
    return compute_once(key, compute, timeout_ns(timeout));
  }

  // How many were erased: 0 or 1. A nested dict goes with all that is in it.
  size_type erase(arg_t<K> key) {
    const auto k = key_at<K>(where(), key);
    const int result = read_at(where(), [&](shmd_node n) { return shmd_erase(where().d, n, k.data(), k.size()); });
    if (result < 0) throw_at<K>(result, where(), k);
    return result == 0 ? 1 : 0;
  }
  // Erases and returns what was there.
  std::optional<mapped_type> extract(arg_t<K> key) {
    const auto k = key_at<K>(where(), key);
    std::optional<mapped_type> out;
    if constexpr (is_nested<V>) {
      commit_scope scope(where().d);
      shmd_node node;
      int result = where().find(&node);
      if (result == 0) out = load_child<nested_key<V>, nested_value<V>>(where(), k);
      if (out) result = shmd_erase(where().d, node, k.data(), k.size());
      if (out && result >= 0) result = scope.commit();
      if (result < 0) throw_at<K>(result, where(), k);
    } else {
      change_at<K, V>(where(), k, [&](std::optional<mapped_type>& v) {
        if (!v) return SHMD_KEPT;
        out = std::move(v);
        v.reset();
        return SHMD_OK;
      });
    }
    return out;
  }
  // Throws key_not_found, or returns the default, if the key is absent.
  mapped_type pop(arg_t<K> key) {
    auto out = extract(key);
    if (!out) throw_at<K>(SHMD_NOT_FOUND, where(), encoded_key<K>(key));
    return std::move(*out);
  }
  mapped_type pop(arg_t<K> key, mapped_type otherwise) {
    auto out = extract(key);
    return out ? std::move(*out) : std::move(otherwise);
  }
  // Erases and returns some entry; throws key_not_found if there is none. Each is given to one caller.
  value_type popitem() {
    for (;;) {
      std::optional<K> key;
      for (K k : this->keys()) {
        key = std::move(k);
        break;
      }
      if (!key)
        throw key_not_found(SHMD_NOT_FOUND, std::string("dict '") + shmd_name(where().d) + "' is empty", nullptr);
      if (auto out = extract(*key)) return {std::move(*key), std::move(*out)};
    }
  }
  // The present value, or `otherwise`, which is then stored.
  mapped_type setdefault(arg_t<K> key, mapped_type otherwise = {}) {
    if (auto present = this->get(key)) return std::move(*present);
    return insert(value_type(K(key), std::move(otherwise))).first->second;
  }

  void clear() {
    shmd_node fresh{0, 0};
    const int result = read_at(where(), [&](shmd_node node) { return make_empty(where(), node, &fresh); });
    if (result < 0) throw_at(result, where());
    if (result == 0) static_cast<Derived*>(this)->rebind(fresh);
  }
  // All entries of a list, map, dict or other range of pairs, in one commit: all or none. Costs less for each than single
  // writes. More than max_size / 256 that replace others are transaction_too_large, and nothing changed.
  void update(const local_type& entries) { update_from(entries); }
  template <class Range>
  void update(const Range& entries) {
    update_from(entries);
  }
  template <class Range>
  Derived& operator|=(const Range& entries) {
    update_from(entries);
    return *static_cast<Derived*>(this);
  }
  // These entries instead of all that is there, in one commit. As large as one of update().
  void assign(const local_type& entries) { assign_from(entries); }
  template <class Range>
  void assign(const Range& entries) {
    assign_from(entries);
  }

 protected:
  dict_writer() = default;
  dict_writer(const dict_writer&) = default;
  dict_writer& operator=(const dict_writer&) = default;
  ~dict_writer() = default;

 private:
  template <class F>
  mapped_type compute_once(arg_t<K> key, F& compute, std::int64_t timeout) {
    return detail::compute_once<K>(
        where(), key_at<K>(where(), key), timeout, [&] { return this->get(key); },
        [&]() -> mapped_type { return insert(value_type(K(key), compute())).first->second; });
  }

  bool put_new(arg_t<K> key, const mapped_type& value) {
    const auto k = key_at<K>(where(), key);
    if constexpr (is_nested<V>) {
      return SHMD_EXISTS != commit_at(where(), [&](shmd_node node) {
               shmd_node ignored;
               const int found = shmd_node_open(where().d, node, k.data(), k.size(), 0, &ignored);
               if (found != SHMD_NOT_FOUND) return found == 0 ? int{SHMD_EXISTS} : found;
               return store_under<V>(where().d, node, k, value);
             });
    } else {
      const auto v = value_at<V>(where(), k, value);
      const int result = write_at(where(), [&](shmd_node n) {
        return shmd_put(where().d, n, k.data(), k.size(), v.data(), v.size(), SHMD_INSERT_ONLY);
      });
      if (result < 0) throw_at<K>(result, where(), k);
      return result != SHMD_EXISTS;
    }
  }
  template <class Range>
  void update_from(const Range& entries) {
    if constexpr (is_nested<V>) {
      commit_at(where(), [&](shmd_node node) { return store_range<K, V>(where().d, node, entries); });
    } else {
      const auto pairs = [&] { // before the lock is taken
        try {
          return encoded_pairs<K, V>(entries);
        } catch (const error&) {
          rethrow_in(where());
        }
      }();
      const int result = write_at(where(), [&](shmd_node node) { return pairs.put(where().d, node); });
      if (result < 0) throw_at(result, where());
    }
  }
  template <class Range>
  void assign_from(const Range& entries) {
    shmd_node fresh{0, 0};
    commit_at(where(), [&](shmd_node node) {
      const int result = make_empty(where(), node, &fresh);
      return result < 0 ? result : store_range<K, V>(where().d, fresh, entries);
    });
    static_cast<Derived*>(this)->rebind(fresh);
  }
};

SHM_DETAIL_END
