// SPDX-License-Identifier: Apache-2.0
#include "units.hpp"

#include <fmt/format.h>

namespace cli {

std::string grouped(std::uint64_t n) {
  std::string digits = std::to_string(n);
  for (std::size_t at = digits.size(); at > 3;) digits.insert(at -= 3, ",");
  return digits;
}

std::string counted(std::uint64_t n, const char* what) {
  const std::string name = what;
  if (n == 1) return "1 " + name;
  return grouped(n) + " " + name + (name.back() == 's' ? "es" : "s");
}

std::string bytes_text(std::uint64_t n) {
  if (n < 1024) return fmt::format("{} B", n);
  constexpr const char* units[] = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  auto v = static_cast<double>(n) / 1024;
  int unit = 0;
  for (; v >= 1023.95 && unit < 5; ++unit) v /= 1024;
  const bool whole = v == static_cast<double>(static_cast<std::uint64_t>(v));
  return whole ? fmt::format("{:.0f} {}", v, units[unit]) : fmt::format("{:.1f} {}", v, units[unit]);
}

std::string rate_text(double per_second) {
  if (per_second >= 999.5e3) return fmt::format("{:.2f} M", per_second / 1e6);
  if (per_second >= 9999.5) return fmt::format("{:.1f} k", per_second / 1e3);
  return fmt::format("{:.0f}", per_second);
}

std::string time_text(std::uint64_t ns) {
  const auto v = static_cast<double>(ns);
  if (v < 1e3) return fmt::format("{} ns", ns);
  if (v < 1e6) return fmt::format("{:.1f} us", v / 1e3);
  if (v < 1e9) return fmt::format("{:.1f} ms", v / 1e6);
  if (v < 60e9) return fmt::format("{:.1f} s", v / 1e9);
  const std::uint64_t seconds = ns / 1'000'000'000;
  if (seconds < 3600) return fmt::format("{} min {} s", seconds / 60, seconds % 60);
  return fmt::format("{} h {} min", seconds / 3600, seconds / 60 % 60);
}

} // namespace cli
