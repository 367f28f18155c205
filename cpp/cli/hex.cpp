// SPDX-License-Identifier: Apache-2.0
#include <cstdint>

#include "codec.hpp"

namespace cli {

std::string to_hex(std::string_view bytes) {
  constexpr std::string_view digits = "0123456789abcdef";
  std::string out = "0x";
  out.reserve(2 + 2 * bytes.size());
  for (const char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    out += digits[byte >> 4];
    out += digits[byte & 15u];
  }
  return out;
}

bool from_hex(std::string_view text, std::string& bytes) {
  if (text.substr(0, 2) != "0x" || text.size() % 2 != 0) return false;
  const auto digit = [](char c) {
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
  };
  bytes.clear();
  for (std::size_t i = 2; i < text.size(); i += 2) {
    const int high = digit(text[i]), low = digit(text[i + 1]);
    if (high < 0 || low < 0) return false;
    bytes += static_cast<char>(high * 16 + low);
  }
  return true;
}

// Well-formed as Unicode defines it: no overlong forms, no surrogates, nothing above U+10FFFF.
bool is_utf8(std::string_view bytes) {
  for (std::size_t i = 0; i < bytes.size();) {
    const auto at = [&](std::size_t k) { return static_cast<unsigned char>(bytes[k]); };
    const unsigned first = at(i);
    const std::size_t n = first < 0x80                     ? 1
                          : first >= 0xc2 && first <= 0xdf ? 2
                          : (first & 0xf0u) == 0xe0        ? 3
                          : first >= 0xf0 && first <= 0xf4 ? 4
                                                           : 0;
    if (n == 0 || bytes.size() - i < n) return false;
    std::uint32_t value = n == 1 ? first : n == 2 ? first & 0x1fu : n == 3 ? first & 0x0fu : first & 0x07u;
    for (std::size_t k = 1; k < n; ++k) {
      if ((at(i + k) & 0xc0u) != 0x80) return false;
      value = value << 6 | (at(i + k) & 0x3fu);
    }
    if ((n == 3 && value < 0x800) || (n == 4 && value < 0x10000) || value > 0x10ffff ||
        (value >= 0xd800 && value <= 0xdfff))
      return false;
    i += n;
  }
  return true;
}

} // namespace cli
