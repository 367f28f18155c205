// SPDX-License-Identifier: Apache-2.0
// Serializers of the standard library's types.
//
//   type                                     name           bytes
//   string                                   str            u32 length, bytes
//   vector<byte>, vector<unsigned char>      bytes          u32 length, bytes
//   vector<T>, deque<T>, list<T>             vec<T>         u32 count, elements
//   wstring, u16string, u32string            vec<i32> ...   as a vector of their characters, which are numbers here
//   array<T, N>                              arr<T,N>       elements
//   bitset<N>                                arr<bool,N>    a byte for each bit
//   set, unordered_set                       set<T>         u32 count, elements
//   map, unordered_map                       map<K,V>       u32 count, keys and values in turn
//   optional<T>                              opt<T>         u8 0, or u8 1 and the value
//   pair, tuple                              tuple<A,...>   elements
//   variant                                  var<A,...>     u32 index, the alternative
//   monostate, tuple<>, array<T, 0>          unit ...       u8 0
//   chrono::duration<R, ratio<N, D>>         dur<R,N,D>     R: how many, each N/D of a second
//   chrono::time_point of system_clock       system_time<dur<R,N,D>>   since 1970
//   chrono::time_point of steady_clock       steady_time<dur<R,N,D>>   since the machine started: means nothing after that
// complex and filesystem::path are in serializers_more.hpp, for their headers are large. Not here: forward_list, multiset and
// multimap, stack, queue, priority_queue, valarray, u8string, any, function, error_code, thread ids, time points of other
// clocks: convert them, or write a serializer.
// As a whole key or value a string or bytes stands without its length.
// Keys: ordered containers with std::less; unordered ones have no canonical bytes.
#pragma once

#include <array>
#include <bitset>
#include <chrono>
#include <deque>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <variant>
#include <vector>

#include "serializer.hpp"

SHM_NAMESPACE_BEGIN
namespace detail {

template <class T>
std::size_t size_of(const T& v) {
  return serializer<T>{}.size(v);
}

// Elements of no bytes would let a hostile count loop for ever: readers refuse them, so writers do.
inline void check_elements(std::size_t count, std::size_t bytes) {
  if (bytes < count) throw std::logic_error("shm::serializer: an element of a container must have at least one byte");
}

template <class T>
inline constexpr bool copies_as_block = is_scalar<T> && !std::is_same_v<T, bool> && (little_endian || sizeof(T) == 1);

template <class T>
void write_elements(const T* data, std::size_t n, writer& w) {
  if (copies_as_block<T> && !(std::is_floating_point_v<T> && w.for_key()))
    w.bytes(data, n * sizeof(T));
  else
    for (std::size_t i = 0; i < n; ++i) w.value(data[i]);
}

// sets and maps: Element is what they hold, without const.
template <class C, class Element>
struct container_serializer {
  static std::size_t size(const C& c) {
    std::size_t sum = 4;
    for (const auto& e : c) sum += element_size(e);
    check_elements(c.size(), sum - 4);
    return sum;
  }
  static void write(const C& c, writer& w) {
    w.count(c.size());
    for (const auto& e : c) element_write(e, w);
  }
  static C read(reader& r) {
    C c;
    for (std::size_t n = r.count(); n > 0; --n)
      if (!c.insert(r.value<Element>()).second) r.fail("an element appears twice");
    return c;
  }

 private:
  template <class T>
  static std::size_t element_size(const T& e) {
    return size_of(e);
  }
  template <class A, class B>
  static std::size_t element_size(const std::pair<const A, B>& e) {
    return size_of(e.first) + size_of(e.second);
  }
  template <class T>
  static void element_write(const T& e, writer& w) {
    w.value(e);
  }
  template <class A, class B>
  static void element_write(const std::pair<const A, B>& e, writer& w) {
    w.value(e.first);
    w.value(e.second);
  }
};

template <class T>
struct byte_vector_serializer {
  static constexpr std::string_view name = name_bytes;
  static constexpr bool canonical = true;
  static std::size_t size(const std::vector<T>& v) noexcept { return 4 + v.size(); }
  static void write(const std::vector<T>& v, writer& w) {
    w.count(v.size());
    w.bytes(v.data(), v.size());
  }
  static std::vector<T> read(reader& r) {
    const std::size_t n = r.count();
    const auto* p = reinterpret_cast<const T*>(r.bytes(n));
    return std::vector<T>(p, p + n);
  }
};

// Values without content still take a byte.
template <class T>
struct unit_serializer {
  static constexpr bool canonical = true;
  static constexpr std::size_t size(const T&) noexcept { return 1; }
  static void write(const T&, writer& w) { w.number(std::uint8_t{0}); }
  static T read(reader& r) {
    if (r.number<std::uint8_t>() != 0) r.fail("something stands where nothing can");
    return T{};
  }
};

template <class Compare, class T>
inline constexpr bool is_plain_less = std::is_same_v<Compare, std::less<T>> || std::is_same_v<Compare, std::less<>>;

} // namespace detail

template <>
struct serializer<std::string> {
  static constexpr std::string_view name = detail::name_str;
  static constexpr bool canonical = true;
  static std::size_t size(const std::string& s) noexcept { return 4 + s.size(); }
  static void write(const std::string& s, writer& w) {
    w.count(s.size());
    w.bytes(s.data(), s.size());
  }
  static std::string read(reader& r) {
    const std::size_t n = r.count();
    return std::string(r.text(n));
  }
};

template <>
struct serializer<std::vector<std::byte>> : detail::byte_vector_serializer<std::byte> {};
template <>
struct serializer<std::vector<unsigned char>> : detail::byte_vector_serializer<unsigned char> {};

template <class T>
struct serializer<std::vector<T>> {
  static constexpr std::string_view name = detail::applied<detail::name_vec, serializer<T>::name>;
  static constexpr bool canonical = is_key_v<T>;
  static std::size_t size(const std::vector<T>& v) {
    if constexpr (detail::is_scalar<T>) return 4 + v.size() * sizeof(T);
    std::size_t sum = 4;
    for (const T& e : v) sum += detail::size_of<T>(e);
    detail::check_elements(v.size(), sum - 4);
    return sum;
  }
  static void write(const std::vector<T>& v, writer& w) {
    w.count(v.size());
    if constexpr (std::is_same_v<T, bool>)
      for (const bool e : v) w.number(e);
    else
      detail::write_elements(v.data(), v.size(), w);
  }
  static std::vector<T> read(reader& r) {
    if constexpr (detail::copies_as_block<T>) {
      std::vector<T> v(r.count(sizeof(T)));
      const unsigned char* from = r.bytes(v.size() * sizeof(T));
      if (!v.empty()) std::memcpy(v.data(), from, v.size() * sizeof(T));
      return v;
    } else {
      std::vector<T> v; // not reserved: an element may be many times larger than its bytes
      for (std::size_t n = r.count(); n > 0; --n) v.push_back(r.template value<T>());
      return v;
    }
  }
};

namespace detail {

// Other sequences, as a vector of the same elements.
template <class C>
struct sequence_serializer {
  using T = typename C::value_type;
  static constexpr std::string_view name = applied<name_vec, serializer<T>::name>;
  static constexpr bool canonical = is_key_v<T>;
  static std::size_t size(const C& c) {
    if constexpr (is_scalar<T>) return 4 + c.size() * sizeof(T);
    std::size_t sum = 4;
    for (const T& e : c) sum += size_of<T>(e);
    check_elements(c.size(), sum - 4);
    return sum;
  }
  static void write(const C& c, writer& w) {
    w.count(c.size());
    for (const T& e : c) w.value(e);
  }
  static C read(reader& r) {
    C c; // not reserved: an element may be many times larger than its bytes
    for (std::size_t n = r.count(); n > 0; --n) c.push_back(r.template value<T>());
    return c;
  }
};

} // namespace detail

template <class T>
struct serializer<std::deque<T>> : detail::sequence_serializer<std::deque<T>> {};
template <class T>
struct serializer<std::list<T>> : detail::sequence_serializer<std::list<T>> {};
template <>
struct serializer<std::wstring> : detail::sequence_serializer<std::wstring> {};
template <>
struct serializer<std::u16string> : detail::sequence_serializer<std::u16string> {};
template <>
struct serializer<std::u32string> : detail::sequence_serializer<std::u32string> {};

template <std::size_t N>
struct serializer<std::bitset<N>> {
  static constexpr std::string_view name =
      detail::applied<detail::name_arr, detail::name_bool, detail::decimal<N>::value>;
  static constexpr bool canonical = true;
  static constexpr std::size_t size(const std::bitset<N>&) noexcept { return N == 0 ? 1 : N; }
  static void write(const std::bitset<N>& b, writer& w) {
    if constexpr (N == 0) w.number(std::uint8_t{0});
    for (std::size_t i = 0; i < N; ++i) w.number(b[i]);
  }
  static std::bitset<N> read(reader& r) {
    if constexpr (N == 0)
      if (r.number<std::uint8_t>() != 0) r.fail("something stands where nothing can");
    std::bitset<N> b;
    for (std::size_t i = 0; i < N; ++i) b[i] = r.number<bool>();
    return b;
  }
};

template <class Rep, class Period>
struct serializer<std::chrono::duration<Rep, Period>> {
  using duration = std::chrono::duration<Rep, Period>;
  static constexpr std::string_view name =
      detail::applied<detail::name_dur, serializer<Rep>::name, detail::decimal<std::size_t{Period::num}>::value,
                      detail::decimal<std::size_t{Period::den}>::value>;
  static constexpr bool canonical = is_key_v<Rep>;
  static std::size_t size(const duration& d) { return detail::size_of<Rep>(d.count()); }
  static void write(const duration& d, writer& w) { w.value<Rep>(d.count()); }
  static duration read(reader& r) { return duration(r.template value<Rep>()); }
};

namespace detail {

template <class Clock>
struct clock_name {
  static_assert(
      std::is_same_v<Clock, std::chrono::steady_clock>,
      "shm: only time points of system_clock and steady_clock have serializers: other clocks may begin anywhere, "
      "in each process; store a duration, or write a serializer");
  static constexpr std::string_view value = name_steady_time;
};
template <>
struct clock_name<std::chrono::system_clock> {
  static constexpr std::string_view value = name_system_time;
};

} // namespace detail

template <class Clock, class Duration>
struct serializer<std::chrono::time_point<Clock, Duration>> {
  using time_point = std::chrono::time_point<Clock, Duration>;
  static constexpr std::string_view name =
      detail::applied<detail::clock_name<Clock>::value, serializer<Duration>::name>;
  static constexpr bool canonical = is_key_v<Duration>;
  static std::size_t size(const time_point& t) { return detail::size_of<Duration>(t.time_since_epoch()); }
  static void write(const time_point& t, writer& w) { w.value<Duration>(t.time_since_epoch()); }
  static time_point read(reader& r) { return time_point(r.template value<Duration>()); }
};

template <class T, std::size_t N>
struct serializer<std::array<T, N>> {
  static constexpr std::string_view name =
      detail::applied<detail::name_arr, serializer<T>::name, detail::decimal<N>::value>;
  static constexpr bool canonical = is_key_v<T>;
  static std::size_t size(const std::array<T, N>& a) {
    std::size_t sum = 0;
    for (const T& e : a) sum += detail::size_of<T>(e);
    return sum;
  }
  static void write(const std::array<T, N>& a, writer& w) { detail::write_elements(a.data(), N, w); }
  static std::array<T, N> read(reader& r) { return read(r, std::make_index_sequence<N>{}); }

 private:
  template <std::size_t... I>
  static std::array<T, N> read(reader& r, std::index_sequence<I...>) {
    return {{(static_cast<void>(I), r.template value<T>())...}}; // braces: evaluated in order
  }
};
template <class T>
struct serializer<std::array<T, 0>> : detail::unit_serializer<std::array<T, 0>> {
  static constexpr std::string_view name =
      detail::applied<detail::name_arr, serializer<T>::name, detail::decimal<0>::value>;
};

template <class T, class C>
struct serializer<std::set<T, C>> : detail::container_serializer<std::set<T, C>, T> {
  static constexpr std::string_view name = detail::applied<detail::name_set, serializer<T>::name>;
  static constexpr bool canonical = is_key_v<T> && detail::is_plain_less<C, T>;
};
template <class T, class H, class E>
struct serializer<std::unordered_set<T, H, E>> : detail::container_serializer<std::unordered_set<T, H, E>, T> {
  static constexpr std::string_view name = detail::applied<detail::name_set, serializer<T>::name>;
  static constexpr bool canonical = false;
};
template <class K, class V, class C>
struct serializer<std::map<K, V, C>> : detail::container_serializer<std::map<K, V, C>, std::pair<K, V>> {
  static constexpr std::string_view name = detail::applied<detail::name_map, serializer<K>::name, serializer<V>::name>;
  static constexpr bool canonical = is_key_v<K> && is_key_v<V> && detail::is_plain_less<C, K>;
};
template <class K, class V, class H, class E>
struct serializer<std::unordered_map<K, V, H, E>>
    : detail::container_serializer<std::unordered_map<K, V, H, E>, std::pair<K, V>> {
  static constexpr std::string_view name = detail::applied<detail::name_map, serializer<K>::name, serializer<V>::name>;
  static constexpr bool canonical = false;
};

template <class T>
struct serializer<std::optional<T>> {
  static constexpr std::string_view name = detail::applied<detail::name_opt, serializer<T>::name>;
  static constexpr bool canonical = is_key_v<T>;
  static std::size_t size(const std::optional<T>& o) { return 1 + (o ? detail::size_of<T>(*o) : 0); }
  static void write(const std::optional<T>& o, writer& w) {
    w.number(o.has_value());
    if (o) w.value<T>(*o);
  }
  static std::optional<T> read(reader& r) {
    if (!r.number<bool>()) return std::nullopt;
    return r.template value<T>();
  }
};

template <class A, class B>
struct serializer<std::pair<A, B>> {
  static constexpr std::string_view name =
      detail::applied<detail::name_tuple, serializer<A>::name, serializer<B>::name>;
  static constexpr bool canonical = is_key_v<A> && is_key_v<B>;
  static std::size_t size(const std::pair<A, B>& p) {
    return detail::size_of<A>(p.first) + detail::size_of<B>(p.second);
  }
  static void write(const std::pair<A, B>& p, writer& w) {
    w.value<A>(p.first);
    w.value<B>(p.second);
  }
  static std::pair<A, B> read(reader& r) {
    return std::pair<A, B>{r.template value<A>(), r.template value<B>()}; // braces: evaluated in order
  }
};

template <class... T>
struct serializer<std::tuple<T...>> {
  static constexpr std::string_view name = detail::applied<detail::name_tuple, serializer<T>::name...>;
  static constexpr bool canonical = (is_key_v<T> && ...);
  static std::size_t size(const std::tuple<T...>& t) {
    return std::apply([](const T&... e) { return (detail::size_of<T>(e) + ...); }, t);
  }
  static void write(const std::tuple<T...>& t, writer& w) {
    std::apply([&](const T&... e) { (w.value<T>(e), ...); }, t);
  }
  static std::tuple<T...> read(reader& r) { return std::tuple<T...>{r.template value<T>()...}; }
};
template <>
struct serializer<std::tuple<>> : detail::unit_serializer<std::tuple<>> {
  static constexpr std::string_view name = detail::applied<detail::name_tuple>;
};

template <>
struct serializer<std::monostate> : detail::unit_serializer<std::monostate> {
  static constexpr std::string_view name = detail::name_unit;
};

// A variant that is valueless_by_exception is refused with std::bad_variant_access.
template <class... T>
struct serializer<std::variant<T...>> {
  static constexpr std::string_view name = detail::applied<detail::name_var, serializer<T>::name...>;
  static constexpr bool canonical = (is_key_v<T> && ...);
  static std::size_t size(const std::variant<T...>& v) {
    return 4 + std::visit([](const auto& e) { return detail::size_of(e); }, v);
  }
  static void write(const std::variant<T...>& v, writer& w) {
    w.count(v.index());
    std::visit([&](const auto& e) { w.value(e); }, v);
  }
  static std::variant<T...> read(reader& r) { return read(r, std::index_sequence_for<T...>{}); }

 private:
  template <std::size_t... I>
  static std::variant<T...> read(reader& r, std::index_sequence<I...>) {
    const std::size_t index = r.number<std::uint32_t>();
    std::optional<std::variant<T...>> v;
    ((index == I ? static_cast<void>(v.emplace(std::in_place_index<I>, r.template value<T>())) : void()), ...);
    if (!v) r.fail("a variant has no such alternative");
    return std::move(*v);
  }
};

SHM_NAMESPACE_END
