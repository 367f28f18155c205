// SPDX-License-Identifier: Apache-2.0
// Tables for people: aligned, a header in bold, cut to the terminal's width. In a pipe the same without colours and cuts.
#pragma once

#include <string>
#include <vector>

#include "output.hpp"

namespace cli {

struct column {
  std::string title;
  bool right = false; // aligned
  bool cut = false;   // may be shortened, down to 8 columns, if the terminal is too narrow
};

struct cell {
  std::string text; // any bytes: made printable
  style how = style::plain;
};

class table {
 public:
  explicit table(std::vector<column> columns) : columns_(std::move(columns)) {}
  void add(std::vector<cell> row) { rows_.push_back(std::move(row)); }
  bool empty() const noexcept { return rows_.empty(); }
  // Lines without their ends, the header first.
  std::vector<std::string> lines(std::size_t width = output_width()) const;
  void print() const;

 private:
  std::vector<column> columns_;
  std::vector<std::vector<cell>> rows_;
};

} // namespace cli
