// SPDX-License-Identifier: Apache-2.0
// What an error means for this command: its exit code, and words that name what to type next.
#pragma once

#include <exception>

#include "exit_code.hpp"

namespace cli {

failure failure_of(const std::exception& e);

} // namespace cli
