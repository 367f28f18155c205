// SPDX-License-Identifier: Apache-2.0
#include <unistd.h>

#include <shm/shm.hpp>
#ifdef WITH_JSON
#include <shm/json.hpp>
#endif
#ifdef WITH_FMT
#include <shm/fmt.hpp>
#endif
#include <string>

int main() {
  shm::dict<std::string, int> d{"shmdict-conan-cpp-" + std::to_string(getpid())};
  d["key"] += 42;
#ifdef WITH_JSON
  const nlohmann::json json = d;
  if (json.dump() != R"({"key":42})") return 1;
#endif
#ifdef WITH_FMT
  if (fmt::format("{}", d).find("42") == std::string::npos) return 1;
#endif
  return d["key"] == 42 ? 0 : 1;
}
