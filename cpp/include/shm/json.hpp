// SPDX-License-Identifier: Apache-2.0
// JSON, by nlohmann/json: shm::json_dict, shm::json_serializer, and conversion of dicts to nlohmann::json. Opt-in.
//
//   shm::json_dict j{"config"};                      // objects are dicts, everything else (arrays too) is a leaf
//   j["server"]["port"] = 8080;                      // creates "server" in the same commit
//   int p = j["server"]["port"].get<int>();
//   nlohmann::json all = j;                          // one snapshot
//   template <> struct shm::serializer<my_type> : shm::json_serializer<my_type> {};   // a value with to_json, from_json
// Crossing a leaf throws: after j["a"] = 1, j["a"]["b"] is an error (not_a_dict). Assigning an object replaces what was
// there, in one commit; merge() goes into objects that are there. Proxies are &&-qualified as those of shm::dict.
// Thread safety and lifetimes: as of shm::dict. Errors: also nlohmann's own, for get<T>() of another type.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "detail/json_proxy.hpp"
#include "dict.hpp"
#include "list.hpp"
#include "replica.hpp"

SHM_NAMESPACE_BEGIN

// What json_dict and json_ref have in common.
template <class Derived, class Place>
class json_object {
 public:
  using iterator = detail::iterator<std::string, json_dict, detail::part::item>; // pairs of std::string, nlohmann::json

  json_view<Place> operator[](detail::text_arg key) const { return {where(), key}; }
  json_proxy<Place> operator[](detail::text_arg key) { return {where(), key}; }
  json_ref at(detail::text_arg key); // the object under a key: key_not_found, not_a_dict

  std::optional<nlohmann::json> get(detail::text_arg key) const { return (*this)[key].find(); }
  template <class T>
  T get(detail::text_arg key, T otherwise) const {
    return (*this)[key].value_or(std::move(otherwise));
  }
  // As of shm::dict (detail/reading.hpp): several keys as one snapshot shows them; a walk in portions.
  template <class Keys = std::initializer_list<std::string>>
  std::vector<std::optional<nlohmann::json>> get_many(const Keys& keys) const {
    return detail::get_many_json(where(), keys);
  }
  using portion = detail::portion<std::string, json_dict>;
  portion scan(detail::text_arg prefix, std::uint64_t cursor = 0, std::size_t limit = 1000) const {
    return detail::scan_at<std::string, json_dict>(where(), prefix, cursor, limit);
  }
  portion scan(std::uint64_t cursor = 0, std::size_t limit = 1000) const { return scan("", cursor, limit); }
  bool contains(detail::text_arg key) const { return (*this)[key].exists(); }
  std::size_t size() const {
    std::uint64_t n = 0;
    const auto place = where();
    const int result = shmd_count(place.d, place.node(), &n);
    if (result < 0) detail::throw_at(result, place);
    return static_cast<std::size_t>(n);
  }
  [[nodiscard]] bool empty() const { return size() == 0; }

  // Of one snapshot.
  detail::part_range<std::string, json_dict, detail::part::item> items() const { return range<detail::part::item>(); }
  detail::part_range<std::string, json_dict, detail::part::key> keys() const { return range<detail::part::key>(); }
  detail::part_range<std::string, json_dict, detail::part::value> values() const {
    return range<detail::part::value>();
  }
  iterator begin() const { return items().begin(); }
  iterator end() const noexcept { return {}; }
  // A leaf that cannot be read is a discarded value (nlohmann's own sign for what is no JSON: it prints as <discarded>, gives
  // no get<T>(), and is refused where it is stored), and is told in `unreadable`: errors that name dict and path.
  nlohmann::json to_json(std::vector<error>* unreadable = nullptr) const {
    return detail::read_whole(where().d, [&] {
      const auto s = open();
      if (unreadable != nullptr) unreadable->clear();
      detail::json_losses losses{where().d, unreadable, {}};
      if (unreadable != nullptr) where().describe(losses.path);
      return detail::load_json(s.first->get(), s.second, losses);
    });
  }

  nlohmann::json copy() const { return to_json(); }
  // A copy with the other's entries over it; nested ones as a whole.
  nlohmann::json operator|(const nlohmann::json& other) const {
    auto out = to_json();
    out.update(other);
    return out;
  }
  friend bool operator==(const Derived& a, const nlohmann::json& b) { return a.to_json() == b; }
  friend bool operator!=(const Derived& a, const nlohmann::json& b) { return !(a.to_json() == b); }

  // As of shm::dict, see watch.hpp. Values are leaves; in wait_for() an object comes with all that is in it.
  watcher<std::string, json_dict> watch(std::uint64_t since = from_now) const {
    return {detail::watched_place(where()), since};
  }
  template <class Predicate>
  void wait(detail::text_arg key, Predicate predicate) const {
    (*this)[key].wait(std::move(predicate));
  }
  template <class Predicate, class Rep, class Period>
  bool wait_for(detail::text_arg key, Predicate predicate, std::chrono::duration<Rep, Period> timeout) const {
    return (*this)[key].wait_for(std::move(predicate), timeout);
  }

  bool erase(detail::text_arg key) { return (*this)[key].erase(); }
  // Erases and returns what was there, in one commit. Throws key_not_found, or returns the default.
  nlohmann::json pop(detail::text_arg key) {
    auto out = extract(key);
    if (!out) detail::throw_at<std::string>(SHMD_NOT_FOUND, where(), detail::encoded_key<std::string>(key));
    return std::move(*out);
  }
  nlohmann::json pop(detail::text_arg key, nlohmann::json otherwise) {
    auto out = extract(key);
    return out ? std::move(*out) : std::move(otherwise);
  }
  std::optional<nlohmann::json> extract(detail::text_arg key) {
    detail::commit_scope scope(where().d);
    std::vector<error> unreadable;
    auto out = (*this)[key].find(&unreadable);
    if (!unreadable.empty()) throw error(unreadable.front()); // NOLINT: what nobody got is not erased
    if (out) erase(key);
    detail::check(scope.commit());
    return out;
  }
  // Erases and returns some entry; throws key_not_found if there is none.
  std::pair<std::string, nlohmann::json> popitem() {
    detail::commit_scope scope(where().d);
    std::optional<std::string> key;
    if (auto k = keys(); k.begin() != k.end()) key = *k.begin();
    if (!key) throw key_not_found(SHMD_NOT_FOUND, std::string("dict '") + shmd_name(where().d) + "' is empty", nullptr);
    auto out = extract(*key);
    detail::check(scope.commit());
    return {std::move(*key), std::move(*out)};
  }
  // What is there, or `otherwise`, which is then stored.
  nlohmann::json setdefault(detail::text_arg key, nlohmann::json otherwise = nullptr) {
    return detail::setdefault_json(where(), key, std::move(otherwise));
  }
  // As of shm::dict (detail/writing.hpp): one of all that ask computes; compute() gives a leaf or an object.
  template <class F>
  nlohmann::json get_or_compute(detail::text_arg key, F&& compute) {
    return detail::get_or_compute_json(where(), key, compute, SHMD_FOREVER);
  }
  template <class F, class Rep, class Period>
  nlohmann::json get_or_compute(detail::text_arg key, F&& compute, std::chrono::duration<Rep, Period> timeout) {
    return detail::get_or_compute_json(where(), key, compute, detail::timeout_ns(timeout));
  }
  // Whether it stored: if nothing was there.
  bool insert(detail::text_arg key, const nlohmann::json& value) {
    detail::commit_scope scope(where().d);
    if (contains(key)) return false;
    (*this)[key] = value;
    detail::check(scope.commit());
    return true;
  }
  // The object's entries instead of those of the same keys, in one commit; merge() goes into objects that are there.
  void update(const nlohmann::json& object) {
    check_object(object);
    const auto place = where();
    detail::commit_at(place, [&](shmd_node node) {
      return detail::store_json_object(place.d, node, object, detail::json_store::replace);
    });
  }
  static nlohmann::json fromkeys(const std::vector<std::string>& keys, const nlohmann::json& value = nullptr) {
    auto out = nlohmann::json::object();
    for (const auto& key : keys) out[key] = value;
    return out;
  }
  void clear() { replace(nlohmann::json::object()); }
  // An object instead of all that is there; an object merged with it. In one commit.
  void replace(const nlohmann::json& object) {
    check_object(object);
    const auto place = where();
    shmd_node fresh{0, 0};
    detail::commit_at(place, [&](shmd_node node) {
      const int result = detail::make_empty(place, node, &fresh);
      return result < 0 ? result : detail::store_json_object(place.d, fresh, object, detail::json_store::replace);
    });
    static_cast<Derived*>(this)->rebind(fresh);
  }
  void merge(const nlohmann::json& object) {
    check_object(object);
    const auto place = where();
    detail::commit_at(place, [&](shmd_node node) {
      return detail::store_json_object(place.d, node, object, detail::json_store::merge);
    });
  }
  // f(Derived&), committed as a whole, or aborted by a throw. Returns f's result.
  template <class F>
  auto transact(F&& f) {
    detail::commit_scope scope(where().d, true);
    if constexpr (std::is_void_v<std::invoke_result_t<F&, Derived&>>) {
      f(*static_cast<Derived*>(this));
      detail::check(scope.commit());
    } else {
      auto result = f(*static_cast<Derived*>(this));
      detail::check(scope.commit());
      return result;
    }
  }

 protected:
  ~json_object() = default;

 private:
  Place where() const { return static_cast<const Derived*>(this)->place(); }
  void check_object(const nlohmann::json& j) const {
    const auto place = where();
    try {
      if (!j.is_object()) throw detail::unplaced(errc::invalid_argument, "a json_dict as a whole takes an object only");
      detail::check_storable(j, detail::json_depth - 1 - place.depth());
    } catch (const error&) {
      detail::rethrow_in(place);
    }
  }
  std::pair<std::shared_ptr<detail::snapshot_state>, shmd_node> open() const {
    const auto place = where();
    auto state = std::make_shared<detail::snapshot_state>(place.d, place.owner);
    shmd_node node;
    const int result = place.find(state->get(), &node);
    if (result < 0) detail::throw_at(result, place);
    return {std::move(state), node};
  }
  template <detail::part Part>
  detail::part_range<std::string, json_dict, Part> range() const {
    auto s = open();
    return {std::move(s.first), s.second};
  }
};

// A recursive dict by name. Its type is `dict<str, json>` to others: a typed dict of the same name is refused.
class json_dict : public detail::owner,
                  public json_object<json_dict, detail::root_place>,
                  public detail::lockable<json_dict>,
                  public detail::managed<json_dict> {
 public:
  json_dict() noexcept = default; // closed
  explicit json_dict(const std::string& name, const options& o = {}) : json_dict(open_or_create, name, o) {}
  explicit json_dict(open_or_create_t, const std::string& name, const options& o = {})
      : owner(open<detail::no_fill>(SHMD_OPEN_OR_CREATE, name, o, nullptr)) {}
  explicit json_dict(create_only_t, const std::string& name, const options& o = {})
      : owner(open<detail::no_fill>(SHMD_CREATE_ONLY, name, o, nullptr)) {}
  explicit json_dict(open_only_t, const std::string& name, const options& o = {})
      : owner(open<detail::no_fill>(SHMD_OPEN_ONLY, name, o, nullptr)) {}
  // With a first object, stored by the creator before anybody can see the dict, all or nothing.
  explicit json_dict(const std::string& name, const nlohmann::json& first, const options& o = {})
      : owner(fill(SHMD_OPEN_OR_CREATE, name, first, o)) {}
  explicit json_dict(create_only_t, const std::string& name, const nlohmann::json& first, const options& o = {})
      : owner(fill(SHMD_CREATE_ONLY, name, first, o)) {}

  // A new one with a random name, or without any; the one behind options::fd.
  explicit json_dict(create_only_t, const options& o = {})
      : owner(open<detail::no_fill>(SHMD_CREATE_ONLY, nullptr, o, nullptr)) {}
  explicit json_dict(anonymous_t, options o = {})
      : owner(open<detail::no_fill>(SHMD_OPEN_OR_CREATE, nullptr, o.nameless(), nullptr)) {}
  explicit json_dict(const options& o) : owner(open<detail::no_fill>(SHMD_OPEN_OR_CREATE, nullptr, o, nullptr)) {}

  json_dict(json_dict&&) noexcept = default;
  json_dict& operator=(json_dict&&) noexcept = default;

  detail::root_place place() const noexcept { return {raw(), handle_.get()}; }
  void rebind(shmd_node) noexcept {}

 private:
  template <class Fill>
  static std::shared_ptr<detail::handle> open(int mode, detail::maybe_name name, const options& o, Fill* fill) {
    return detail::open(mode, name, o, detail::name_str, detail::type_name<json_dict>::value, fill);
  }
  static std::shared_ptr<detail::handle> fill(int mode, const std::string& name, const nlohmann::json& first,
                                              const options& o) {
    auto store = [&](shmd_dict* d) {
      if (!first.is_object())
        throw detail::unplaced(errc::invalid_argument, "a json_dict as a whole takes an object only");
      detail::check_storable(first);
      return detail::store_json_object(d, shmd_root(), first, detail::json_store::replace);
    };
    return open(mode, name, o, &store);
  }
};

// An object inside a json_dict, by identity: copyable; once erased or replaced every use throws shm::removed.
class json_ref : public json_object<json_ref, detail::node_place>, public detail::lockable<json_ref> {
 public:
  json_ref() noexcept = default; // closed
  json_ref(std::shared_ptr<detail::handle> h, shmd_node node, std::string path, int keys = 0)
      : handle_(std::move(h)), node_(node), path_(std::move(path)), keys_(keys) {}

  const std::string& path() const noexcept { return path_; } // ["server"]
  detail::node_place place() const noexcept {
    return {handle_ ? handle_->get() : detail::closed_handle(), handle_.get(), node_, &path_, keys_};
  }
  void rebind(shmd_node fresh) noexcept { node_ = fresh; }

 private:
  friend struct detail::access;
  std::shared_ptr<detail::handle> handle_;
  shmd_node node_{0, 0};
  std::string path_;
  int keys_ = 0; // of the path
};

template <class Place>
json_ref json_proxy<Place>::ref() && {
  detail::check_storable_at(place_.parent, place_.key, nlohmann::json::object());
  shmd_node node{0, 0};
  const int result = detail::write_at(place_, [&](shmd_node n) { return node = n, 0; });
  if (result < 0) detail::throw_at(result, place_);
  std::string path;
  place_.describe(path);
  return json_ref(place_.owner->shared_from_this(), node, std::move(path), place_.depth());
}

template <class Derived, class Place>
json_ref json_object<Derived, Place>::at(detail::text_arg key) {
  const detail::child_place<Place, std::string> child(where(), key);
  shmd_node node;
  const int result = child.find(&node);
  if (result != 0) detail::throw_at(result, child);
  std::string path;
  child.describe(path);
  return json_ref(child.owner->shared_from_this(), node, std::move(path), child.depth());
}

replica(const json_dict&)->replica<std::string, json_dict>;
replica(const json_ref&)->replica<std::string, json_dict>;

// Conversions, each over one snapshot: string keys make an object, other keys an array of pairs.
inline void to_json(nlohmann::json& out, const json_dict& d) { out = d.to_json(); }
inline void to_json(nlohmann::json& out, const json_ref& d) { out = d.to_json(); }
template <class K, class V, class S>
void to_json(nlohmann::json& out, const dict<K, V, S>& d) {
  out = d.to_map();
}
template <class K, class V, bool ReadOnly>
void to_json(nlohmann::json& out, const dict_ref<K, V, ReadOnly>& d) {
  out = d.to_map();
}
template <class K, class V>
void to_json(nlohmann::json& out, const snapshot<K, V>& s) {
  out = s.to_map();
}

namespace detail {

// Durations become seconds.
template <class T>
void figures_to_json(nlohmann::json& out, const T& figures) {
  out = nlohmann::json::object();
  each_figure(figures, [&](const char* name, const auto& value) {
    using V = std::decay_t<decltype(value)>;
    if constexpr (std::is_same_v<V, std::chrono::nanoseconds>)
      out[name] = std::chrono::duration<double>(value).count();
    else if constexpr (std::is_same_v<V, unlink_policy>)
      out[name] = name_of(value);
    else if constexpr (std::is_same_v<V, std::string>)
      out[name] = printable(value);
    else
      out[name] = value;
  });
}

} // namespace detail

// Figures, by their names.
inline void to_json(nlohmann::json& out, const lock_state& s) { detail::figures_to_json(out, s); }
inline void to_json(nlohmann::json& out, const process& s) { detail::figures_to_json(out, s); }
inline void to_json(nlohmann::json& out, const named_lock_state& s) { detail::figures_to_json(out, s); }
inline void to_json(nlohmann::json& out, const status& s) {
  out = nlohmann::json::object();
  detail::figures_to_json(out["shared"], s.shared);
  detail::figures_to_json(out["local"], s.local);
  out["lock"] = s.lock;
  out["processes"] = s.processes;
  out["named_locks"] = s.named_locks;
}
inline void to_json(nlohmann::json& out, const object_info& o) {
  detail::figures_to_json(out, o);
  if (!o.error) out["lock"] = o.lock;
}

SHM_NAMESPACE_END
