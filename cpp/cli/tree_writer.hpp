// SPDX-License-Identifier: Apache-2.0
// Writes a dict with all that is nested in it as JSON, from one snapshot, as it goes: memory for the keys of the dicts on
// the way down (sorted), or for none (as stored).
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "json_writer.hpp"
#include "tree.hpp"

namespace cli {

struct tree_style {
  json_style text;
  bool sorted = true;
};

class tree_writer {
 public:
  // `entry_done` is called after each value, for a progress bar.
  tree_writer(const snapshot& s, const tree_style& style, std::function<void()> entry_done = {});

  void write(const level& l, const std::string& path, int depth = 0);

  // Values that JSON cannot express exactly: NaN and infinities became null, broken UTF-8 U+FFFD.
  std::uint64_t losses() const noexcept { return losses_; }
  const std::string& first_loss() const noexcept { return first_loss_; }
  // Values, and keys, whose bytes are none of their type: they became null, and hex digits. The first: 'path': why.
  std::uint64_t unreadable() const noexcept { return unreadable_; }
  const std::string& first_unreadable() const noexcept { return first_unreadable_; }

 private:
  struct item;
  void entry(const level& l, const item& e, const std::string& path, int depth, bool first);

  const snapshot& s_;
  tree_style style_;
  std::function<void()> entry_done_;
  std::uint64_t losses_ = 0, unreadable_ = 0;
  std::string first_loss_, first_unreadable_;
};

} // namespace cli
