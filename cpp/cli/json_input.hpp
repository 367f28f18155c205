// SPDX-License-Identifier: Apache-2.0
// JSON from files, pipes and arguments, taken only if it would come back as it is: besides what RFC 8259 forbids, refused
// are duplicate keys, numbers that would come back as others, nesting over 1,000, and invalid UTF-8.
#pragma once

#include <string>
#include <string_view>

#include "codec.hpp"

namespace cli {

constexpr std::size_t json_input_depth = 1000;

// `name` stands in messages: "name:line:column: what is wrong". Throws failure (refused).
json parse_json(std::string_view text, const std::string& name);

// The whole of a file, "-" = stdin. Throws failure (failed, permission, no).
std::string read_file(const std::string& path);

} // namespace cli
