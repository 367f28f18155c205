// SPDX-License-Identifier: Apache-2.0
// Recovery from a stale lock by hand: this process looks who died before it takes the lock over.
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <shm/dict.hpp>

int main(int argc, char** argv) {
  using namespace std::chrono_literals;
  shm::dict<std::string, int> d{argc > 1 ? argv[1] : "example.take_over", {{"done", 0}, {"todo", 2}}};

  const pid_t child = fork();
  if (child == 0) {
    d.lock();
    d["todo"] -= 1; // d["done"] += 1 never comes: it ends without unlocking
    _exit(0);
  }
  int status = 0;
  waitpid(child, &status, 0);

  try {
    const shm::guard lock{d, shm::lock_options{}.timeout(50ms).steal(false).steal_after_timeout(false)};
    return 1;
  } catch (const shm::lock_timeout& e) {
    std::printf("%s\n", e.what());
    if (e.blocking_pid() != child || d.lock_status().alive) return 1;
  }
  if (!d.steal_lock(child)) return 1; // false if somebody else was faster
  d["done"] = 2 - d["todo"].value();
  std::printf("taken over by hand: %d done, %d to do\n", static_cast<int>(d["done"]), static_cast<int>(d["todo"]));
  d.unlock();
  return 0;
}
