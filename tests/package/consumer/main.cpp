#include <unistd.h>

#include <shm/dict.hpp>
#include <string>

int main() {
  shm::dict<std::string, int> d{"shmdict-consumer-cpp-" + std::to_string(getpid())};
  d["key"] += 41;
  d["key"] += 1;
  return d.get("key", 0) == 42 ? 0 : 1;
}
