// SPDX-License-Identifier: Apache-2.0
// What d[key] is, if the dict's values are dicts: the nested dict under a key, looked up anew by each operation.
//
// Every member is &&-qualified, as those of value_proxy. A missing dict reads as an empty one; conversion to local data
// and at() throw key_not_found.
#pragma once

#include "../local.hpp"
#include "writing.hpp"

SHM_DETAIL_BEGIN

// The unqualified interface at a place; only for dict_view and dict_proxy, which give it out for one expression.
template <class Place, class K, class V>
class bound_view : public dict_reader<bound_view<Place, K, V>, Place, K, V> {
 public:
  explicit bound_view(const Place& place) : place_(place) {}
  const Place& place() const noexcept { return place_; }

 private:
  Place place_;
};
template <class Place, class K, class V>
class bound_proxy : public dict_writer<bound_proxy<Place, K, V>, Place, K, V> {
 public:
  explicit bound_proxy(const Place& place) : place_(place) {}
  const Place& place() const noexcept { return place_; }
  void rebind(shmd_node) noexcept {}

 private:
  Place place_;
};

template <class Bound, class Place, class K, class V>
class nested_reading : proxy_tag {
 public:
  using key_type = K;
  using mapped_type = local_t<V>;
  using value_type = std::pair<K, mapped_type>;
  using local_type = local_t<dict<K, V>>;
  using iterator = typename Bound::iterator;

  nested_reading(const nested_reading&) = delete;
  nested_reading& operator=(const nested_reading&) = delete;

  operator local_type() && { return std::move(*this).value(); }
  operator local_type() & = delete; // a proxy lives for one expression: at() or ref() give what can be kept
  local_type value() && {           // throws key_not_found
    auto out = find_local();
    if (!out) throw_at(SHMD_NOT_FOUND, bound_.place());
    return std::move(*out);
  }
  bool exists() && {
    const int result = read_at(bound_.place(), [](shmd_node) { return 0; });
    if (result < 0) throw_at(result, bound_.place());
    return result == 0;
  }
  std::optional<mapped_type> get(arg_t<K> key) && { return bound_.get(key); }
  mapped_type get(arg_t<K> key, mapped_type otherwise) && { return bound_.get(key, std::move(otherwise)); }
  template <class Keys = std::initializer_list<K>>
  auto get_many(const Keys& wanted) && {
    return bound_.get_many(wanted);
  }
  auto scan(text_arg prefix, std::uint64_t cursor = 0, std::size_t limit = 1000) && {
    return bound_.scan(prefix, cursor, limit);
  }
  auto scan(std::uint64_t cursor = 0, std::size_t limit = 1000) && { return bound_.scan(cursor, limit); }
  auto at(arg_t<K> key) && { return bound_.at(key); }
  auto operator[](arg_t<K> key) && { return bound_[key]; }
  bool contains(arg_t<K> key) && { return bound_.contains(key); }
  std::size_t count(arg_t<K> key) && { return bound_.count(key); }
  iterator find(arg_t<K> key) && { return bound_.find(key); }
  iterator end() && noexcept { return {}; }
  std::size_t size() && { return bound_.size(); }
  bool empty() && { return bound_.empty(); }
  shm::snapshot<K, V> snapshot() && { return bound_.snapshot(); }
  // Of whatever stands at this place: replacing or erasing it is a `clear`. See watch.hpp.
  watcher<K, V> watch(std::uint64_t since = from_now) && { return bound_.watch(since); }
  template <class Predicate>
  void wait(arg_t<K> key, Predicate predicate) && {
    bound_.wait(key, std::move(predicate));
  }
  template <class Predicate, class Rep, class Period>
  bool wait_for(arg_t<K> key, Predicate predicate, std::chrono::duration<Rep, Period> timeout) && {
    return bound_.wait_for(key, std::move(predicate), timeout);
  }
  auto keys() && { return bound_.keys(); }
  auto values() && { return bound_.values(); }
  auto items() && { return bound_.items(); }
  local_type to_map() && { return bound_.to_map(); }
  local_type copy() && { return bound_.to_map(); }
  template <class F>
  auto with(arg_t<K> key, F&& f) && {
    return bound_.with(key, f);
  }
  friend bool operator==(nested_reading&& a, const local_type& b) { return a.bound_.to_map() == b; }
  friend bool operator!=(nested_reading&& a, const local_type& b) { return !(a.bound_.to_map() == b); }

 protected:
  explicit nested_reading(const Place& place) : bound_(place) {}
  ~nested_reading() = default;

  Bound bound_;

 private:
  std::optional<local_type> find_local() {
    std::optional<local_type> out;
    auto s = bound_.snapshot();
    if (s.exists()) out = s.to_map();
    return out;
  }
};

// Of a const dict.
template <class Place, class K, class V>
class dict_view : public nested_reading<bound_view<Place, K, V>, Place, K, V> {
 public:
  explicit dict_view(const Place& place) : nested_reading<bound_view<Place, K, V>, Place, K, V>(place) {}
};

// Writing creates missing levels in the same commit.
template <class Place, class K, class V>
class dict_proxy : public nested_reading<bound_proxy<Place, K, V>, Place, K, V> {
  using base = nested_reading<bound_proxy<Place, K, V>, Place, K, V>;
  using base::bound_;

 public:
  using typename base::iterator;
  using typename base::local_type;
  using typename base::mapped_type;
  using typename base::value_type;

  explicit dict_proxy(const Place& place) : base(place) {}

  // A list, map, dict, ref or other nested dict: replaces the subtree in one commit.
  void operator=(const local_type& entries) && { assign(entries); }
  void operator=(std::initializer_list<no_element>) && { assign({}); } // d[key] = {}: an empty dict
  // NOLINTNEXTLINE(performance-noexcept-move-constructor): it writes to the dict
  void operator=(dict_proxy&& other) && { assign(std::move(other).value()); }
  template <class D, class = decltype(std::declval<D>().to_map())>
  void operator=(D&& other) && {
    assign(std::forward<D>(other).to_map());
  }

  // A dict_ref of it, created if missing.
  dict_ref<K, V> ref() && {
    shmd_node node{0, 0};
    const int result = write_at(bound_.place(), [&](shmd_node n) { return node = n, 0; });
    if (result < 0) throw_at(result, bound_.place());
    std::string path;
    bound_.place().describe(path);
    return dict_ref<K, V>(bound_.place().owner->shared_from_this(), node, std::move(path));
  }
  std::pair<iterator, bool> insert(value_type entry) && { return bound_.insert(std::move(entry)); }
  template <class... Args>
  std::pair<iterator, bool> try_emplace(arg_t<K> key, Args&&... args) && {
    return bound_.try_emplace(key, std::forward<Args>(args)...);
  }
  std::pair<iterator, bool> insert_or_assign(arg_t<K> key, mapped_type value) && {
    return bound_.insert_or_assign(key, std::move(value));
  }
  bool replace(arg_t<K> key, const mapped_type& value) && { return bound_.replace(key, value); }
  template <class F, class... Timeout>
  mapped_type get_or_compute(arg_t<K> key, F&& compute, Timeout... timeout) && {
    return bound_.get_or_compute(key, compute, timeout...);
  }
  std::size_t erase(arg_t<K> key) && { return bound_.erase(key); }
  std::optional<mapped_type> extract(arg_t<K> key) && { return bound_.extract(key); }
  mapped_type pop(arg_t<K> key) && { return bound_.pop(key); }
  mapped_type pop(arg_t<K> key, mapped_type otherwise) && { return bound_.pop(key, std::move(otherwise)); }
  value_type popitem() && { return bound_.popitem(); }
  mapped_type setdefault(arg_t<K> key, mapped_type otherwise = {}) && {
    return bound_.setdefault(key, std::move(otherwise));
  }
  void clear() && { bound_.clear(); }
  void update(const local_type& entries) && { bound_.update(entries); }
  template <class Range>
  void update(const Range& entries) && {
    bound_.update(entries);
  }
  template <class Range>
  void operator|=(const Range& entries) && {
    bound_.update(entries);
  }

 private:
  void assign(const local_type& entries) {
    const auto& place = bound_.place();
    commit_at(place.parent, [&](shmd_node up) { return store_under<dict<K, V>>(place.d, up, place.key, entries); });
  }
};

SHM_DETAIL_END
