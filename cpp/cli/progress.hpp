// SPDX-License-Identifier: Apache-2.0
// A bar on stderr for work that takes longer than a moment, or is known to be much; nothing if stderr is no terminal.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace cli {

class progress {
 public:
  // `total` 0: unknown, a count is shown.
  progress(std::string what, std::uint64_t total);
  ~progress();
  progress(const progress&) = delete;
  progress& operator=(const progress&) = delete;

  void step() {
    if (on_ && (++done_ & 255u) == 0) show();
  }
  void clear() noexcept;

 private:
  void show();

  std::string what_;
  std::uint64_t total_, done_ = 0;
  bool on_, shown_ = false;
  std::chrono::steady_clock::time_point next_;
};

} // namespace cli
