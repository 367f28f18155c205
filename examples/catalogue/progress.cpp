// SPDX-License-Identifier: Apache-2.0
#include "progress.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdio>

namespace demo {

std::string grouped(std::uint64_t n) {
  std::string digits = std::to_string(n);
  for (std::size_t at = digits.size(); at > 3;) digits.insert(at -= 3, ",");
  return digits;
}

std::string short_number(double n) {
  if (n >= 1e6) return fmt::format("{:.2f} M", n / 1e6);
  if (n >= 1e3) return fmt::format("{:.1f} k", n / 1e3);
  return fmt::format("{:.0f}", n);
}

std::chrono::milliseconds progress::interval() const { return std::chrono::milliseconds(terminal_ ? 100 : 1000); }

void progress::update(double part, const std::string& text) {
  if (!terminal_) {
    fmt::print("  {}\n", text);
  } else {
    constexpr int width = 20;
    const int full = std::clamp(static_cast<int>(std::lround(part * width)), 0, width);
    fmt::print("\r\033[K  ");
    for (int i = 0; i < width; ++i) fmt::print("{}", i < full ? "█" : "░");
    fmt::print("  {}", text);
    shown_ = true;
  }
  std::fflush(stdout);
}

void progress::event(const std::string& text) {
  clear();
  fmt::print("{}\n", text);
  std::fflush(stdout);
}

void progress::clear() noexcept {
  if (!shown_) return;
  std::fputs("\r\033[K", stdout);
  std::fflush(stdout);
  shown_ = false;
}

} // namespace demo
