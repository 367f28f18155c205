// SPDX-License-Identifier: Apache-2.0
// Huge pages: what is asked for, what stays as it was, and that memory goes back all the same.
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <string>
#include <thread>

#include "support/catch.hpp"
#include "support/dict.hpp"

namespace {

using support::Dict;

constexpr std::uint64_t keys = 200000;

// Of this process, as the system sees it: shared memory that is mapped by huge pages.
std::uint64_t huge_kib() {
  std::ifstream in("/proc/self/smaps_rollup");
  std::string word;
  while (in >> word) {
    std::uint64_t kib = 0;
    if (word == "ShmemPmdMapped:" && in >> kib) return kib;
  }
  return 0;
}

void put_all(Dict& d, std::uint64_t add) {
  for (std::uint64_t k = 0; k < keys; ++k) {
    const std::uint64_t v = k + add;
    REQUIRE(shmd_put(d, shmd_root(), &k, 8, &v, 8, 0) == 0);
  }
}

void require_all(Dict& d, std::uint64_t add) {
  for (std::uint64_t k = 0; k < keys; ++k) {
    std::uint64_t v = 0;
    std::size_t size = 0;
    REQUIRE(shmd_get(d, shmd_root(), &k, 8, &v, 8, &size) == 0);
    REQUIRE(v == k + add);
  }
}

} // namespace

// Guard: shmd_os_make_huge() in huge.c.
TEST_CASE("what is in use is put into huge pages, and everything goes on as before") {
  Dict d(support::unique_name("huge"), support::small_options(std::uint64_t{1} << 30));
  put_all(d, 0);
  const std::uint64_t before = d.stat().memory, mapped = huge_kib();
  std::uint64_t bytes = 0, huge = 0;
  for (int i = 0; i < 100 && (bytes < std::uint64_t{4} << 20 || huge < mapped + bytes / 1024); ++i) {
    if (i != 0)
      std::this_thread::sleep_for(std::chrono::milliseconds(50)); // what the kernel refuses now it may give then
    const int result = shmd_huge_pages(d, &bytes);
    if (result == SHMD_ERR_UNSUPPORTED) SHMDICT_SKIP("this system gives no huge pages to shared memory");
    REQUIRE(result == 0);
    huge = huge_kib();
  }
  REQUIRE(bytes >= std::uint64_t{4} << 20);
  REQUIRE(huge >= mapped + bytes / 1024);
  REQUIRE(d.stat().memory <= before);
  require_all(d, 0);
  REQUIRE(d.check() == "");

  put_all(d, 1);
  put_all(d, 2);
  require_all(d, 2);
  REQUIRE(shmd_clear(d, shmd_root(), nullptr) == 0);
  REQUIRE(shmd_compact(d) == 0);
  REQUIRE(d.stat().memory < before / 2);
  REQUIRE(d.check() == "");
}

// Guard: has_memory() in huge.c: the kernel would fill the holes.
TEST_CASE("a dict too small for a huge page is left alone") {
  Dict d(support::unique_name("huge"), support::small_options(std::uint64_t{64} << 20));
  const std::uint64_t k = 1;
  REQUIRE(shmd_put(d, shmd_root(), &k, 8, &k, 8, 0) == 0);
  const std::uint64_t before = d.stat().memory;
  std::uint64_t bytes = 1;
  REQUIRE(shmd_huge_pages(d, &bytes) == 0);
  REQUIRE(bytes == 0);
  REQUIRE(d.stat().memory == before);
}
