// SPDX-License-Identifier: Apache-2.0
// Dicts in dicts, to any depth, in one shared object: typed, or as JSON.
#include <sys/wait.h>
#include <unistd.h>

#include <iostream>
#include <shm/json.hpp>

int main(int argc, char** argv) {
  const std::string name = argc > 1 ? argv[1] : "example.nested";
  shm::dict<std::string, shm::dict<std::string, int>> people{name};
  people["de"]["berlin"] += 1; // a write creates what is missing above it, in the same commit
  shm::json_dict config{name + ".json", nlohmann::json::object()};

  const pid_t child = fork();
  if (child == 0) { // another process: it sees the same trees, and may change them
    people["de"]["berlin"] += 2;
    people["fr"] = {{"paris", 3}, {"lyon", 4}}; // both at once
    config["server"]["ports"] = {80, 443};      // objects are dicts, everything else (arrays, too) is a value
    config["server"]["tls"]["versions"]["1.3"] = true;
    return 0;
  }
  int status = 0;
  waitpid(child, &status, 0);

  const auto de = people.at("de"); // a reference that can be kept
  std::cout << "berlin " << de.get("berlin", 0) << ", paris " << people["fr"]["paris"] << "\n";
  std::cout << config.to_json() << "\n";
  return status == 0 ? 0 : 1;
}
