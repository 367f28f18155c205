// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <shm/dict.hpp>

#include "support/catch.hpp"
#include "support/process.hpp"

TEST_CASE("a program that is compiled with -Ofast has the keys of one that is not") {
  const support::Name name("fast_math");
  shm::dict<double, int> d{name, shm::options{}.max_size(std::uint64_t{64} << 20)};
  d[0.0] = 1;
  support::Child other([&] {
    execl(PROGRAM_OFAST, "ofast", name.c_str(), static_cast<char*>(nullptr));
    return 98;
  });
  REQUIRE(other.join() == 0);
  CHECK(d.get(0.0) == 2);
  CHECK(d.get(-0.0) == 2);
  CHECK(d.get(5e-324) == 3);
  CHECK(d.get(-INFINITY) == 4);
  CHECK(d.size() == 3);
}
