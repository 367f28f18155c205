// SPDX-License-Identifier: Apache-2.0
// Measures some peers on one data set: forks the worker processes, which print JSON lines, and cleans up after them.
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <map>

#include "worker.hpp"

namespace {

using namespace bench;

// Whatever happened to the workers, nothing of theirs stays.
class cleaner {
 public:
  explicit cleaner(const config& c) : config_(c), peers_(chosen(c)) { sweep(); }
  cleaner(const cleaner&) = delete;
  cleaner& operator=(const cleaner&) = delete;
  ~cleaner() { sweep(); }

 private:
  void sweep() const {
    for (const auto& p : peers_) p.remove(config_);
  }
  const config& config_;
  std::vector<peer> peers_;
};

volatile sig_atomic_t interrupted = 0;

std::vector<pid_t> start(const config& c, shared_state& s) {
  std::vector<pid_t> children;
  const pid_t parent = getpid();
  for (std::size_t process = 0; process < c.processes; ++process) {
    std::fflush(nullptr);
    const pid_t pid = fork();
    if (pid == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      if (getppid() != parent) _exit(1);
      run_process(c, s, process);
      std::fflush(nullptr);
      _exit(0);
    }
    if (pid > 0) children.push_back(pid);
  }
  return children;
}

// 0 if all ended well. The first that does not takes the others along: they would wait for it.
int await(std::vector<pid_t> children, std::size_t wanted) {
  int failed = children.size() < wanted ? 1 : 0;
  while (!children.empty()) {
    if (failed != 0 || interrupted != 0)
      for (const pid_t pid : children) kill(pid, SIGKILL);
    int status = 0;
    const pid_t pid = waitpid(-1, &status, 0);
    if (pid < 0) continue; // a signal: look whether to stop
    children.erase(std::remove(children.begin(), children.end(), pid), children.end());
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) failed = 1;
  }
  return interrupted != 0 ? 130 : failed;
}

} // namespace

int main(int argc, char** argv) {
  config c;
  c.name = "bench." + std::to_string(getpid());
  bool list = false;
  bool no_pin = false;
  const std::map<std::string, workload> workloads = [] {
    std::map<std::string, workload> all;
    for (int i = 0; i <= static_cast<int>(workload::iterate); ++i)
      if (static_cast<workload>(i) != workload::erase) // comes with insert
        all[to_string(static_cast<workload>(i))] = static_cast<workload>(i);
    return all;
  }();
  const std::map<std::string, key_kind> keys{
      {"int64", key_kind::int64}, {"string24", key_kind::string24}, {"path", key_kind::path}};
  const std::map<std::string, distribution_kind> distributions{{"uniform", distribution_kind::uniform},
                                                               {"zipf", distribution_kind::zipf}};

  CLI::App app{"Measures dictionaries on one data set; prints a JSON line per measurement."};
  app.add_flag("--list", list, "print the peers that were built in, one a line");
  app.add_option("--systems", c.systems, "peers, measured in turn")->delimiter(',');
  app.add_option("--work", c.workloads, "workloads")->delimiter(',')->transform(CLI::CheckedTransformer(workloads));
  app.add_option("--keys", c.keys, "how many keys")->check(CLI::Range(std::size_t{1}, std::size_t{1} << 32U));
  app.add_option("--key-type", c.key_type, "type of the keys")->transform(CLI::CheckedTransformer(keys));
  app.add_option("--value-bytes", c.value_bytes, "size of the values; 8 = integers")->check(CLI::Range(8, 1 << 20));
  app.add_option("--buffer-size", c.buffer_size, "shmdict's: bytes of history that it keeps");
  app.add_option("--distribution", c.distribution, "which keys are used")
      ->transform(CLI::CheckedTransformer(distributions));
  app.add_option("--processes", c.processes, "worker processes")->check(CLI::Range(1, 256));
  app.add_option("--threads", c.threads, "threads in each of them")->check(CLI::Range(1, 256));
  app.add_option("--rounds", c.rounds, "rounds, in each of which every peer gets its turn")->check(CLI::Range(0, 1000));
  app.add_option("--seconds", c.seconds, "duration of one measurement")->check(CLI::Range(0.001, 60.0));
  app.add_flag("--latency", c.latency, "then time single operations");
  app.add_flag("--cpu-time", c.cpu_time,
               "throughput per second of processor time, on a machine that is busy otherwise");
  app.add_flag("--no-pin", no_pin, "let the scheduler choose cores");
  app.add_option("--redis", c.redis, "Unix socket of a Redis server");
  app.add_option("--memcached", c.memcached, "Unix socket of a memcached server");
  CLI11_PARSE(app, argc, argv);
  c.pin = !no_pin;

  if (list) {
    for (const auto& p : peers()) std::printf("%s\n", p.name);
    return 0;
  }
  try {
    struct sigaction stop {};
    stop.sa_handler = [](int) { interrupted = 1; };
    sigaction(SIGINT, &stop, nullptr);
    sigaction(SIGTERM, &stop, nullptr);
    const cleaner clean(c);
    shared_state s(c.workers());
    return await(start(c, s), c.processes);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "bench: %s\n", e.what());
    return 2;
  }
}
