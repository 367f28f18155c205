// SPDX-License-Identifier: Apache-2.0
// Four programs, started and not forked, count to 100,000 together. They share nothing but the dict's name; each step
// reads and writes on its own, so it needs the lock around it.
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <shm/dict.hpp>
#include <string>

namespace {

void count(const char* name) {
  shm::dict<std::string, int> d{shm::open_only, name};
  for (int i = 0; i < 25'000; ++i) {
    const shm::guard lock{d}; // safe across fork, exec and unrelated processes, re-entrant
    const int n = d["count"];
    d["count"] = n + 1;
  }
}

} // namespace

int main(int argc, char** argv) {
  const char* name = argc > 1 ? argv[1] : "example.spawn";
  if (argc > 2) {
    count(name);
    return 0;
  }
  shm::dict<std::string, int> d{name, {{"count", 0}}};
  for (int child = 0; child < 4; ++child) {
    if (fork() != 0) continue;
    execl("/proc/self/exe", argv[0], name, "count", nullptr);
    _exit(1);
  }
  bool all_well = true;
  for (int status = 0; wait(&status) > 0;) all_well = all_well && status == 0;
  const int sum = d["count"];
  std::printf("4 programs counted to %d under the lock\n", sum);
  return all_well ? 0 : 1;
}
