// SPDX-License-Identifier: Apache-2.0
// Metrics: counters of all workers in one place, that anybody can print. What belongs together is counted in one
// transaction, so that the numbers agree in every snapshot, even if a worker is killed while it counts.
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <map>
#include <shm/dict.hpp>
#include <string>
#include <thread>

namespace {

using metrics = shm::dict<std::string, std::uint64_t>; // keys as Prometheus writes them

constexpr std::array<std::pair<std::uint64_t, const char*>, 3> buckets{
    {{1'000, "duration_us_bucket{le=\"1000\"}"},
     {10'000, "duration_us_bucket{le=\"10000\"}"},
     {UINT64_MAX, "duration_us_bucket{le=\"+Inf\"}"}}};

void count(metrics& m, int status, std::uint64_t us) {
  m.transact([&](auto& tx) {
    tx["requests_total{status=\"" + std::to_string(status) + "\"}"] += 1;
    tx["duration_us_sum"] += us;
    tx["duration_us_count"] += 1;
    for (const auto& [limit, key] : buckets)
      if (us <= limit) tx[key] += 1;
  });
}

} // namespace

int main(int argc, char** argv) {
  metrics m{argc > 1 ? argv[1] : "recipe.metrics"};
  std::array<pid_t, 4> workers{};
  for (auto& worker : workers) {
    worker = fork();
    if (worker != 0) continue;
    for (std::uint64_t n = 0; n < 1'000'000; ++n) count(m, n % 100 == 0 ? 500 : 200, n * 7 % 20'000);
    _exit(0);
  }
  for (const auto worker : workers) { // killed one after the other, at whatever they do
    const auto before = m.get("duration_us_count", 0);
    while (m.get("duration_us_count", 0) < before + 500) std::this_thread::yield();
    kill(worker, SIGKILL);
    waitpid(worker, nullptr, 0);
  }

  const auto all = m.to_map(); // of one moment
  const std::map<std::string, std::uint64_t> sorted(all.begin(), all.end());
  for (const auto& [key, value] : sorted) std::printf("%s %llu\n", key.c_str(), static_cast<unsigned long long>(value));

  const auto total = all.at("duration_us_count");
  const bool agree = total >= 2000 && all.at(buckets.back().second) == total &&
                     all.at("requests_total{status=\"200\"}") + all.at("requests_total{status=\"500\"}") == total;
  std::printf("%s\n", agree ? "all numbers agree, though every worker was killed" : "the numbers do not agree");
  return agree ? 0 : 1;
}
