// SPDX-License-Identifier: Apache-2.0
// Shows what is going on: one line that is updated on a terminal, else a plain line a second.
#pragma once

#include <string>

#include "process.hpp"

namespace demo {

std::string grouped(std::uint64_t n); // 1,234,567
std::string short_number(double n);   // 1.23 M

class progress {
 public:
  explicit progress(bool terminal) : terminal_(terminal) {}
  ~progress() { clear(); }
  progress(const progress&) = delete;
  progress& operator=(const progress&) = delete;

  std::chrono::milliseconds interval() const; // between calls of update()
  void update(double part, const std::string& text);
  void event(const std::string& text); // a line that stays
  void clear() noexcept;

 private:
  bool terminal_;
  bool shown_ = false;
};

} // namespace demo
