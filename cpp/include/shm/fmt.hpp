// SPDX-License-Identifier: Apache-2.0
// Formatting by {fmt}: fmt::print("{}\n", d) prints {"a": 1, "b": 2} as of one snapshot, in no particular order. Opt-in.
// A json_dict prints as JSON.
//
// Keys and values are formatted as fmt/ranges.h formats those of maps. The dict's own iterators are hidden from {fmt},
// or it could not tell which way is meant.
#pragma once

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "dict.hpp"
#include "list.hpp"

SHM_DETAIL_BEGIN

struct map_formatter {
  template <class Context>
  constexpr auto parse(Context& context) {
    return context.begin(); // no format specification: fmt refuses what follows
  }
  template <class T, class Context>
  auto format(const T& d, Context& context) const {
    return fmt::format_to(context.out(), "{}", d.to_map());
  }
};

struct json_formatter {
  template <class Context>
  constexpr auto parse(Context& context) {
    return context.begin();
  }
  template <class T, class Context> // a template: json.hpp need not be there
  auto format(const T& d, Context& context) const {
    return fmt::format_to(context.out(), "{}", d.to_json().dump());
  }
};

SHM_DETAIL_END

#define SHM_FORMATTER(parameters, type) \
  template <parameters, class Char> \
  struct fmt::is_range<type, Char> : std::false_type {}; \
  template <parameters> \
  struct fmt::formatter<type> : shm::detail::map_formatter {}
#define SHM_COMMA ,
SHM_FORMATTER(class K SHM_COMMA class V SHM_COMMA class S, shm::dict<K SHM_COMMA V SHM_COMMA S>);
SHM_FORMATTER(class K SHM_COMMA class V SHM_COMMA bool R, shm::dict_ref<K SHM_COMMA V SHM_COMMA R>);
SHM_FORMATTER(class K SHM_COMMA class V, shm::snapshot<K SHM_COMMA V>);
#undef SHM_COMMA
#undef SHM_FORMATTER

template <class Char>
struct fmt::is_range<shm::json_dict, Char> : std::false_type {};
template <class Char>
struct fmt::is_range<shm::json_ref, Char> : std::false_type {};
template <>
struct fmt::formatter<shm::json_dict> : shm::detail::json_formatter {};
template <>
struct fmt::formatter<shm::json_ref> : shm::detail::json_formatter {};

// Status and objects, as d.print_status() prints them.
SHM_DETAIL_BEGIN
struct text_formatter {
  template <class Context>
  constexpr auto parse(Context& context) {
    return context.begin();
  }
  template <class T, class Context>
  auto format(const T& figures, Context& context) const {
    return fmt::format_to(context.out(), "{}", to_string(figures));
  }
};
SHM_DETAIL_END
template <>
struct fmt::formatter<shm::status> : shm::detail::text_formatter {};
template <>
struct fmt::formatter<shm::object_info> : shm::detail::text_formatter {};
