// SPDX-License-Identifier: Apache-2.0
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <memory>
#include <shm/dict.hpp>
#include <stdexcept>
#include <vector>

#include "probes.hpp"

namespace bench {

namespace {

using dict = shm::dict<std::int64_t, std::int64_t>;

double median(std::vector<double> v) {
  std::sort(v.begin(), v.end());
  return v.at(v.size() / 2);
}

// Starts the program anew: nothing of this process, which has the dict mapped, is left in it.
double in_new_process(const std::string& program, const std::string& name) {
  int ends[2];
  if (pipe(ends) != 0) throw std::runtime_error("no pipe");
  std::fflush(nullptr);
  const pid_t pid = fork();
  if (pid == 0) {
    dup2(ends[1], STDOUT_FILENO);
    close(ends[0]);
    close(ends[1]);
    execl(program.c_str(), program.c_str(), "attach-once", name.c_str(), static_cast<char*>(nullptr));
    _exit(127);
  }
  close(ends[1]);
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> output(fdopen(ends[0], "r"), std::fclose);
  double ns = 0;
  const bool read = std::fscanf(output.get(), "%lf", &ns) == 1; // NOLINT(cert-err34-c)
  int status = 0;
  waitpid(pid, &status, 0);
  if (!read || status != 0) throw std::runtime_error("the process that attaches failed");
  return ns;
}

} // namespace

double attach_once(const std::string& name) {
  const auto start = std::chrono::steady_clock::now();
  const dict d{shm::open_only, name};
  return std::chrono::duration<double, std::nano>(std::chrono::steady_clock::now() - start).count();
}

measured attach(const std::string& program, std::size_t keys) {
  const std::string prefix = "bench.attach." + std::to_string(getpid());
  dict small{shm::create_only, prefix + ".small"};
  dict large{shm::create_only, prefix + ".large"};
  for (std::int64_t i = 0; i < 10; ++i) small[i] = i;
  for (std::size_t i = 0; i < keys; ++i) large[static_cast<std::int64_t>(i)] = 1;
  std::vector<double> of_small, of_large;
  for (int round = 0; round < 25; ++round) {
    of_small.push_back(in_new_process(program, prefix + ".small"));
    of_large.push_back(in_new_process(program, prefix + ".large"));
  }
  return {{"small_ns", median(of_small)}, {"large_ns", median(of_large)}, {"keys", static_cast<double>(keys)}};
}

} // namespace bench
