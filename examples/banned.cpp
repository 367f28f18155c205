// SPDX-License-Identifier: Apache-2.0
// A list of banned addresses, a dict for each: two processes ban and forgive as fast as they can, a third prints the list.
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <shm/dict.hpp>
#include <string>
#include <thread>

using ban = shm::dict<std::string, long long>; // since, until
using list = shm::dict<std::string, ban>;

namespace {

int guard_door(shm::dict<std::string, int>& doors, list& banned, int door) {
  const std::string network = "10.0." + std::to_string(door) + ".";
  for (long long now = 1; !doors.contains("closed"); ++now) {
    const std::string address = network + std::to_string(now % 250);
    banned[address] = {{"since", now}, {"until", now + 60}}; // both or nothing
    if (now > 10) banned.erase(network + std::to_string((now - 10) % 250));
    ++doors[std::to_string(door)];
  }
  return 0;
}

} // namespace

int main(int argc, char** argv) {
  using namespace std::chrono_literals;
  const std::string name = argc > 1 ? argv[1] : "example.banned";
  list banned{name};
  shm::dict<std::string, int> doors{name + ".doors"};
  for (const int door : {1, 2})
    if (fork() == 0) return guard_door(doors, banned, door);

  int torn = 0;
  const auto few = [&] { return doors.get("1", 0) < 10 || doors.get("2", 0) < 10; };
  for (int i = 0; i < 10 || (i < 600 && few()); ++i) {
    std::this_thread::sleep_for(50ms);
    const auto now = banned.to_map(); // one moment, all levels
    for (const auto& [address, entry] : now)
      if (entry.at("until") != entry.at("since") + 60) ++torn;
    std::printf("%zu banned, for instance %s\n", now.size(), now.empty() ? "-" : now.begin()->first.c_str());
  }
  doors["closed"] = 1;
  for (int status = 0; wait(&status) > 0;)
    if (status != 0) ++torn;
  const bool all_well = torn == 0 && banned.size() == 20;
  std::printf("%zu addresses stay banned, %d entries were torn\n", banned.size(), torn);
  return all_well ? 0 : 1;
}
