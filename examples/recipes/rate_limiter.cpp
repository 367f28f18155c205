// SPDX-License-Identifier: Apache-2.0
// Rate limiter: so many requests per client, counted over all processes. One number per client is enough: the time up to
// which its allowance is used up. A request moves it on by its cost; a client may be ahead of the clock by `burst` of them.
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <optional>
#include <shm/dict.hpp>
#include <string>
#include <string_view>

namespace {

using clients = shm::dict<std::string, std::int64_t>;

struct limit {
  std::int64_t cost; // ns between two requests in the long run
  std::int64_t burst;
};

std::int64_t now() { // the same clock in all processes; like the dict, it begins anew with the machine
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

bool allow(clients& all, std::string_view client, limit l) {
  const std::int64_t t = now();
  const auto after = [&](std::int64_t used) { return std::max(used, t) + l.cost; };
  const auto fits = [&](std::int64_t used) { return after(used) - t <= l.burst * l.cost; };
  if (!fits(all.get(client, 0))) return false; // who is over the limit costs a read, no lock
  bool allowed = false;
  all[client].update([&](std::int64_t used) { // under the lock: two processes never give out the same allowance
    allowed = fits(used);
    return allowed ? after(used) : used;
  });
  return allowed;
}

// Clients whose time has passed are as good as unknown. Now and then, by anybody.
int forget(clients& all) {
  int forgotten = 0;
  for (auto [client, used] : all.snapshot()) {
    if (used > now()) continue;
    all[client].update([&](std::optional<std::int64_t> latest) -> std::optional<std::int64_t> {
      if (!latest || *latest > now()) return latest; // it came back meanwhile
      ++forgotten;
      return std::nullopt;
    });
  }
  return forgotten;
}

} // namespace

int main(int argc, char** argv) {
  clients all{argc > 1 ? argv[1] : "recipe.rate_limiter"};
  constexpr limit hourly{3'600'000'000'000, 50};
  constexpr int processes = 4, requests = 1000;
  all["long gone"] = now() - 1;

  int allowed = 0;
  for (int i = 0; i < processes; ++i) {
    if (fork() != 0) continue;
    for (int n = 0; n < requests; ++n) allowed += allow(all, "10.0.0.7", hourly);
    _exit(allowed);
  }
  for (int i = 0, status = 0; i < processes; ++i) {
    wait(&status);
    allowed += WEXITSTATUS(status);
  }
  std::printf("forgot %d client\n", forget(all));
  std::printf("%d of %d requests to %d processes were allowed\n", allowed, processes * requests, processes);
}
