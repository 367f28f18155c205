// SPDX-License-Identifier: Apache-2.0
// Recovery from a stale lock: a process is killed while it holds the lock, its work half done. Whoever locks next gets
// the lock at once and is told, so that it can put right what several writes were meant to do together.
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <shm/dict.hpp>

int main(int argc, char** argv) {
  using namespace std::chrono_literals;
  shm::dict<std::string, int> d{argc > 1 ? argv[1] : "example.stale_lock", {{"from", 100}, {"to", 0}}};

  const pid_t child = fork();
  if (child == 0) {
    const shm::guard lock{d};
    d["from"] -= 30;     // is on its way ...
    std::raise(SIGKILL); // ... and d["to"] += 30 never comes
  }
  int status = 0;
  waitpid(child, &status, 0);

  const shm::guard lock{d, 1s};
  if (lock.recovered()) {
    std::printf("the owner died halfway: from %d, to %d\n", static_cast<int>(d["from"]), static_cast<int>(d["to"]));
    d["to"] = 100 - d["from"].value();
  }
  // With d.transact() nothing would have been half done in the first place.
  std::printf("repaired: from %d, to %d\n", static_cast<int>(d["from"]), static_cast<int>(d["to"]));
  return lock.recovered() ? 0 : 1;
}
