// SPDX-License-Identifier: Apache-2.0
// Forked children go on using the dict that their parent opened.
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <shm/dict.hpp>

int main(int argc, char** argv) {
  shm::dict<std::string, int> d{argc > 1 ? argv[1] : "example.fork"};
  for (int child = 0; child < 4; ++child) {
    if (fork() != 0) continue;
    for (int i = 0; i < 25'000; ++i) ++d["count"];
    return 0;
  }
  bool all_well = true;
  for (int status = 0; wait(&status) > 0;) all_well = all_well && status == 0;
  const int count = d["count"];
  std::printf("4 forked children counted to %d\n", count);
  return all_well ? 0 : 1;
}
