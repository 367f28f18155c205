// SPDX-License-Identifier: Apache-2.0
// Arithmetic on stored values: what would overflow a signed integer throws, and the value is kept.
// Unsigned integers wrap, as everywhere in C++. Types that are not numbers use their own operators.
#pragma once

#include <cstdint>
#include <limits>
#include <stdexcept>
#include <string>
#include <type_traits>

#include "../error.hpp"
#include "floating.hpp"
#include "name.hpp"

SHM_DETAIL_BEGIN

// Whoever knows the dict and the key throws them on as their bases, with both: change_at() in place.hpp.
class SHM_VISIBLE value_overflow : public std::overflow_error {
  using std::overflow_error::overflow_error;
};
class SHM_VISIBLE value_domain : public std::domain_error {
  using std::domain_error::domain_error;
};
template <class V>
[[noreturn]] SHM_COLD void throw_overflow() {
  throw value_overflow(std::string("the result does not fit the value's type, ").append(scalar_name<V>()) +
                       "; the value was kept");
}
[[noreturn]] SHM_COLD inline void throw_domain(const char* what) { throw value_domain(what); }

template <class V, class T>
inline constexpr bool both_integers = std::is_integral_v<V>&& std::is_integral_v<T>;
template <class V, class T>
inline constexpr bool both_numbers = std::is_arithmetic_v<V>&& std::is_arithmetic_v<T>;

// What floating-point arithmetic on V and T computes in.
template <class V, class T>
using real = std::common_type_t<V, T>;

// The result of an operation with a floating-point operand: cut off as in C++, but it must fit.
template <class V, class R>
void assign_number(V& v, R result) {
  if constexpr (std::is_integral_v<V>) {
    const R bound =
        static_cast<R>(std::uint64_t{1} << (std::numeric_limits<V>::digits - 1)) * 2; // max + 1, a power of two
    const auto as_double = static_cast<double>(result); // NaN compares as it likes where -ffast-math holds
    if (!is_finite(as_double) || !(result < bound && result > (std::is_signed_v<V> ? -bound - 1 : R{-1})))
      throw_overflow<V>();
  }
  v = static_cast<V>(result);
}

struct add {
  template <class V, class T>
  static void apply(V& v, const T& t) {
    if constexpr (both_integers<V, T>) {
      V result;
      if (__builtin_add_overflow(v, t, &result) && std::is_signed_v<V>) throw_overflow<V>();
      v = result;
    } else if constexpr (both_numbers<V, T>) {
      assign_number(v, static_cast<real<V, T>>(v) + static_cast<real<V, T>>(t));
    } else {
      v += t;
    }
  }
};

struct subtract {
  template <class V, class T>
  static void apply(V& v, const T& t) {
    if constexpr (both_integers<V, T>) {
      V result;
      if (__builtin_sub_overflow(v, t, &result) && std::is_signed_v<V>) throw_overflow<V>();
      v = result;
    } else if constexpr (both_numbers<V, T>) {
      assign_number(v, static_cast<real<V, T>>(v) - static_cast<real<V, T>>(t));
    } else {
      v -= t;
    }
  }
};

struct multiply {
  template <class V, class T>
  static void apply(V& v, const T& t) {
    if constexpr (both_integers<V, T>) {
      V result;
      if (__builtin_mul_overflow(v, t, &result) && std::is_signed_v<V>) throw_overflow<V>();
      v = result;
    } else if constexpr (both_numbers<V, T>) {
      assign_number(v, static_cast<real<V, T>>(v) * static_cast<real<V, T>>(t));
    } else {
      v *= t;
    }
  }
};

struct divide {
  template <class V, class T>
  static void apply(V& v, const T& t) {
    if constexpr (both_integers<V, T>) {
      if (t == 0) throw_domain("division by zero; the value was kept");
      if constexpr (std::is_signed_v<V> && std::is_signed_v<T>)
        if (t == -1) return multiply::apply(v, t);
      v = static_cast<V>(v / t);
    } else if constexpr (both_numbers<V, T>) {
      assign_number(v, static_cast<real<V, T>>(v) / static_cast<real<V, T>>(t));
    } else {
      v /= t;
    }
  }
};

struct modulo {
  template <class V, class T>
  static void apply(V& v, const T& t) {
    if constexpr (both_integers<V, T>) {
      if (t == 0) throw_domain("division by zero; the value was kept");
      if constexpr (std::is_signed_v<V> && std::is_signed_v<T>)
        if (t == -1) return static_cast<void>(v = 0); // the smallest integer % -1 is undefined in C++
      v = static_cast<V>(v % t);
    } else {
      v %= t;
    }
  }
};

template <class V, class T>
void check_shift(const T& t) {
  if constexpr (both_integers<V, T>)
    if (t < T{0} || static_cast<std::make_unsigned_t<T>>(t) >= sizeof(V) * 8)
      throw_domain("the shift count is negative or too large; the value was kept");
}

struct shift_left {
  template <class V, class T>
  static void apply(V& v, const T& t) {
    check_shift<V>(t);
    if constexpr (both_integers<V, T>)
      v = static_cast<V>(static_cast<std::make_unsigned_t<V>>(v) << t);
    else
      v <<= t;
  }
};

struct shift_right {
  template <class V, class T>
  static void apply(V& v, const T& t) {
    check_shift<V>(t);
    if constexpr (both_integers<V, T>)
      v = static_cast<V>(v >> t);
    else
      v >>= t;
  }
};

#define SHM_BITWISE(name, op) \
  struct name { \
    template <class V, class T> \
    static void apply(V& v, const T& t) { \
      v = static_cast<V>(v op t); \
    } \
  }
SHM_BITWISE(bit_and, &);
SHM_BITWISE(bit_or, |);
SHM_BITWISE(bit_xor, ^);
#undef SHM_BITWISE

SHM_DETAIL_END
