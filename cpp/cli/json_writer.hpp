// SPDX-License-Identifier: Apache-2.0
// JSON as text: indented or on one line, coloured on a terminal; control characters beyond those that JSON forbids are
// escaped, too.
#pragma once

#include <string>
#include <string_view>

#include "codec.hpp"

namespace cli {

struct json_style {
  int indent = 2; // negative: all on one line
  bool colour = false;
};

std::string json_text(const json& j, const json_style& s = {-1, false}, int depth = 0);
std::string json_string(std::string_view text);         // with quotes; broken UTF-8 becomes U+FFFD
std::string json_break(const json_style& s, int depth); // between elements of something `depth` deep

} // namespace cli
