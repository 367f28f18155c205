// SPDX-License-Identifier: Apache-2.0
#include "progress.hpp"

#include <algorithm>
#include <cstdio>
#include <utility>

#include <fmt/format.h>

#include "output.hpp"
#include "units.hpp"

namespace cli {

using clock = std::chrono::steady_clock;

progress::progress(std::string what, std::uint64_t total)
    : what_(std::move(what)),
      total_(total),
      on_(errors_are_terminal()),
      next_(clock::now() + std::chrono::milliseconds(total >= 100'000 ? 0 : 400)) {}

progress::~progress() { clear(); }

void progress::show() {
  const auto now = clock::now();
  if (now < next_) return;
  next_ = now + std::chrono::milliseconds(100);
  shown_ = true;
  if (total_ == 0) {
    say(fmt::format("\r\033[K{}  {} values", what_, grouped(done_)));
  } else {
    constexpr std::uint64_t width = 24;
    const std::uint64_t full = std::min(width, done_ * width / total_);
    std::string bar;
    for (std::uint64_t i = 0; i < width; ++i) bar += i < full ? "█" : "░";
    say(fmt::format("\r\033[K{}  {}  {:3} %  {} of {}", what_, bar, std::min<std::uint64_t>(100, done_ * 100 / total_),
                    grouped(done_), grouped(total_)));
  }
}

void progress::clear() noexcept {
  if (!shown_) return;
  say("\r\033[K");
  shown_ = false;
}

} // namespace cli
