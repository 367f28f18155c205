// SPDX-License-Identifier: Apache-2.0
// Started by nameless_test with an inherited descriptor: adopts the dict behind it, reads "parent", writes "child".
// adopter <descriptor>: exit code 0 if all went well.
#include <cstdlib>

#include "support/process.hpp"

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  shmd_options o = support::small_options();
  o.fd = std::atoi(argv[1]);
  shmd_dict* d = nullptr;
  if (shmd_open(nullptr, &o, &d) != SHMD_OK) {
    std::fprintf(stderr, "adopter: %s\n", shmd_last_error()->message);
    return 3;
  }
  if (support::get(d, "parent") != 1) return 4;
  if (support::put(d, "child", 2) != 0) return 5;
  return shmd_close(d) == 0 ? 0 : 6;
}
