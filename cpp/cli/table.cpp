// SPDX-License-Identifier: Apache-2.0
#include "table.hpp"

#include <algorithm>

namespace cli {
namespace {

constexpr std::size_t gap = 2, least = 8;

std::string padded(const std::string& text, std::size_t width, bool right, bool last) {
  const std::size_t have = display_width(text);
  const std::string space(width > have ? width - have : 0, ' ');
  return right ? space + text : last ? text : text + space;
}

} // namespace

std::vector<std::string> table::lines(std::size_t width) const {
  std::vector<std::vector<cell>> rows = rows_;
  std::vector<std::size_t> widths;
  for (std::size_t c = 0; c < columns_.size(); ++c) {
    widths.push_back(display_width(columns_[c].title));
    for (auto& row : rows) {
      row[c].text = printable(row[c].text);
      widths[c] = std::max(widths[c], display_width(row[c].text));
    }
  }
  // The widest columns that may be cut give way.
  const auto total = [&] {
    std::size_t sum = gap * (widths.size() - 1);
    for (const std::size_t w : widths) sum += w;
    return sum;
  };
  while (total() > width) {
    std::size_t widest = columns_.size();
    for (std::size_t c = 0; c < columns_.size(); ++c)
      if (columns_[c].cut && widths[c] > least && (widest == columns_.size() || widths[c] > widths[widest])) widest = c;
    if (widest == columns_.size()) break;
    widths[widest] = std::max(least, widths[widest] - std::min(widths[widest] - least, total() - width));
  }

  std::vector<std::string> out;
  const auto line = [&](const auto& text_of, const auto& style_of) {
    std::string text;
    for (std::size_t c = 0; c < columns_.size(); ++c) {
      const bool last = c + 1 == columns_.size();
      const std::string part = padded(shortened(text_of(c), widths[c]), widths[c], columns_[c].right, last);
      text += styled(style_of(c), part) + (last ? "" : std::string(gap, ' '));
    }
    text.erase(text.find_last_not_of(' ') + 1);
    out.push_back(std::move(text));
  };
  line([&](std::size_t c) { return columns_[c].title; }, [](std::size_t) { return style::bold; });
  for (const auto& row : rows)
    line([&](std::size_t c) { return row[c].text; }, [&](std::size_t c) { return row[c].how; });
  return out;
}

void table::print() const {
  for (const auto& line : lines()) cli::print(line + "\n");
}

} // namespace cli
