// SPDX-License-Identifier: Apache-2.0
// Numbers for people.
#pragma once

#include <cstdint>
#include <string>

namespace cli {

std::string grouped(std::uint64_t n);                   // 1,234,567
std::string counted(std::uint64_t n, const char* what); // 1 key, 2,000 keys
std::string bytes_text(std::uint64_t n);                // 1.5 MiB
std::string rate_text(double per_second);               // 950, 12.3 k, 1.20 M
std::string time_text(std::uint64_t ns);                // 350 ns, 1.2 ms, 3.4 s, 5 min 2 s, 3 h 20 min

} // namespace cli
