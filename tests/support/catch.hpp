// SPDX-License-Identifier: Apache-2.0
// Catch2, whichever version is installed: 2.13 (one header) or 3.x. Tests include this and no header of Catch2's.
#pragma once

#if __has_include(<catch2/catch_all.hpp>)
#include <catch2/catch_all.hpp>
#define SHMDICT_CATCH_MAJOR 3
#else
#include <catch2/catch.hpp>
#define SHMDICT_CATCH_MAJOR 2
#endif

#include <iostream>
#include <string>

namespace support {

inline bool& skipped() {
  static bool value = false;
  return value;
}

// REQUIRE_THAT(text, support::contains("part")): the matcher has another name in each major version.
inline auto contains(const std::string& part) {
#if SHMDICT_CATCH_MAJOR == 3
  return Catch::Matchers::ContainsSubstring(part);
#else
  return Catch::Matchers::Contains(part);
#endif
}

} // namespace support

// Leaves the test case and reports it as skipped (unless an assertion failed), for what the kernel forbids.
#define SHMDICT_SKIP(reason) \
  do { \
    std::cout << "skipped: " << (reason) << std::endl; \
    support::skipped() = true; \
    SUCCEED("skipped"); \
    return; \
  } while (false)
