// SPDX-License-Identifier: Apache-2.0
// Two processes write as fast as they can; a third prints what it sees meanwhile, and is not slowed down by them.
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <shm/dict.hpp>
#include <thread>

using counters = shm::dict<std::string, long long>;

namespace {

int write_at_full_speed(counters& d, const char* key) {
  for (long long n = 0; !d.contains("stop"); ++n) d[key] = n;
  return 0;
}

} // namespace

int main(int argc, char** argv) {
  using namespace std::chrono_literals;
  counters d{argc > 1 ? argv[1] : "example.two_writers", {{"left", 0}, {"right", 0}}};
  for (const char* key : {"left", "right"})
    if (fork() == 0) return write_at_full_speed(d, key);

  bool all_well = true;
  long long left = 0, right = 0;
  for (int i = 0; i < 10 || (i < 600 && (left == 0 || right == 0)); ++i) {
    std::this_thread::sleep_for(50ms);
    const auto now = d.snapshot(); // both at one moment
    all_well = all_well && now["left"] >= left && now["right"] >= right;
    left = now["left"], right = now["right"];
    std::printf("left %lld, right %lld\n", left, right);
  }
  d["stop"] = 1;
  for (int status = 0; wait(&status) > 0;) all_well = all_well && status == 0;
  all_well = all_well && left > 0 && right > 0 && d["left"] >= left && d["right"] >= right;
  std::printf(all_well ? "both went forward only\n" : "something went backward\n");
  return all_well ? 0 : 1;
}
