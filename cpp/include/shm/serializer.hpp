// SPDX-License-Identifier: Apache-2.0
// How values become bytes and bytes values: shm::serializer<T>, shm::writer, shm::reader.
//
// A serializer is a class template specialisation with
//   static constexpr std::string_view name = "point/1";   // stored in the dict, compared at attach; change it with T
//   std::size_t size(const T&);                           // bytes that write() will write, at least 1
//   void write(const T&, shm::writer&);
//   T read(shm::reader&);                                 // bytes are untrusted: take them through the reader only
//   static constexpr bool canonical = true;               // optional: equal values have equal bytes, so T may be a key
// The functions may be static. They throw to refuse; nothing is stored then.
//
// This header has arithmetic types and enums (little-endian, of their own size) and plain structs (SHM_PLAIN);
// serializers_std.hpp has the standard library's containers; json.hpp has json_serializer.
// Keys: floating-point members of a key are canonical (-0.0 is stored as 0.0, NaN is refused with invalid_argument).
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <limits>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>

#include "detail/floating.hpp"
#include "detail/forward.hpp"
#include "detail/members.hpp"
#include "detail/name.hpp"
#include "error.hpp"

SHM_NAMESPACE_BEGIN

namespace detail {

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
inline constexpr bool little_endian = false;
#else
inline constexpr bool little_endian = true;
#endif

template <class T>
void store_number(void* to, const T& value) {
  std::memcpy(to, &value, sizeof value);
  if constexpr (!little_endian) {
    auto* bytes = static_cast<unsigned char*>(to);
    for (std::size_t i = 0; i < sizeof value / 2; ++i) std::swap(bytes[i], bytes[sizeof value - 1 - i]);
  }
}

template <class T>
T load_number(const void* from) {
  T value;
  if constexpr (little_endian) {
    std::memcpy(&value, from, sizeof value);
  } else {
    unsigned char bytes[sizeof value];
    for (std::size_t i = 0; i < sizeof value; ++i)
      bytes[i] = static_cast<const unsigned char*>(from)[sizeof value - 1 - i];
    std::memcpy(&value, bytes, sizeof value);
  }
  return value;
}

// What a number is stored as in a key: equal numbers have equal bytes.
template <class T>
auto canonical_number(const T& value) {
  if constexpr (std::is_floating_point_v<T>) {
    if (is_nan(value)) throw unplaced(errc::invalid_argument, "NaN cannot be a key, or part of one: it equals nothing");
    return canonical_bits(value);
  } else {
    return value;
  }
}

template <class T>
inline constexpr bool is_scalar = (std::is_arithmetic_v<T> || std::is_enum_v<T>)&&sizeof(T) <= 8 &&
                                  !std::is_same_v<std::remove_cv_t<T>, long double>;

template <class S, class = void>
struct canonical_flag : std::false_type {};
template <class S>
struct canonical_flag<S, std::void_t<decltype(S::canonical)>> : std::bool_constant<S::canonical> {};

} // namespace detail

// Whether T may be a key: its serializer says that equal values have equal bytes.
template <class T>
inline constexpr bool is_key_v = detail::canonical_flag<serializer<T>>::value;

// Where a value is written to: `size` bytes that the library provides. Belongs to the call it was given to.
// Errors: std::logic_error if more is written than size() announced, or a container has more than 2^32 - 1 elements.
class writer {
 public:
  writer(void* to, std::size_t size, bool for_key = false) noexcept
      : at_(static_cast<unsigned char*>(to)), left_(size), for_key_(for_key) {}

  // A key is written: equal values must give equal bytes.
  bool for_key() const noexcept { return for_key_; }
  std::size_t left() const noexcept { return left_; }

  void bytes(const void* data, std::size_t size) {
    if (size > left_) throw std::logic_error("shm::serializer: write() wrote more bytes than size() announced");
    if (size != 0) std::memcpy(at_, data, size);
    at_ += size;
    left_ -= size;
  }
  template <class T>
  void number(const T& value) { // little-endian, sizeof(T) bytes
    static_assert(detail::is_scalar<T>, "shm::writer::number takes arithmetic types and enums of up to 8 bytes");
    unsigned char raw[sizeof value];
    if (for_key_)
      detail::store_number(raw, detail::canonical_number(value));
    else
      detail::store_number(raw, value);
    bytes(raw, sizeof raw);
  }
  void count(std::size_t n) { // of elements that follow: 4 bytes
    if (n > std::numeric_limits<std::uint32_t>::max()) throw std::length_error("shm::serializer: too many elements");
    number(static_cast<std::uint32_t>(n));
  }
  template <class T>
  void value(const T& v) { // by T's own serializer
    serializer<T>{}.write(v, *this);
  }

 private:
  unsigned char* at_;
  std::size_t left_;
  bool for_key_;
};

// Where a value is read from. Every function checks that the bytes are there, and throws shm::error (corrupt) if not.
// Pointers and views it returns live as long as the call it was given to.
class reader {
 public:
  reader(const void* from, std::size_t size) noexcept : at_(static_cast<const unsigned char*>(from)), left_(size) {}

  std::size_t left() const noexcept { return left_; }

  const unsigned char* bytes(std::size_t size) {
    if (size > left_) fail("it is truncated");
    const unsigned char* here = at_;
    at_ += size;
    left_ -= size;
    return here;
  }
  std::string_view text(std::size_t size) { return {reinterpret_cast<const char*>(bytes(size)), size}; }
  template <class T>
  T number() {
    static_assert(detail::is_scalar<T>, "shm::reader::number takes arithmetic types and enums of up to 8 bytes");
    if constexpr (std::is_same_v<T, bool>) {
      const unsigned char byte = *bytes(1);
      if (byte > 1) fail("a bool is neither 0 nor 1");
      return byte != 0;
    } else {
      return detail::load_number<T>(bytes(sizeof(T)));
    }
  }
  // Of elements that follow, each of at least `least` bytes: never more than the bytes left can hold, so that it is safe
  // to reserve memory for them.
  std::size_t count(std::size_t least = 1) {
    const std::size_t n = number<std::uint32_t>();
    if (n > left_ / least) fail("it claims more elements than there are bytes");
    return n;
  }
  template <class T>
  T value() { // by T's own serializer
    return serializer<T>{}.read(*this);
  }
  // For what bounds do not find: values that T cannot have.
  [[noreturn]] SHM_COLD void fail(const char* why) const {
    throw detail::unplaced(errc::corrupt, std::string("the stored bytes are not a value of this type: ") + why);
  }

 private:
  const unsigned char* at_;
  std::size_t left_;
};

// Arithmetic types and enums. An enum is named and stored as its underlying type.
template <class T, class Enable>
struct serializer {
  static_assert(
      !detail::is_view<T>,
      "shm: pointers, references, views, spans and smart pointers refer to memory of one process and cannot be "
      "shared; use a type that owns its data, such as std::string or std::vector");
  static_assert(detail::is_view<T> || detail::is_scalar<T>,
                "shm: this type has no serializer; specialise shm::serializer<T>, or use SHM_PLAIN for a plain struct, "
                "or shm::json_serializer<T> of shm/json.hpp; long double is not portable");

  static constexpr std::string_view name = detail::scalar_name<T>();
  static constexpr bool canonical = true;
  static constexpr std::size_t size(const T&) noexcept { return sizeof(T); }
  static void write(const T& v, writer& w) { w.number(v); }
  static T read(reader& r) { return r.template number<T>(); }
};

namespace detail {

// What all plain structs must be.
template <class T>
struct plain_checked {
  static_assert(std::is_trivially_copyable_v<T>, "shm: a plain type must be trivially copyable");
  static_assert(std::is_default_constructible_v<T>, "shm: a plain type must be default constructible");
  static_assert(
      !holds_addresses<T>,
      "shm: a plain type must not hold pointers, references, views or iterators, nor structs or arrays of such: "
      "they refer to memory of one process; store what they refer to, or an index");
  static_assert(!holds_long_doubles<T>,
                "shm: a plain type must not hold long double: it has padding, and is not portable");
};

} // namespace detail

// Plain structs: stored as they lie in memory, so they may have no padding, and no pointers: aggregates are looked through,
// with what is in them; of classes with constructors or private members, and of unions, the compiler shows nothing. Bools
// and enums inside are not validated.
template <class T>
struct plain_serializer : detail::plain_checked<T> {
  static_assert(
      std::has_unique_object_representations_v<T>,
      "shm: a plain type must have no padding and no floating-point members: fill the gaps with named members, "
      "list the members with SHM_PLAIN_MEMBERS if it has floats, or write a serializer");
  static constexpr bool canonical = true;
  static constexpr std::size_t size(const T&) noexcept { return sizeof(T); }
  static void write(const T& v, writer& w) { w.bytes(&v, sizeof v); }
  static T read(reader& r) {
    T v;
    std::memcpy(&v, r.bytes(sizeof v), sizeof v);
    return v;
  }
};

namespace detail {

template <class>
struct member;
template <class T, class M>
struct member<M T::*> {
  using type = M;
};
template <auto Pointer>
using member_t = typename member<decltype(Pointer)>::type;
template <class M>
inline constexpr bool is_dense =
    std::has_unique_object_representations_v<M> || std::is_floating_point_v<std::remove_all_extents_t<M>>;

} // namespace detail

// The same for structs with floating-point members: all members are listed, and their sizes must add up. Not for keys.
template <class T, auto... Members>
struct plain_members_serializer : detail::plain_checked<T> {
  static_assert(
      !(detail::holds_addresses<detail::member_t<Members>> || ...),
      "shm: a plain type must not hold pointers, references, views or iterators, nor structs or arrays of such: "
      "they refer to memory of one process; store what they refer to, or an index");
  static_assert(!(detail::holds_long_doubles<detail::member_t<Members>> || ...),
                "shm: a plain type must not hold long double: it has padding, and is not portable");
  static_assert((detail::is_dense<detail::member_t<Members>> && ...) &&
                    (sizeof(detail::member_t<Members>) + ... + std::size_t{0}) == sizeof(T),
                "shm: the listed members do not fill the plain type: one is missing, or there is padding");
  static constexpr std::size_t size(const T&) noexcept { return sizeof(T); }
  static void write(const T& v, writer& w) { w.bytes(&v, sizeof v); }
  static T read(reader& r) {
    T v;
    std::memcpy(&v, r.bytes(sizeof v), sizeof v);
    return v;
  }
};

SHM_NAMESPACE_END

// One line outside of all namespaces: SHM_PLAIN(app::point, "point/1")
#define SHM_PLAIN(type, type_name) \
  template <> \
  struct shm::serializer<type> : shm::plain_serializer<type> { \
    static constexpr std::string_view name = type_name; \
    static_assert(shm::detail::is_user_name(name), "shm: a plain type's name must be \"name/version\""); \
  }

// With floats: SHM_PLAIN_MEMBERS(app::point, "point/1", &app::point::x, &app::point::y)
#define SHM_PLAIN_MEMBERS(type, type_name, ...) \
  template <> \
  struct shm::serializer<type> : shm::plain_members_serializer<type, __VA_ARGS__> { \
    static constexpr std::string_view name = type_name; \
    static_assert(shm::detail::is_user_name(name), "shm: a plain type's name must be \"name/version\""); \
  }
