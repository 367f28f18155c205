// SPDX-License-Identifier: Apache-2.0
// Feature flags: asked for in every request by every process, at the price of a look into a hash table; changed by anybody
// at any time. A flag is a percentage of users, who keep what they have as it grows.
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <set>
#include <shm/dict.hpp>
#include <string>
#include <string_view>
#include <thread>

namespace {

using flags = shm::dict<std::string, unsigned>; // percent of users; an unknown flag is off

// The same in every process and every version of the program (std::hash need not be): 64-bit FNV-1a.
std::uint64_t hash(std::string_view text, std::uint64_t h = 14695981039346656037u) {
  for (const char c : text) h = (h ^ static_cast<unsigned char>(c)) * 1099511628211u;
  return h;
}

template <class Flags> // the dict, or a snapshot of it
bool enabled(const Flags& all, std::string_view flag, std::string_view user) {
  const unsigned percent = all.get(flag, 0u); // no lock
  return percent >= 100 || (percent > 0 && hash(user, hash(flag)) % 100 < percent);
}

} // namespace

int main(int argc, char** argv) {
  flags all{argc > 1 ? argv[1] : "recipe.feature_flags", {{"new_checkout", 100}, {"dark_mode", 25}}};

  const auto users = [&] { // who has dark_mode now
    std::set<int> some;
    for (int i = 0; i < 10'000; ++i)
      if (enabled(all, "dark_mode", "user" + std::to_string(i))) some.insert(i);
    return some;
  };
  const auto quarter = users();
  all["dark_mode"] = 50;
  const auto half = users();
  const bool kept = std::includes(half.begin(), half.end(), quarter.begin(), quarter.end());
  std::printf("dark_mode for %zu of 10000 users at 25 percent, for %zu at 50\n", quarter.size(), half.size());

  constexpr int processes = 4;
  for (int i = 0; i < processes; ++i) {
    if (fork() != 0) continue;
    while (enabled(all, "new_checkout", "ada")) std::this_thread::yield(); // its requests
    const auto now = all.snapshot(); // what belongs together is asked of one moment
    _exit(enabled(now, "old_checkout", "ada") && !enabled(now, "new_checkout", "ada") ? 0 : 1);
  }
  all.transact([](auto& tx) { // the emergency switch: both or none
    tx["old_checkout"] = 100;
    tx["new_checkout"] = 0;
  });
  int switched = 0;
  for (int i = 0, status = 0; i < processes; ++i) {
    wait(&status);
    switched += status == 0;
  }
  std::printf("%d of %d processes have switched\n", switched, processes);
  return switched == processes && kept ? 0 : 1;
}
