// SPDX-License-Identifier: Apache-2.0
// Whether a number in JSON text comes back as the same number.
#pragma once

#include <string_view>

namespace cli {

// `text` is a JSON number. True if the double nearest to it, written as short as can be, denotes the very same number.
bool is_exact_double(std::string_view text);

} // namespace cli
