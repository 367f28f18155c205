// SPDX-License-Identifier: Apache-2.0
// How functions take text that is a key: as a string_view, but of nothing that is no text.
#pragma once

#include <cstddef>
#include <string_view>
#include <type_traits>

#include "../error.hpp"

SHM_DETAIL_BEGIN

[[noreturn]] SHM_COLD inline void throw_null_text() {
  throw error(errc::invalid_argument, "a null pointer was given where a key is expected; give \"\" for the empty key");
}

// A std::string_view makes itself of a null pointer, and the literal 0 is one: d[0] would compile, and read from nowhere.
class text_arg : public std::string_view {
 public:
  template <class T, class = std::enable_if_t<std::is_convertible_v<const T&, std::string_view>>>
  text_arg(const T& text) noexcept(!std::is_pointer_v<T>) : std::string_view(checked(text)) {}
  // A key of this dict is text: neither 0 nor nullptr is. An element of a JSON array is j["list"].value()[0].
  text_arg(std::nullptr_t) = delete; // shm: a key of this dict is text; 0 and nullptr are none

 private:
  template <class T>
  static std::string_view checked(const T& text) {
    if constexpr (std::is_pointer_v<T>)
      if (text == nullptr) throw_null_text();
    return text;
  }
};

SHM_DETAIL_END
