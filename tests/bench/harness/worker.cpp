// SPDX-License-Identifier: Apache-2.0
#include "worker.hpp"

#include <sched.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <nlohmann/json.hpp>
#include <thread>

namespace bench {

namespace {

using json = nlohmann::json;

json describe(const config& c, const char* kind, const std::string& system) {
  return {{"kind", kind},
          {"system", system},
          {"keys", c.keys},
          {"key_type", to_string(c.key_type)},
          {"value_bytes", c.value_bytes},
          {"distribution", to_string(c.distribution)},
          {"processes", c.processes},
          {"threads", c.threads}};
}

void print(const json& line) {
  std::printf("%s\n", line.dump().c_str());
  std::fflush(stdout);
}

void pin_to(std::size_t worker) {
  cpu_set_t all, one;
  if (sched_getaffinity(0, sizeof all, &all) != 0) return;
  auto skip = worker % static_cast<std::size_t>(CPU_COUNT(&all));
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(cpu, &all) || skip-- != 0) continue;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    static_cast<void>(sched_setaffinity(0, sizeof one, &one)); // not allowed: the scheduler decides
    return;
  }
}

double timer_cost_ns() {
  using clock = std::chrono::steady_clock;
  constexpr int count = 100000;
  const auto start = clock::now();
  for (int i = 0; i < count; ++i) static_cast<void>(clock::now());
  return std::chrono::duration<double, std::nano>(clock::now() - start).count() / count;
}

class process_run {
 public:
  process_run(const config& c, shared_state& s, std::size_t process)
      : config_(c), shared_(s), process_(process), peers_(chosen(c)), systems_(peers_.size()) {}

  void thread(std::size_t thread) {
    const std::size_t worker = process_ * config_.threads + thread;
    if (config_.pin) pin_to(worker);
    open(worker, thread);
    for (const auto w : config_.workloads)
      for (std::size_t round = 0; round < config_.rounds; ++round)
        for (std::size_t i = 0; i < peers_.size(); ++i) both(w, round, order(round, i), worker, false);
    if (!config_.latency) return;
    for (const auto w : config_.workloads)
      if (w < workload::transact) // those of which each operation can be timed
        for (std::size_t i = 0; i < peers_.size(); ++i) both(w, 0, i, worker, true);
  }

 private:
  // Forwards and backwards in turn: nobody always follows the same neighbour.
  std::size_t order(std::size_t round, std::size_t i) const { return round % 2 == 0 ? i : peers_.size() - 1 - i; }

  void open(std::size_t worker, std::size_t thread) {
    for (std::size_t i = 0; i < peers_.size(); ++i) {
      if (worker == 0) {
        systems_[i] = peers_[i].open(config_, role::create);
        if (systems_[i] != nullptr) {
          json line = describe(config_, "memory", peers_[i].name);
          line["bytes_per_entry"] = systems_[i]->fill();
          print(line);
        }
      }
      shared_.wait();
      if (worker != 0 && thread == 0) systems_[i] = peers_[i].open(config_, role::attach);
      shared_.wait();
      if (systems_[i] != nullptr) systems_[i]->prepare(worker);
    }
  }

  // What was inserted is erased at once: the next round inserts it again.
  void both(workload w, std::size_t round, std::size_t i, std::size_t worker, bool latency) {
    measure(w, round, i, worker, latency);
    if (w == workload::insert) measure(workload::erase, round, i, worker, latency);
  }

  void measure(workload w, std::size_t round, std::size_t i, std::size_t worker, bool latency) {
    system* s = systems_[i].get();
    if (s == nullptr || !s->supports(w)) return;
    histogram h;
    shared_.wait();
    const outcome mine = s->run(w, worker, latency ? config_.seconds * 2 : config_.seconds, latency ? &h : nullptr);
    auto& slot = shared_.of(worker);
    slot.result = mine;
    if (latency) {
      slot.max = h.max();
      h.store(slot.counts.data());
    }
    shared_.wait();
    if (worker == 0) report(w, round, peers_[i].name, latency);
  }

  void report(workload w, std::size_t round, const char* name, bool latency) {
    json line = describe(config_, latency ? "latency" : "throughput", name);
    line["workload"] = to_string(w);
    double per_second = 0;
    histogram all;
    for (std::size_t i = 0; i < shared_.workers(); ++i) {
      const auto& slot = shared_.of(i);
      if (slot.result.seconds > 0) per_second += static_cast<double>(slot.result.operations) / slot.result.seconds;
      if (latency) all.merge(slot.counts.data(), slot.max);
    }
    if (latency) {
      static const double timer = timer_cost_ns();
      line["p50_ns"] = all.quantile(0.5);
      line["p99_ns"] = all.quantile(0.99);
      line["p999_ns"] = all.quantile(0.999);
      line["p9999_ns"] = all.quantile(0.9999);
      line["max_ns"] = all.max();
      line["samples"] = all.size();
      line["timer_ns"] = timer;
    } else {
      line["round"] = round;
      line["ops_per_s"] = per_second;
    }
    print(line);
  }

  const config& config_;
  shared_state& shared_;
  std::size_t process_;
  std::vector<peer> peers_;
  std::vector<std::unique_ptr<system>> systems_;
};

} // namespace

std::vector<peer>& peers() {
  static std::vector<peer> all;
  return all;
}

std::vector<peer> chosen(const config& c) {
  std::vector<peer> out;
  for (const auto& name : c.systems) {
    const auto found = std::find_if(peers().begin(), peers().end(), [&](const peer& p) { return p.name == name; });
    if (found == peers().end()) throw std::invalid_argument("no peer '" + name + "' was built in; see --list");
    if (c.processes > 1 && !found->shared)
      throw std::invalid_argument("peer '" + name + "' lives in one process; use --threads");
    if (c.threads > 1 && !found->threads)
      throw std::invalid_argument("peer '" + name + "' is for one thread; use --processes");
    out.push_back(*found);
  }
  return out;
}

void run_process(const config& c, shared_state& s, std::size_t process) {
  process_run run(c, s, process);
  std::vector<std::thread> others;
  // The others wait at a barrier for a thread that failed: the whole process ends, and its parent ends the rest.
  const auto guarded = [&](std::size_t thread) {
    try {
      run.thread(thread);
    } catch (const std::exception& e) {
      std::fprintf(stderr, "bench: %s\n", e.what());
      std::fflush(nullptr);
      _Exit(1);
    }
  };
  for (std::size_t t = 1; t < c.threads; ++t) others.emplace_back(guarded, t);
  guarded(0);
  for (auto& t : others) t.join();
}

const char* to_string(workload w) {
  switch (w) {
    case workload::get:
      return "get";
    case workload::get_view:
      return "get_view";
    case workload::mix95:
      return "mix95";
    case workload::mix50:
      return "mix50";
    case workload::put:
      return "put";
    case workload::put_locked:
      return "put_locked";
    case workload::counter:
      return "counter";
    case workload::insert:
      return "insert";
    case workload::erase:
      return "erase";
    case workload::transact:
      return "transact";
    case workload::update:
      return "update";
    case workload::iterate:
      return "iterate";
  }
  return "?";
}
const char* to_string(key_kind k) {
  switch (k) {
    case key_kind::int64:
      return "int64";
    case key_kind::string24:
      return "string24";
    case key_kind::path:
      return "path";
  }
  return "?";
}
const char* to_string(distribution_kind d) { return d == distribution_kind::zipf ? "zipf0.99" : "uniform"; }

} // namespace bench
