// SPDX-License-Identifier: Apache-2.0
#include <unistd.h>

#include <shm/fmt.hpp>
#include <shm/json.hpp>
#include <string>

int main() {
  const std::string end = std::to_string(getpid());
  shm::json_dict j{"shmdict-consumer-json-" + end};
  j["server"]["port"] = 8080;
  const nlohmann::json all = j;
  shm::dict<std::string, int> d{"shmdict-consumer-fmt-" + end};
  d["key"] = 42;
  return all.dump() == R"({"server":{"port":8080}})" && fmt::format("{}", d).find("42") != std::string::npos ? 0 : 1;
}
