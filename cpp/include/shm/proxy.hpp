// SPDX-License-Identifier: Apache-2.0
// What d[key] is, if the dict's values are plain: a reference to one value in shared memory, for one expression.
//
// Every member is &&-qualified: `auto x = d["a"]; int m = x;` does not compile, so no proxy outlives the key and handle
// that it refers to. Reading takes no lock. Each change is one atomic step across all processes; it starts from V{} if
// the key is absent, returns the new value, and creates missing levels above it in the same commit.
// Errors of reading: key_not_found. Of arithmetic: std::overflow_error, std::domain_error (division by zero, bad shift);
// the value is kept. Of writing: lock_timeout, no_space, read_only, removed, is_a_dict, not_a_dict, ...
#pragma once

#include <initializer_list>
#include <iosfwd>
#include <optional>
#include <type_traits>
#include <utility>

#include "detail/checked.hpp"
#include "detail/follow.hpp"
#include "detail/place.hpp"

SHM_NAMESPACE_BEGIN

namespace detail {

struct proxy_tag {};

// An empty list of these is what {} converts to best, whatever else a function takes; no list of them has elements.
class no_element {
  no_element() {} // NOLINT(modernize-use-equals-default): {} must not make one
};
template <class T>
inline constexpr bool is_proxy = std::is_base_of_v<proxy_tag, T>;

// Whether F asks for an optional<V>, of which a V would do too. Generic lambdas get a V.
template <class F, class = void>
struct has_one_call : std::bool_constant<!std::is_class_v<F>> {};
template <class F>
struct has_one_call<F, std::void_t<decltype(&F::operator())>> : std::true_type {};
template <class F, class V>
constexpr bool takes_optional() {
  if constexpr (has_one_call<F>::value && !std::is_convertible_v<std::nullopt_t, V>)
    return std::is_invocable_v<F&, std::nullopt_t>;
  else
    return false;
}

// Integers of different signs compare by value, and without warnings.
template <class A, class B, class Compare>
auto compare(const A& a, const B& b, Compare compare) {
  if constexpr (both_integers<A, B>) {
    if constexpr (std::is_signed_v<A> && !std::is_signed_v<B>) {
      if (a < 0) return compare(-1, 0);
    } else if constexpr (!std::is_signed_v<A> && std::is_signed_v<B>) {
      if (b < 0) return compare(0, -1);
    }
    using C = std::common_type_t<A, B>;
    return compare(static_cast<C>(a), static_cast<C>(b));
  } else {
    return compare(a, b);
  }
}

} // namespace detail

// Reading: what a const dict's operator[] returns.
template <class Place, class K, class V>
class value_view : detail::proxy_tag {
 public:
  using value_type = local_t<V>; // V, but for a dict with its own serializer

  value_view(const Place& place, detail::arg_t<K> key) : place_(place), key_(detail::key_at<K>(place, key)) {}
  value_view(const value_view&) = delete;
  value_view& operator=(const value_view&) = delete;

  SHM_INLINE operator value_type() && { return std::move(*this).value(); }
  operator value_type() & = delete; // a proxy lives for one expression: name a value instead, V x = d["a"]
  SHM_INLINE value_type value() && {
    auto out = detail::load_at<K, V>(place_, key_);
    if (!out) detail::throw_at<K>(SHMD_NOT_FOUND, place_, key_);
    return std::move(*out);
  }
  // nullopt, or the default, if it is absent.
  SHM_INLINE std::optional<value_type> get() && { return detail::load_at<K, V>(place_, key_); }
  value_type get(value_type otherwise) && {
    auto out = std::move(*this).get();
    return out ? std::move(*out) : std::move(otherwise);
  }
  bool exists() && {
    const int result =
        detail::read_at(place_, [&](shmd_node n) { return shmd_contains(place_.d, n, key_.data(), key_.size()); });
    if (result < 0 && result != SHMD_ERR_IS_A_DICT) detail::throw_at<K>(result, place_, key_);
    return result != SHMD_NOT_FOUND;
  }

  // The changes of this one key: put, erase (also when the dict that it is in goes or is emptied), resync. See watch.hpp.
  watcher<K, V> watch(std::uint64_t since = SHMD_NOW) && {
    return watcher<K, V>(detail::watched_place(place_, key_), since, true);
  }

 protected:
  Place place_;
  detail::encoded_key<K> key_;
};

// Reading and writing.
template <class Place, class K, class V>
class value_proxy : public value_view<Place, K, V> {
 public:
  using value_view<Place, K, V>::value_view;
  using typename value_view<Place, K, V>::value_type;

  // d["a"] = d["b"] copies the value. Nothing is returned: a chain would have to read back.
  void operator=(const value_type& v) && { store(v); }
  // d["a"] = {}: value_type{}, an empty string, container or optional, 0. Of all overloads this alone converts nothing.
  void operator=(std::initializer_list<detail::no_element>) && { store(value_type{}); }
  // NOLINTNEXTLINE(performance-noexcept-move-constructor): it writes to the dict
  void operator=(value_proxy&& other) && { store(std::move(other).value()); }
  template <class P, class K2, class V2>
  void operator=(value_view<P, K2, V2>&& other) && {
    store(std::move(other).value());
  }
  template <class P, class K2, class V2>
  void operator=(value_proxy<P, K2, V2>&& other) && {
    store(std::move(other).value());
  }
  // Literals and string_views without a std::string.
  template <class S,
            class = std::enable_if_t<detail::is_string<V> && std::is_convertible_v<const S&, std::string_view> &&
                                     !std::is_same_v<S, std::string> && !std::is_null_pointer_v<S>>>
  void operator=(const S& s) && {
    store(s);
  }
  // A std::string takes 0 and nullptr for a pointer to text.
  template <class T,
            class = std::enable_if_t<detail::is_string<V> && (std::is_arithmetic_v<T> || std::is_null_pointer_v<T>)>>
  void operator=(T) && = delete; // shm: a value of this dict is text; numbers and nullptr are none

#define SHM_COMPOUND(op, function) \
  template <class T, class = std::enable_if_t<!detail::is_proxy<T>>> \
  value_type operator op(const T& operand)&& { \
    return apply<detail::function>(operand); \
  } \
  template <class P, class K2, class V2> \
  value_type operator op(value_view<P, K2, V2>&& operand)&& { \
    return apply<detail::function>(std::move(operand).value()); \
  }
  SHM_COMPOUND(+=, add)
  SHM_COMPOUND(-=, subtract)
  SHM_COMPOUND(*=, multiply)
  SHM_COMPOUND(/=, divide)
  SHM_COMPOUND(%=, modulo)
  SHM_COMPOUND(&=, bit_and)
  SHM_COMPOUND(|=, bit_or)
  SHM_COMPOUND(^=, bit_xor)
  SHM_COMPOUND(<<=, shift_left)
  SHM_COMPOUND(>>=, shift_right)
#undef SHM_COMPOUND
  value_type operator++() && { return apply<detail::add>(1); }
  value_type operator--() && { return apply<detail::subtract>(1); }
  value_type operator++(int) && { // the value before
    value_type before{};
    step([&](value_type& v) { before = v, detail::add::apply(v, 1); });
    return before;
  }
  value_type operator--(int) && {
    value_type before{};
    step([&](value_type& v) { before = v, detail::subtract::apply(v, 1); });
    return before;
  }

  // change(V) or change(V&) or change(std::optional<V>): the new value; void changes in place; an empty optional erases.
  // It runs under the lock, once: keep it short. It may use the dict, even close it: the value is stored all the same. What
  // it throws is thrown on, the value is kept.
  // Returns the new value (an optional if `change` returns one).
  template <class F>
  auto update(F&& change) && {
    const detail::keep_open keep(this->place_.d, this->place_.owner);
    if constexpr (detail::takes_optional<std::remove_reference_t<F>, value_type>()) {
      return step_optional([&](std::optional<value_type>& v) { v = change(std::move(v)); });
    } else {
      static_assert(std::is_invocable_v<F&, value_type&> || std::is_invocable_v<F&, value_type>,
                    "shm: update() takes a function of V, V& or std::optional<V>");
      using R = decltype(call(change, std::declval<value_type&>()));
      if constexpr (std::is_void_v<R> || std::is_convertible_v<R, value_type>) {
        return step([&](value_type& v) {
          if constexpr (std::is_void_v<R>)
            call(change, v);
          else
            v = call(change, v);
        });
      } else {
        return step_optional([&](std::optional<value_type>& v) {
          if (!v) v.emplace();
          v = call(change, *v);
        });
      }
    }
  }

  // Stores `desired` if the value equals `expected`; else false, and `expected` becomes the present value.
  // An absent key throws key_not_found, unless `expected` is an optional (nullopt: absent).
  bool compare_exchange(value_type& expected, const value_type& desired) && {
    std::optional<value_type> wanted(expected);
    if (exchange(wanted, desired)) return true;
    if (!wanted) detail::throw_at<K>(SHMD_NOT_FOUND, this->place_, this->key_);
    expected = std::move(*wanted);
    return false;
  }
  bool compare_exchange(const value_type& expected, const value_type& desired) && {
    value_type copy(expected);
    return std::move(*this).compare_exchange(copy, desired);
  }
  bool compare_exchange(std::optional<value_type>& expected, const value_type& desired) && {
    return exchange(expected, desired);
  }

  // Whether there was something to erase.
  bool erase() && {
    const int result = detail::read_at(
        this->place_, [&](shmd_node n) { return shmd_erase(this->place_.d, n, this->key_.data(), this->key_.size()); });
    if (result < 0) detail::throw_at<K>(result, this->place_, this->key_);
    return result == 0;
  }

 private:
  template <class F, class A>
  static decltype(auto) call(F& f, A& v) {
    if constexpr (std::is_invocable_v<F&, A&>)
      return f(v);
    else
      return f(A(v));
  }

  void store(detail::arg_t<V> v) {
    const auto bytes = detail::value_at<V>(this->place_, this->key_, v);
    const int result = detail::write_at(this->place_, [&](shmd_node n) {
      return shmd_put(this->place_.d, n, this->key_.data(), this->key_.size(), bytes.data(), bytes.size(), 0);
    });
    if (result < 0) detail::throw_at<K>(result, this->place_, this->key_);
  }

  template <class F>
  value_type step(F&& f) {
    value_type now{};
    detail::change_at<K, V>(this->place_, this->key_, [&](std::optional<value_type>& v) {
      if (!v) v.emplace();
      f(*v);
      now = *v;
      return SHMD_OK;
    });
    return now;
  }
  template <class F>
  std::optional<value_type> step_optional(F&& f) {
    std::optional<value_type> now;
    detail::change_at<K, V>(this->place_, this->key_, [&](std::optional<value_type>& v) {
      f(v);
      now = v;
      return SHMD_OK;
    });
    return now;
  }
  template <class Op, class T>
  value_type apply(const T& operand) {
    static_assert(!std::is_same_v<value_type, bool>,
                  "shm: no arithmetic on a bool value; assign to it, or use update()");
    return step([&](value_type& v) { Op::apply(v, operand); });
  }
  bool exchange(std::optional<value_type>& expected, const value_type& desired) {
    bool done = false;
    detail::change_at<K, V>(this->place_, this->key_, [&](std::optional<value_type>& v) {
      done = v == expected;
      if (done)
        v = desired;
      else
        expected = v;
      return done ? SHMD_OK : SHMD_KEPT;
    });
    return done;
  }
};

// Comparison reads the value: an absent key throws key_not_found.
#define SHM_COMPARE(op) \
  template <class P, class K, class V, class T, class = std::enable_if_t<!detail::is_proxy<T>>> \
  auto operator op(value_view<P, K, V>&& a, const T& b)->decltype(std::declval<local_t<V>>() op b) { \
    return detail::compare(std::move(a).value(), b, [](const auto& x, const auto& y) { return x op y; }); \
  } \
  template <class P, class K, class V, class T, class = std::enable_if_t<!detail::is_proxy<T>>> \
  auto operator op(const T& a, value_view<P, K, V>&& b)->decltype(a op std::declval<local_t<V>>()) { \
    return detail::compare(a, std::move(b).value(), [](const auto& x, const auto& y) { return x op y; }); \
  } \
  template <class P, class K, class V, class P2, class K2, class V2> \
  auto operator op(value_view<P, K, V>&& a, value_view<P2, K2, V2>&& b) \
      ->decltype(std::declval<local_t<V>>() op std::declval<local_t<V2>>()) { \
    return detail::compare(std::move(a).value(), std::move(b).value(), \
                           [](const auto& x, const auto& y) { return x op y; }); \
  }
SHM_COMPARE(==)
SHM_COMPARE(!=)
SHM_COMPARE(<)
SHM_COMPARE(<=)
SHM_COMPARE(>)
SHM_COMPARE(>=)
#undef SHM_COMPARE

template <class C, class Traits, class P, class K, class V>
std::basic_ostream<C, Traits>& operator<<(std::basic_ostream<C, Traits>& out, value_view<P, K, V>&& v) {
  return out << std::move(v).value();
}

SHM_NAMESPACE_END
