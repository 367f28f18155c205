// SPDX-License-Identifier: Apache-2.0
// What can be read of a dict: the same for dicts, refs, transactions and nested proxies.
#pragma once

#include <initializer_list>
#include <string_view>
#include <utility>
#include <vector>

#include "../proxy.hpp"
#include "../snapshot.hpp"
#include "../watch.hpp"

SHM_DETAIL_BEGIN

template <class Place, class K, class V>
class dict_view;
template <class Place, class K, class V>
class dict_proxy;

// What operator[] returns.
template <class Place, class K, class V>
struct element {
  using view = value_view<Place, K, V>;
  using proxy = value_proxy<Place, K, V>;
  static view look(const Place& p, arg_t<K> key) { return view(p, key); }
  static proxy refer(const Place& p, arg_t<K> key) { return proxy(p, key); }
};
template <class Place, class K, class K2, class V2, class S2>
struct element<Place, K, dict<K2, V2, S2>> {
  using view = dict_view<child_place<Place, K>, K2, stored<V2, S2>>;
  using proxy = dict_proxy<child_place<Place, K>, K2, stored<V2, S2>>;
  static view look(const Place& p, arg_t<K> key) { return view(child_place<Place, K>(p, key)); }
  static proxy refer(const Place& p, arg_t<K> key) { return proxy(child_place<Place, K>(p, key)); }
};

// A portion of a walk over all entries: see dict_reader::scan().
template <class K, class V>
struct portion {
  std::vector<std::pair<K, local_t<V>>> entries;
  std::uint64_t next = 0;
};
template <class K, class V>
struct scanning {
  portion<K, V> out;
  carried error;
  static int found(void* self, shmd_snapshot* s, const shmd_entry* e) {
    auto* me = static_cast<scanning*>(self);
    return me->error.catching(SHMD_KEPT, [&] {
      me->out.entries.push_back(load_pair<K, V>(s, *e));
      return 0;
    });
  }
};
template <class K, class V, class Place>
portion<K, V> scan_at(const Place& place, std::string_view prefix, std::uint64_t cursor, std::size_t limit) {
  scanning<K, V> c;
  const int result = read_at(place, [&](shmd_node node) {
    c.out.entries.clear();
    c.out.next = cursor;
    return shmd_scan(place.d, node, &c.out.next, prefix.data(), prefix.size(), limit, c.found, &c);
  });
  try {
    c.error.rethrow();
  } catch (const error&) {
    rethrow_in(place);
  }
  if (result < 0) throw_at(result, place);
  if (result == SHMD_NOT_FOUND) c.out.next = 0;
  return std::move(c.out);
}

// Derived has `Place place() const`. Reads take no lock and store nothing in shared memory (snapshots: a pin).
// Keys are arg_t<K>: a std::string_view for std::string.
template <class Derived, class Place, class K, class V>
class dict_reader {
 public:
  using key_type = K;
  using mapped_type = local_t<V>;
  using value_type = std::pair<K, mapped_type>;
  using local_type = local_t<dict<K, V>>;
  using size_type = std::size_t;
  using difference_type = std::ptrdiff_t;
  using iterator = detail::iterator<K, V, part::item>;
  using const_iterator = iterator;

  // A copy; nullopt, or the default, if the key is absent. A nested dict comes as one commit shows it.
  SHM_INLINE std::optional<mapped_type> get(arg_t<K> key) const {
    const auto k = key_at<K>(where(), key);
    if constexpr (is_nested<V>)
      return load_child<nested_key<V>, nested_value<V>>(where(), k);
    else
      return load_at<K, V>(where(), k);
  }
  mapped_type get(arg_t<K> key, mapped_type otherwise) const {
    auto found = get(key);
    return found ? std::move(*found) : std::move(otherwise);
  }
  // The value, or a dict_ref (read-only: a const_dict_ref) of the nested dict. Throws key_not_found.
  auto at(arg_t<K> key) const {
    if constexpr (is_nested<V>)
      return ref_to<dict_ref<nested_key<V>, nested_value<V>, true>>(key);
    else
      return value_view<Place, K, V>(where(), key).value();
  }
  typename element<Place, K, V>::view operator[](arg_t<K> key) const {
    return element<Place, K, V>::look(where(), key);
  }

  // Values of several keys as one snapshot shows them, in the order of `keys`; nullopt for those that are absent.
  template <class Keys = std::initializer_list<K>>
  std::vector<std::optional<mapped_type>> get_many(const Keys& keys) const {
    std::vector<std::optional<mapped_type>> out;
    const auto s = snapshot();
    for (const auto& key : keys) out.push_back(s.get(key));
    return out;
  }

  // A portion of a walk over all entries, with string keys over those that begin with `prefix`. Begin with cursor 0, go on
  // with the result's `next` until it is 0; the cursor may be kept for days or given to another process. `limit`: how many
  // entries to look at. An entry that is there all the while is given once. A missing nested dict has none.
  using portion = detail::portion<K, V>; // entries, next
  portion scan(text_arg prefix, std::uint64_t cursor = 0, std::size_t limit = 1000) const {
    static_assert(is_string<K>, "shm: only string keys have prefixes; use scan(cursor, limit)");
    return scan_at<K, V>(where(), prefix, cursor, limit);
  }
  portion scan(std::uint64_t cursor = 0, std::size_t limit = 1000) const {
    return scan_at<K, V>(where(), std::string_view(), cursor, limit);
  }

  bool contains(arg_t<K> key) const {
    const auto k = key_at<K>(where(), key);
    const int result = read_at(where(), [&](shmd_node n) { return shmd_contains(where().d, n, k.data(), k.size()); });
    if (result < 0 && result != SHMD_ERR_IS_A_DICT) throw_at<K>(result, where(), k);
    return result != SHMD_NOT_FOUND;
  }
  size_type count(arg_t<K> key) const { return contains(key) ? 1 : 0; }
  // An iterator with a copy of the entry, or end().
  iterator find(arg_t<K> key) const {
    auto found = get(key);
    return found ? iterator(value_type(K(key), std::move(*found))) : end();
  }
  size_type size() const {
    std::uint64_t n = 0;
    const int result = read_at(where(), [&](shmd_node node) { return shmd_count(where().d, node, &n); });
    if (result < 0) throw_at(result, where());
    return result == SHMD_NOT_FOUND ? 0 : static_cast<size_type>(n);
  }
  [[nodiscard]] bool empty() const { return size() == 0; }

  // Everything that follows is of one snapshot. On a read-only handle what gives a copy is tried anew, for a tenth of a
  // second, if a writer commits meanwhile; snapshots and iteration say busy.
  shm::snapshot<K, V> snapshot() const { return shm::snapshot<K, V>::of(where()); }
  iterator begin() const { return snapshot().begin(); }
  iterator end() const noexcept { return {}; }
  iterator cbegin() const { return begin(); }
  iterator cend() const noexcept { return {}; }
  auto keys() const { return snapshot().keys(); }
  auto values() const { return snapshot().values(); }
  auto items() const { return snapshot().items(); }
  local_type to_map() const {
    return read_whole(where().d, [this] { return snapshot().to_map(); });
  }
  local_type copy() const { return to_map(); }
  // A copy with the other's entries over it.
  template <class Range>
  local_type operator|(const Range& other) const {
    local_type out = to_map();
    for (const auto& [key, value] : other) out.insert_or_assign(key, value);
    return out;
  }
  friend bool operator==(const Derived& a, const local_type& b) { return a.to_map() == b; }
  friend bool operator!=(const Derived& a, const local_type& b) { return !(a.to_map() == b); }
  friend bool operator==(const Derived& a, const Derived& b) { return a.to_map() == b.to_map(); }
  friend bool operator!=(const Derived& a, const Derived& b) { return !(a.to_map() == b.to_map()); }

  // Every change from now on, or from a position on: of a snapshot, or of a watcher. See watch.hpp.
  shm::watcher<K, V> watch(std::uint64_t since = from_now) const { return {watched_place(where()), since}; }
  // Waits until predicate(value) is true, which it may be already; it is asked again after each change of the key. A
  // predicate of std::optional<mapped_type> is asked about an absent key (nullopt), too. Without polling, across processes;
  // false if the time is over and it is not true. Who holds the lock waits in vain; in a transaction: in_transaction.
  template <class Predicate>
  void wait(arg_t<K> key, Predicate predicate) const {
    static_cast<void>(wait_at(watched_place(where(), key_at<K>(where(), key)), never,
                              [&] { return holds<mapped_type>(predicate, get(key)); }));
  }
  template <class Predicate, class Rep, class Period>
  bool wait_for(arg_t<K> key, Predicate predicate, std::chrono::duration<Rep, Period> timeout) const {
    return wait_at(watched_place(where(), key_at<K>(where(), key)), follower::after(timeout),
                   [&] { return holds<mapped_type>(predicate, get(key)); });
  }

  // Calls f(std::string_view) with the value's bytes where they lie: nothing is copied, and they stay for the call,
  // whatever is written. Returns whether the key is there, or f's result in an optional. Keep it short: it holds memory
  // back. Inside a transaction and on read-only handles f gets a copy.
  template <class F>
  auto with(arg_t<K> key, F&& f) const {
    static_assert(!is_nested<V>, "shm: with() is for plain values; use at() or get() for a nested dict");
    const auto k = key_at<K>(where(), key);
    pinned_view view(where().d);
    int result = SHMD_ERR_CLOSED;
    if (!is_closed(where().d))
      result = read_at(where(), [&](shmd_node n) { return shmd_view_open(where().d, n, k.data(), k.size(), &view.v); });
    if (result == SHMD_ERR_IN_TRANSACTION || result == SHMD_ERR_READ_ONLY) return with_copy(k, f);
    if (result < 0) throw_at<K>(result, where(), k);
    const std::string_view bytes(static_cast<const char*>(view.v.data), view.v.size);
    return call_with(f, result == 0 ? &bytes : nullptr);
  }

 protected:
  dict_reader() = default;
  dict_reader(const dict_reader&) = default;
  dict_reader& operator=(const dict_reader&) = default;
  ~dict_reader() = default;

  decltype(auto) where() const { return static_cast<const Derived*>(this)->place(); }

  template <class Ref>
  Ref ref_to(arg_t<K> key) const {
    const child_place<Place, K> child(where(), key);
    shmd_node node;
    const int result = child.find(&node);
    if (result != 0) throw_at<K>(result, where(), child.key);
    std::string path;
    child.describe(path);
    return Ref(child.owner->shared_from_this(), node, std::move(path));
  }

 private:
  struct pinned_view {
    explicit pinned_view(shmd_dict* dict) : d(dict) {}
    pinned_view(const pinned_view&) = delete;
    pinned_view& operator=(const pinned_view&) = delete;
    ~pinned_view() {
      if (v.pin != nullptr) shmd_view_close(d, &v);
    }
    shmd_dict* d;
    shmd_view v{};
  };
  template <class F>
  static auto call_with(F& f, const std::string_view* bytes) {
    using R = std::invoke_result_t<F&, std::string_view>;
    if constexpr (std::is_void_v<R>) {
      if (bytes != nullptr) f(*bytes);
      return bytes != nullptr;
    } else {
      return bytes != nullptr ? std::optional<R>(f(*bytes)) : std::nullopt;
    }
  }
  template <class F>
  auto with_copy(const encoded_key<K>& k, F& f) const {
    std::optional<std::string> copy;
    const int result = get_at<std::string>(where(), k, copy);
    if (result < 0) throw_at<K>(result, where(), k);
    const std::string_view bytes = copy ? std::string_view(*copy) : std::string_view();
    return call_with(f, copy ? &bytes : nullptr);
  }
};

SHM_DETAIL_END
