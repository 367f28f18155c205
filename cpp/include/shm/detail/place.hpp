// SPDX-License-Identifier: Apache-2.0
// Places: where in the tree an operation happens.
//
// root_place and node_place are a dict that is there; child_place is the dict under a key of another place, looked up at
// each operation: reading creates nothing, writing creates missing levels in the same commit. Nothing is remembered that
// could go stale: if a level is replaced between look-up and use, the operation starts again at the top.
// A place belongs to one expression: it refers to the handle and to string keys of its caller.
#pragma once

#include <string>

#include "checked.hpp"
#include "handle.hpp"
#include "raw.hpp"

SHM_DETAIL_BEGIN

struct root_place {
  static constexpr bool lazy = false;
  shmd_dict* d;
  handle* owner; // nullptr while a new dict is filled

  shmd_node node() const noexcept { return shmd_root(); }
  int find(shmd_node* out) const noexcept { return *out = node(), 0; }
  int find(shmd_snapshot*, shmd_node* out) const noexcept { return *out = node(), 0; }
  int create(shmd_node* out) const noexcept { return *out = node(), 0; }
  int check() const noexcept { return 0; }
  int depth() const noexcept { return 0; } // keys down to it; kept by those of JSON, of which reading and writing ask
  void describe(std::string&) const {}
};

struct node_place {
  static constexpr bool lazy = false;
  shmd_dict* d;
  handle* owner;
  shmd_node at;
  const std::string* path; // of the ref, for messages
  int keys = 0;

  shmd_node node() const noexcept { return at; }
  int find(shmd_node* out) const noexcept { return *out = at, 0; }
  // The snapshot is older than this check: what lives now lived then.
  int find(shmd_snapshot*, shmd_node* out) const noexcept { return *out = at, check(); }
  int create(shmd_node* out) const noexcept { return *out = at, 0; }
  int check() const noexcept { return shmd_node_check(d, at); }
  int depth() const noexcept { return keys; }
  void describe(std::string& out) const { out += *path; }
};

// Throws what was thrown where neither dict nor key was known, with both.
[[noreturn]] SHM_COLD inline void throw_placed(const unplaced& e, const std::string& dict, const std::string& path) {
  const std::string prefix = "dict '" + dict + "'", at = path + e.path();
  std::string message = e.problem();
  if (message.find(prefix) == std::string::npos) message.insert(0, prefix + ": ");
  if (!at.empty()) message += " (at " + shortened(at) + ")";
  throw_as(e.code().value(), message, e.of_core() ? last_error(e.code().value()) : nullptr);
}
// In a handler: the same for what is handled there; anything else is thrown on. `key`: ["key"] at the place, or "".
template <class Place>
[[noreturn]] SHM_COLD void rethrow_in(const Place& place, const std::string& key = {}) {
  try {
    throw;
  } catch (const unplaced& e) {
    std::string path;
    place.describe(path);
    throw_placed(e, shmd_name(place.d), path + key);
  }
}
[[noreturn]] SHM_COLD inline void throw_of_core(int code, const shmd_dict* d, const std::string& path) {
  throw unplaced(code, last_message(code, shmd_name(d)), path, true);
}

// The bytes of a key at a place. Some keys are refused: NaN.
template <class K, class Place>
SHM_INLINE encoded_key<K> key_at(const Place& place, arg_t<K> key) {
  if constexpr (std::is_nothrow_constructible_v<encoded_key<K>, arg_t<K>>) {
    return encoded_key<K>(key);
  } else {
    try {
      return encoded_key<K>(key);
    } catch (const error&) {
      rethrow_in(place, std::string("[").append(type_name<K>::value).append("]"));
    }
  }
}

template <class Parent, class K>
struct child_place {
  static constexpr bool lazy = true;
  Parent parent;
  encoded_key<K> key;
  shmd_dict* d;
  handle* owner;

  child_place(const Parent& p, arg_t<K> k) : parent(p), key(key_at<K>(p, k)), d(p.d), owner(p.owner) {}

  int find(shmd_node* out) const noexcept {
    shmd_node up;
    const int result = parent.find(&up);
    return result != 0 ? result : shmd_node_open(d, up, key.data(), key.size(), 0, out);
  }
  int find(shmd_snapshot* s, shmd_node* out) const noexcept {
    shmd_node up;
    const int result = parent.find(s, &up);
    return result != 0 ? result : shmd_snapshot_node(s, up, key.data(), key.size(), out);
  }
  // Inside a transaction.
  int create(shmd_node* out) const noexcept {
    shmd_node up;
    const int result = parent.create(&up);
    return result < 0 ? result : shmd_node_open(d, up, key.data(), key.size(), SHMD_NODE_CREATE, out);
  }
  int check() const noexcept { return parent.check(); }
  int depth() const noexcept { return parent.depth() + 1; }
  void describe(std::string& out) const {
    parent.describe(out);
    describe_key<K>(out, key.data(), key.size());
  }
};

[[noreturn]] SHM_COLD inline void throw_path(int code, const shmd_dict* d, const std::string& path) {
  if (code == SHMD_NOT_FOUND) throw_as(code, std::string("dict '") + shmd_name(d) + "' has no key " + path, nullptr);
  throw_last(code, path, shmd_name(d));
}
template <class Place>
[[noreturn]] SHM_COLD void throw_at(int code, const Place& place) {
  std::string path;
  place.describe(path);
  throw_path(code, place.d, path);
}
template <class K, class Place, class Key>
[[noreturn]] SHM_COLD void throw_at(int code, const Place& place, const Key& key) {
  std::string path;
  place.describe(path);
  describe_key<K>(path, key.data(), key.size());
  throw_path(code, place.d, path);
}

// The lock, a transaction, or the one that the calling thread has open already. Forgotten unless committed: one that was open
// already, and into which something was written here, can then only be aborted as a whole.
class commit_scope {
 public:
  explicit commit_scope(shmd_dict* d, bool always = false)
      : d_(d), own_(always || shmd_in_transaction(d) == 0), mark_(own_ ? 0 : shmd_transaction_mark(d)) {
    if (!own_) return;
    const int result = shmd_begin(d, SHMD_DEFAULT_TIMEOUT);
    if (result < 0 || result == SHMD_TIMED_OUT) throw_last(result < 0 ? result : SHMD_ERR_LOCK_TIMEOUT);
  } // `always`: one of its own, or in_transaction
  commit_scope(const commit_scope&) = delete;
  commit_scope& operator=(const commit_scope&) = delete;
  ~commit_scope() {
    if (own_)
      static_cast<void>(shmd_abort(d_));
    else if (!done_)
      static_cast<void>(shmd_transaction_spoil(d_, mark_));
  }
  int commit() noexcept {
    done_ = true;
    if (!own_) return 0;
    own_ = false;
    return shmd_commit(d_);
  }
  void leave() noexcept { done_ = true; } // what was written into a transaction that was open is none of this scope's

 private:
  shmd_dict* d_;
  bool own_, done_ = false;
  std::uint64_t mark_;
};

inline constexpr int place_tries = 10000; // each means that somebody replaced a level meanwhile

// Calls f(node) with the dict at the place. Its result, or that of the look-up: SHMD_NOT_FOUND if a level is missing.
// *reached tells these apart.
template <class Place, class F>
int read_at(const Place& place, const F& f, bool* reached = nullptr) {
  if constexpr (!Place::lazy) {
    if (reached != nullptr) *reached = true;
    return f(place.node());
  } else {
    for (int i = 0; i < place_tries; ++i) {
      shmd_node node;
      int result = place.find(&node);
      if (reached != nullptr) *reached = result == 0;
      if (result == 0) result = f(node);
      if (result != SHMD_ERR_REMOVED) return result;
      if (place.check() != 0) return SHMD_ERR_REMOVED; // the ref that it starts at
    }
    return SHMD_ERR_BUSY;
  }
}

// The same for writes that store for certain: missing levels are created in the same commit. f must not throw.
template <class Place, class F>
int write_at(const Place& place, const F& f) {
  bool reached = true;
  int result = read_at(place, f, &reached);
  if (reached || result != SHMD_NOT_FOUND) return result;
  commit_scope scope(place.d);
  shmd_node node;
  result = place.create(&node);
  if (result >= 0) result = f(node);
  if (result != 0) return result;
  return scope.commit();
}

// shmd_update at a key: creates missing levels only if the callback stores.
template <class Place, class Key>
int update_at(const Place& place, const Key& key, shmd_update_fn callback, void* context) {
  const auto update = [&](shmd_node node) {
    return shmd_update(place.d, node, key.data(), key.size(), callback, context);
  };
  bool reached = true;
  int result = read_at(place, update, &reached);
  if (reached || result != SHMD_NOT_FOUND) return result;
  commit_scope scope(place.d);
  result = read_at(place, update, &reached); // made meanwhile?
  if (result < 0) scope.leave();
  if (!reached && result == SHMD_NOT_FOUND) {
    const void* value = nullptr;
    std::size_t size = 0;
    shmd_node node;
    result = callback(context, nullptr, 0, &value, &size);
    if (result < 0) scope.leave();
    if (result == 0) result = place.create(&node);
    if (result == 0 || result == SHMD_CREATED) result = shmd_put(place.d, node, key.data(), key.size(), value, size, 0);
  }
  if (result < 0) return result;
  const int committed = scope.commit(); // also what else the callback wrote
  return committed < 0 ? committed : result;
}

// In a handler of what serializers throw: says where.
template <class Place, class Key>
[[noreturn]] SHM_COLD void rethrow_at(const Place& place, const Key& key) {
  rethrow_in(place, text_of_key<typename Key::type>(key.data(), key.size()));
}

// The bytes of a value under a key at a place. Some values are refused: JSON that could not be read again.
template <class V, class Place, class Key>
SHM_INLINE encoded_value<V> value_at(const Place& place, const Key& key, arg_t<V> value) {
  if constexpr (std::is_nothrow_constructible_v<encoded_value<V>, arg_t<V>>) {
    return encoded_value<V>(value);
  } else {
    try {
      return encoded_value<V>(value);
    } catch (const error&) {
      rethrow_at(place, key);
    }
  }
}

// Present value at a key. 0, SHMD_NOT_FOUND, or an error.
template <class V, class Place, class Key>
int get_at(const Place& place, const Key& key, std::optional<local_t<V>>& out) {
  try {
    return read_at(place, [&](shmd_node node) {
      if constexpr (!is_scalar<V>) {
        const int result = raw_get_whole<V>(place.d, node, key.data(), key.size(), out);
        if (SHMD_LIKELY(result != SHMD_READ_NOT_PLAIN)) return result;
        out.reset();
      }
      return fetch<V>(
          [&](void* to, std::size_t capacity, std::size_t* size) {
            return raw_get(place.d, node, key.data(), key.size(), to, capacity, size);
          },
          out);
    });
  } catch (const error&) {
    rethrow_at(place, key);
  }
}

// The same, nullopt if it is absent; throws errors. By value: what stays in registers costs nothing.
template <class K, class V, class Place>
SHM_COLD std::optional<local_t<V>> load_slowly(Place place, encoded_key<K> key) {
  std::optional<local_t<V>> out;
  const int result = get_at<V>(place, key, out);
  if (result < 0) throw_at<K>(result, place, key);
  return out;
}
template <class K, class V, class Place>
SHM_INLINE std::optional<local_t<V>> load_at(const Place& place, const encoded_key<K>& key) {
  if constexpr (!Place::lazy && is_scalar<V> && !std::is_same_v<V, bool> && is_word<K>) {
    unsigned char bytes[sizeof(V)];
    const int result = raw_get_word<sizeof(K), sizeof(V)>(place.d, place.node(), key.data(), bytes);
    if (SHMD_LIKELY(result == 0)) return load_number<V>(bytes);
    if (SHMD_LIKELY(result == SHMD_NOT_FOUND)) return std::nullopt;
    return load_slowly<K, V>(place, key);
  } else {
    std::optional<local_t<V>> out;
    const int result = get_at<V>(place, key, out);
    if (result < 0) throw_at<K>(result, place, key);
    return out;
  }
}

// Read, change, store, as one step. Throws what `change` throws, and the core's errors.
template <class K, class V, class Place, class Change>
int change_at(const Place& place, const encoded_key<K>& key, Change&& change) {
  updater<V, std::remove_reference_t<Change>> u(change);
  const int result = update_at(place, key, u.callback, &u);
  if (result < 0) {
    const auto where = [&](const char* problem) {
      std::string path;
      place.describe(path);
      path += text_of_key<K>(key.data(), key.size());
      return std::string("dict '") + shmd_name(place.d) + "': " + problem + " (at " + shortened(path) + ")";
    };
    try {
      u.rethrow();
    } catch (const error&) {
      rethrow_at(place, key);
    } catch (const value_overflow& e) {
      throw std::overflow_error(where(e.what()));
    } catch (const value_domain& e) {
      throw std::domain_error(where(e.what()));
    }
    throw_at<K>(result, place, key);
  }
  return result;
}

SHM_DETAIL_END
