// SPDX-License-Identifier: Apache-2.0
#include "number.hpp"

#include <cstdint>
#include <cstdlib>
#include <string>

#include <fmt/format.h>

#include "shm/detail/floating.hpp"

namespace cli {
namespace {

// digits x 10^exponent, without zeros at either end; zero is "" x 10^0.
struct decimal {
  std::string digits;
  std::int64_t exponent = 0;
  bool negative = false;

  bool operator==(const decimal& o) const {
    return digits == o.digits && exponent == o.exponent && negative == o.negative;
  }
};

decimal to_decimal(std::string_view text) {
  decimal d;
  bool fraction = false;
  std::size_t i = 0;
  for (; i < text.size() && text[i] != 'e' && text[i] != 'E'; ++i) {
    const char c = text[i];
    if (c == '-') d.negative = true;
    if (c == '.') fraction = true;
    if (c < '0' || c > '9') continue;
    d.digits += c;
    if (fraction) --d.exponent;
  }
  const auto first = d.digits.find_first_not_of('0');
  if (first == std::string::npos) return {{}, 0, d.negative};
  // An exponent that overflows is beyond every double: no number of digits written out can bring it back.
  if (i < text.size()) {
    const std::string written(text.substr(i + 1));
    const auto most = std::int64_t{1} << 40;
    const auto parsed = std::strtoll(written.c_str(), nullptr, 10);
    d.exponent += parsed > most ? most : parsed < -most ? -most : parsed;
  }
  d.digits.erase(0, first);
  while (d.digits.back() == '0') {
    d.digits.pop_back();
    ++d.exponent;
  }
  return d;
}

} // namespace

bool is_exact_double(std::string_view text) {
  const double value = std::strtod(std::string(text).c_str(), nullptr);
  return shm::detail::is_finite(value) && to_decimal(text) == to_decimal(fmt::format("{}", value));
}

} // namespace cli
