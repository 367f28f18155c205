// SPDX-License-Identifier: Apache-2.0
#include "state.hpp"

#include <algorithm>
#include <cstdio>
#include <random>

namespace prefork {

std::int64_t now() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

bool allow(state& s, std::string_view client) {
  const std::int64_t t = now();
  const auto after = [t](std::int64_t used) { return std::max(used, t) + request_cost; };
  const auto fits = [&](std::int64_t used) { return after(used) - t <= request_burst * request_cost; };
  if (!fits(s.limits.get(client, 0))) return false; // who is over the limit costs a read
  bool allowed = false;
  s.limits[client].update([&](std::int64_t used) {
    allowed = fits(used);
    return allowed ? after(used) : used;
  });
  return allowed;
}

void count(state& s, std::uint32_t worker, int status) {
  s.counters.transact([&](auto& tx) {
    tx["requests_total"] += 1;
    tx["requests_by_status{status=\"" + std::to_string(status) + "\"}"] += 1;
    tx["requests_by_worker{worker=\"" + std::to_string(worker) + "\"}"] += 1;
  });
}

std::string log_in(state& s, const std::string& user) {
  std::random_device random;
  for (;;) {
    std::string id;
    for (int i = 0; i < 4; ++i) {
      char part[9];
      std::snprintf(part, sizeof part, "%08x", random());
      id += part;
    }
    if (s.sessions.insert({id, {user, now(), 0}}).second) return id;
  }
}

} // namespace prefork
