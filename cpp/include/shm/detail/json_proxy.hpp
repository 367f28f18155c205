// SPDX-License-Identifier: Apache-2.0
// What j[key] is: a leaf or an object of a json_dict, for one expression.
#pragma once

#include <chrono>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "../proxy.hpp"
#include "../serializers_json.hpp"
#include "computing.hpp"
#include "json_tree.hpp"
#include "reading.hpp"

SHM_NAMESPACE_BEGIN

class json_ref;

namespace detail {

// What a json_dict, a ref and a proxy have in common; see json.hpp.
template <class Place, class Keys>
std::vector<std::optional<nlohmann::json>> get_many_json(const Place& place, const Keys& keys) {
  return read_whole(place.d, [&] {
    std::vector<std::optional<nlohmann::json>> out;
    const snapshot_state s(place.d, place.owner);
    shmd_node node;
    const int found = place.find(s.get(), &node);
    if (found < 0) throw_at(found, place);
    for (const auto& key : keys) {
      const encoded_key<std::string> k(key);
      auto& value = out.emplace_back();
      json_losses losses{place.d, nullptr, {}};
      try {
        const int result = found == 0 ? load_json_at(s.get(), node, k, losses, value) : found;
        if (result < 0) throw_at<std::string>(result, place, k);
      } catch (const error&) {
        rethrow_at(place, k);
      }
    }
    return out;
  });
}
// Before something is stored under a key of the dict at a place, which creates it if it is missing.
template <class Place>
void check_storable_at(const Place& place, const encoded_key<std::string>& key, const nlohmann::json& value) {
  try {
    if (place.depth() >= json_depth)
      throw unplaced(errc::invalid_argument, "dicts of JSON can be nested 1,000 levels deep; this would be one more");
    check_storable(value, json_depth - 1 - place.depth());
  } catch (const error&) {
    rethrow_at(place, key);
  }
}
template <class Place>
nlohmann::json setdefault_json(const Place& place, text_arg key, nlohmann::json otherwise);
template <class Place, class F>
nlohmann::json get_or_compute_json(const Place& place, text_arg key, F& compute, std::int64_t timeout);

} // namespace detail

// What a const json_dict's operator[] returns: the leaf or object under a key, for one expression.
template <class Place>
class json_view : detail::proxy_tag {
 public:
  json_view(const Place& place, detail::text_arg key) : place_(place, key) {}
  json_view(const json_view&) = delete;
  json_view& operator=(const json_view&) = delete;

  auto operator[](detail::text_arg key) && { return json_view<detail::child_place<Place, std::string>>(place_, key); }
  // A leaf, or an object with all that is in it; throws key_not_found.
  nlohmann::json value() && {
    auto out = std::move(*this).find();
    if (!out) detail::throw_at(SHMD_NOT_FOUND, place_);
    return std::move(*out);
  }
  // What cannot be read is thrown if it is what stands here. If it is a part of an object, that part is a discarded value, and
  // is told in `unreadable`: errors that name dict and path.
  std::optional<nlohmann::json> find(std::vector<error>* unreadable = nullptr) && {
    auto leaf = read_leaf();
    return leaf.first == SHMD_ERR_IS_A_DICT ? read_any(unreadable) : std::move(leaf.second);
  }
  template <class T>
  T get() && {
    return std::move(*this).value().template get<T>();
  }
  template <class T>
  T value_or(T otherwise) && {
    auto out = std::move(*this).find();
    return out ? out->template get<T>() : std::move(otherwise);
  }
  bool exists() && { return contains() != SHMD_NOT_FOUND; }
  bool contains(detail::text_arg key) && { return std::move(*this)[key].exists(); }
  bool is_object() && { return contains() == SHMD_ERR_IS_A_DICT; }
  // Keys of an object; 0 if there is nothing. Throws not_a_dict at a leaf.
  std::size_t size() && {
    std::uint64_t n = 0;
    const int result = detail::read_at(place_, [&](shmd_node node) { return shmd_count(place_.d, node, &n); });
    if (result < 0) detail::throw_at(result, place_);
    return static_cast<std::size_t>(n);
  }
  // Of the object that stands here: replacing or erasing it is a `clear`, with the leaf that now is here, if one is.
  watcher<std::string, json_dict> watch(std::uint64_t since = from_now) && {
    return {detail::watched_place(place_), since};
  }
  // Until what stands here, or under a key of it, is as wanted: as of json_dict.
  template <class Predicate>
  void wait(Predicate predicate) && {
    static_cast<void>(detail::wait_at(detail::watched_place(place_), detail::never, [&] { return holds(predicate); }));
  }
  template <class Predicate, class Rep, class Period>
  bool wait_for(Predicate predicate, std::chrono::duration<Rep, Period> timeout) && {
    return detail::wait_at(detail::watched_place(place_), detail::follower::after(timeout),
                           [&] { return holds(predicate); });
  }
  template <class Predicate>
  void wait(detail::text_arg key, Predicate predicate) && {
    std::move(*this)[key].wait(std::move(predicate));
  }
  template <class Predicate, class Rep, class Period>
  bool wait_for(detail::text_arg key, Predicate predicate, std::chrono::duration<Rep, Period> timeout) && {
    return std::move(*this)[key].wait_for(std::move(predicate), timeout);
  }
  // Of the object that stands here; a missing one has nothing.
  template <class Keys = std::initializer_list<std::string>>
  auto get_many(const Keys& keys) && {
    return detail::get_many_json(place_, keys);
  }
  auto scan(detail::text_arg prefix, std::uint64_t cursor = 0, std::size_t limit = 1000) && {
    return detail::scan_at<std::string, json_dict>(place_, prefix, cursor, limit);
  }
  auto scan(std::uint64_t cursor = 0, std::size_t limit = 1000) && { return std::move(*this).scan("", cursor, limit); }
  friend void to_json(nlohmann::json& out, json_view&& v) { out = std::move(v).value(); }

 protected:
  template <class Predicate>
  bool holds(Predicate& predicate) {
    return detail::holds<nlohmann::json>(predicate, std::move(*this).find());
  }
  int contains() const {
    const auto& key = place_.key;
    const int result =
        detail::read_at(place_.parent, [&](shmd_node n) { return shmd_contains(place_.d, n, key.data(), key.size()); });
    if (result < 0 && result != SHMD_ERR_IS_A_DICT) detail::throw_at(result, place_);
    return result;
  }
  std::pair<int, std::optional<nlohmann::json>> read_leaf() const {
    std::optional<nlohmann::json> out;
    const int result = detail::get_at<nlohmann::json>(place_.parent, place_.key, out);
    if (result < 0 && result != SHMD_ERR_IS_A_DICT) detail::throw_at(result, place_);
    return {result, std::move(out)};
  }
  std::optional<nlohmann::json> read_any(std::vector<error>* unreadable) const {
    return detail::read_whole(place_.d, [&] {
      if (unreadable != nullptr) unreadable->clear();
      return read_once(unreadable);
    });
  }
  std::optional<nlohmann::json> read_once(std::vector<error>* unreadable) const {
    detail::snapshot_state s(place_.d, place_.owner);
    std::optional<nlohmann::json> out;
    detail::json_losses losses{place_.d, unreadable, {}};
    if (unreadable != nullptr) place_.parent.describe(losses.path);
    shmd_node up;
    int result = place_.parent.find(s.get(), &up);
    try {
      // a leaf, if it became one meanwhile
      if (result == 0) result = detail::load_json_at(s.get(), up, place_.key, losses, out);
    } catch (const error&) {
      detail::rethrow_in(place_);
    }
    if (result < 0) detail::throw_at(result, place_);
    return out;
  }

  detail::child_place<Place, std::string> place_;
};

// The same with writing. Each call is one atomic step, or one commit.
template <class Place>
class json_proxy : public json_view<Place> {
  using json_view<Place>::place_;

 public:
  using json_view<Place>::json_view;

  auto operator[](detail::text_arg key) && { return json_proxy<detail::child_place<Place, std::string>>(place_, key); }

  void operator=(const nlohmann::json& value) && { store(value, detail::json_store::replace); }
  void operator=(std::initializer_list<detail::no_element>) && { store({}, detail::json_store::replace); } // null
  // NOLINTNEXTLINE(performance-noexcept-move-constructor): it writes to the dict
  void operator=(json_proxy&& other) && { store(std::move(other).value(), detail::json_store::replace); }
  template <class P>
  void operator=(json_view<P>&& other) && {
    store(std::move(other).value(), detail::json_store::replace);
  }
  template <class P>
  void operator=(json_proxy<P>&& other) && {
    store(std::move(other).value(), detail::json_store::replace);
  }
  // Objects are merged with the object that is there, key by key and deeply; anything else replaces.
  void merge(const nlohmann::json& value) && { store(value, detail::json_store::merge); }

  // Numbers and strings; an absent one counts as 0 or "". Signed overflow throws std::overflow_error, the value is kept.
  template <class T>
  nlohmann::json operator+=(const T& operand) && {
    return change([&](auto& j) { detail::json_apply<detail::add>(j, operand); });
  }
  template <class T>
  nlohmann::json operator-=(const T& operand) && {
    return change([&](auto& j) { detail::json_apply<detail::subtract>(j, operand); });
  }
  nlohmann::json operator++() && { return std::move(*this) += 1; }
  nlohmann::json operator--() && { return std::move(*this) -= 1; }
  // change(nlohmann::json leaf) gives the new leaf (not an object); null if there was none. Returns it.
  template <class F>
  nlohmann::json update(F&& f) && {
    const detail::keep_open keep(place_.d, place_.owner);
    return change([&](auto& j) { j = f(j ? std::move(*j) : nlohmann::json()); });
  }

  // Whether there was something to erase; an object goes with all that is in it.
  bool erase() && {
    const auto& key = place_.key;
    const int result =
        detail::read_at(place_.parent, [&](shmd_node n) { return shmd_erase(place_.d, n, key.data(), key.size()); });
    if (result < 0) detail::throw_at(result, place_);
    return result == 0;
  }
  bool erase(detail::text_arg key) && { return std::move(*this)[key].erase(); }
  template <class F>
  nlohmann::json get_or_compute(detail::text_arg key, F&& compute) && {
    return detail::get_or_compute_json(place_, key, compute, SHMD_FOREVER);
  }
  template <class F, class Rep, class Period>
  nlohmann::json get_or_compute(detail::text_arg key, F&& compute, std::chrono::duration<Rep, Period> timeout) && {
    return detail::get_or_compute_json(place_, key, compute, detail::timeout_ns(timeout));
  }
  json_ref ref() &&; // the object, created if missing

 private:
  void store(const nlohmann::json& value, detail::json_store how) {
    detail::check_storable_at(place_.parent, place_.key, value);
    const std::string key(static_cast<const char*>(place_.key.data()), place_.key.size());
    detail::commit_at(place_.parent, [&](shmd_node up) { return detail::store_json(place_.d, up, key, value, how); });
  }
  template <class F>
  nlohmann::json change(F&& f) {
    nlohmann::json now;
    detail::check_storable_at(place_.parent, place_.key, now); // the levels above it
    detail::change_at<std::string, nlohmann::json>(place_.parent, place_.key, [&](std::optional<nlohmann::json>& j) {
      f(j);
      if (j->is_object())
        throw detail::unplaced(errc::invalid_argument, "an object is stored by assignment, not by update()");
      detail::check_storable(*j, detail::json_depth - 1 - place_.parent.depth());
      now = *j;
      return SHMD_OK;
    });
    return now;
  }
};

namespace detail {

template <class Place>
nlohmann::json setdefault_json(const Place& place, text_arg key, nlohmann::json otherwise) {
  const auto present = [&] { return json_view<Place>(place, key).find(); };
  if (auto out = present()) return std::move(*out);
  commit_scope scope(place.d);
  auto out = present(); // made meanwhile?
  if (!out) json_proxy<Place>(place, key) = out.emplace(std::move(otherwise));
  check(scope.commit());
  return std::move(*out);
}
template <class Place, class F>
nlohmann::json get_or_compute_json(const Place& place, text_arg key, F& compute, std::int64_t timeout) {
  check_storable_at(place, encoded_key<std::string>(key), nullptr);
  return compute_once(
      place, encoded_key<std::string>(key), timeout, [&] { return json_view<Place>(place, key).find(); },
      [&]() -> nlohmann::json { return setdefault_json(place, key, compute()); });
}

} // namespace detail

// Comparison reads: throws key_not_found.
template <class P, class T, class = std::enable_if_t<!detail::is_proxy<T>>>
bool operator==(json_view<P>&& a, const T& b) {
  return std::move(a).value() == nlohmann::json(b);
}
template <class P, class T, class = std::enable_if_t<!detail::is_proxy<T>>>
bool operator!=(json_view<P>&& a, const T& b) {
  return !(std::move(a).value() == nlohmann::json(b));
}

SHM_NAMESPACE_END
