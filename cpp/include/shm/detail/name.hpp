// SPDX-License-Identifier: Apache-2.0
// Type names, put together at compile time: `vec<tuple<i64,str>>`.
#pragma once

#include <array>
#include <cstddef>
#include <string_view>
#include <type_traits>

#include "namespace.hpp"

SHM_DETAIL_BEGIN

// The concatenation of static string_views, NUL-terminated.
template <const std::string_view&... Parts>
struct joined {
  static constexpr auto build() {
    std::array<char, (Parts.size() + ... + 1)> out{};
    std::size_t at = 0;
    const auto append = [&](std::string_view part) {
      for (const char c : part) out[at++] = c;
    };
    (append(Parts), ...);
    return out;
  }
  static constexpr auto storage = build();
  static constexpr std::string_view value{storage.data(), storage.size() - 1};
};

// first,second,...
inline constexpr std::string_view comma = ",";
inline constexpr std::string_view nothing{};
template <const std::string_view&... Parts>
struct listed {
  static constexpr std::string_view value = nothing;
};
template <const std::string_view& Only>
struct listed<Only> {
  static constexpr std::string_view value = Only;
};
template <const std::string_view& First, const std::string_view& Second, const std::string_view&... Rest>
struct listed<First, Second, Rest...> {
  static constexpr std::string_view value = joined<First, comma, listed<Second, Rest...>::value>::value;
};

// outer<part,...>
inline constexpr std::string_view opening = "<";
inline constexpr std::string_view closing = ">";
template <const std::string_view& Outer, const std::string_view&... Parts>
inline constexpr std::string_view applied = joined<Outer, opening, listed<Parts...>::value, closing>::value;

template <std::size_t N>
struct decimal {
  static constexpr auto build() {
    std::array<char, 21> out{};
    std::size_t digits = 1;
    for (std::size_t n = N; n >= 10; n /= 10) ++digits;
    std::size_t n = N;
    for (std::size_t i = digits; i-- > 0; n /= 10) out[i] = static_cast<char>('0' + n % 10);
    return out;
  }
  static constexpr auto storage = build();
  static constexpr std::string_view value{storage.data()};
};

// User names: `name/version`, so that a changed struct gets a new name and is refused by who knows the old one.
constexpr bool is_user_name(std::string_view name) {
  std::size_t slash = 0;
  for (std::size_t i = 0; i < name.size(); ++i) {
    const char c = name[i];
    const bool word = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
                      c == '-' || c == '.' || c == ':';
    if (c == '/' && slash == 0)
      slash = i;
    else if (!word)
      return false;
  }
  return slash != 0 && slash + 1 < name.size();
}

inline constexpr std::string_view name_i8 = "i8", name_i16 = "i16", name_i32 = "i32", name_i64 = "i64", name_u8 = "u8",
                                  name_u16 = "u16", name_u32 = "u32", name_u64 = "u64", name_f32 = "f32",
                                  name_f64 = "f64", name_bool = "bool", name_str = "str", name_bytes = "bytes",
                                  name_vec = "vec", name_arr = "arr", name_map = "map", name_set = "set",
                                  name_opt = "opt", name_tuple = "tuple", name_var = "var", name_unit = "unit",
                                  name_dict = "dict", name_dur = "dur", name_system_time = "system_time",
                                  name_steady_time = "steady_time";

template <class T>
constexpr std::string_view scalar_name() {
  if constexpr (std::is_enum_v<T>) {
    return scalar_name<std::underlying_type_t<T>>();
  } else if constexpr (std::is_same_v<T, bool>) {
    return name_bool;
  } else if constexpr (std::is_floating_point_v<T>) {
    return sizeof(T) == 4 ? name_f32 : name_f64;
  } else if constexpr (std::is_signed_v<T>) {
    return sizeof(T) == 1 ? name_i8 : sizeof(T) == 2 ? name_i16 : sizeof(T) == 4 ? name_i32 : name_i64;
  } else {
    return sizeof(T) == 1 ? name_u8 : sizeof(T) == 2 ? name_u16 : sizeof(T) == 4 ? name_u32 : name_u64;
  }
}

SHM_DETAIL_END
