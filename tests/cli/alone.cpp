// SPDX-License-Identifier: Apache-2.0
// alone COMMAND...: runs it with a /dev/shm of its own, where the kernel allows that; what it starts, too.
#include "shell.hpp"

int main(int, char** argv) {
  execvp(argv[1], argv + 1);
  std::perror(argv[1]);
  return 126;
}
