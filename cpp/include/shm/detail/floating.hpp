// SPDX-License-Identifier: Apache-2.0
// Floating-point numbers, looked at by their bits.
//
// With -ffast-math or -Ofast a compiler may take isnan() for false, and -0.0 for 0.0. Programs that are compiled so share
// dicts with programs that are not, so whatever decides about stored bytes asks the bits. They are read from memory: a
// compiler that may assume that no argument is NaN would see through a copy.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "namespace.hpp"

SHM_DETAIL_BEGIN

template <class T>
using float_bits_t = std::conditional_t<sizeof(T) == 4, std::uint32_t, std::uint64_t>;

template <class T>
float_bits_t<T> float_bits(const T& value) noexcept {
  static_assert(std::is_floating_point_v<T> && (sizeof(T) == 4 || sizeof(T) == 8), "float or double");
  float_bits_t<T> bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}

// All ones: infinite, or NaN if there is a fraction, too.
template <class T>
inline constexpr float_bits_t<T> exponent_bits = static_cast<float_bits_t<T>>(sizeof(T) == 4 ? 0x7f800000u
                                                                                             : 0x7ff0000000000000u);

template <class T>
bool is_finite(const T& value) noexcept {
  return (float_bits(value) & exponent_bits<T>) != exponent_bits<T>;
}
template <class T>
bool is_nan(const T& value) noexcept {
  return static_cast<float_bits_t<T>>(float_bits(value) << 1) > static_cast<float_bits_t<T>>(exponent_bits<T> << 1);
}
template <class T>
bool is_negative(const T& value) noexcept {
  return float_bits(value) >> (sizeof(T) * 8 - 1) != 0;
}
// Its bits, and those of 0.0 for -0.0, which equals it. Not of NaN.
template <class T>
float_bits_t<T> canonical_bits(const T& value) noexcept {
  const auto bits = float_bits(value);
  return static_cast<float_bits_t<T>>(bits << 1) == 0 ? float_bits_t<T>{0} : bits;
}

SHM_DETAIL_END
