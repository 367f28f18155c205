// SPDX-License-Identifier: Apache-2.0
// A counter that all processes share. Start it in several terminals at once: no count is lost, and the last one to
// leave takes the dict with it.
#include <cstdio>
#include <shm/dict.hpp>

int main(int argc, char** argv) {
  shm::dict<std::string, int> d{argc > 1 ? argv[1] : "example.counter"};
  for (int i = 0; i < 100'000; ++i) d["count"] += 1; // read, add, store: one step, whoever else counts
  const int count = d["count"];
  std::printf("counted to %d\n", count);
}
