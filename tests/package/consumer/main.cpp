// SPDX-License-Identifier: Apache-2.0
#include <shmdict/version.h>
#include <unistd.h>

#include <shm/shm.hpp>
#include <stdexcept>
#include <string>

// A program in no more words than it needs, with an error that crosses the library.
int main() {
  const std::string name = "shmdict-consumer-cpp-" + std::to_string(getpid());
  shm::dict<std::string, int> d{shm::create_only, name};
  d["key"] += 41;
  d["key"] += 1;
  try {
    shm::dict<std::string, std::string> other{name};
    return 1;
  } catch (const shm::mismatch&) {
  }
  const std::string version = std::to_string(SHMDICT_VERSION_MAJOR) + "." + std::to_string(SHMDICT_VERSION_MINOR) +
                              "." + std::to_string(SHMDICT_VERSION_PATCH);
  return d.get("key", 0) == 42 && version == shmd_version() ? 0 : 1;
}
