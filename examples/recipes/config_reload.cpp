// SPDX-License-Identifier: Apache-2.0
// Configuration hot reload: one process puts a file into shared memory; all others have it as plain data of their own, and
// take over a change between two requests: no file is read, no signal sent, nothing restarted.
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstdio>
#include <exception>
#include <nlohmann/json.hpp>
#include <shm/json.hpp>
#include <stdexcept>
#include <string>

namespace {

using namespace std::chrono_literals;

struct settings {
  int version, low, high;
  bool trace; // false unless the file says otherwise

  explicit settings(const nlohmann::json& j)
      : version(j.at("version").get<int>()),
        low(j.at("pool").at("low").get<int>()),
        high(j.at("pool").at("high").get<int>()),
        trace(j.value("trace", false)) {
    if (low < 0 || low > high) throw std::invalid_argument("pool: 0 <= low <= high must hold");
  }
};

class live_settings {
 public:
  explicit live_settings(const shm::json_dict& shared) : copy_(shared), now_(copy_.data()) {}

  // For a worker, before each request: a few nanoseconds while nothing changes. A bad configuration is told, and not used.
  const settings& get() {
    if (copy_.sync() == 0) return now_;
    try {
      now_ = settings(copy_.data()); // of one commit: never half old and half new
    } catch (const std::exception& error) {
      ++refused_;
      std::fprintf(stderr, "process %d keeps version %d: %s\n", getpid(), now_.version, error.what());
    }
    return now_;
  }
  // For a thread that has something to do when it changes. False: nothing did.
  bool wait(std::chrono::milliseconds timeout) { return copy_.wait(timeout); }
  int refused() const { return refused_; }

 private:
  shm::replica<std::string, shm::json_dict> copy_;
  settings now_;
  int refused_ = 0;
};

// A worker: serves until version 3 is there. 0: it never saw a bad one, and what is gone from the file is gone here.
int work(const shm::json_dict& shared, int ready) {
  live_settings live(shared);
  char byte = 0;
  if (write(ready, &byte, 1) != 1) return 1;
  for (;;) {
    const settings& s = live.get();
    if (s.high != 2 * s.low) return 1;
    if (s.trace != (s.version == 1)) return 1;
    if (s.version == 3) break;
    if (!live.wait(60s)) return 1;
  }
  return live.refused() <= 1 ? 0 : 1;
}

} // namespace

int main(int argc, char** argv) {
  shm::json_dict shared{argc > 1 ? argv[1] : "recipe.config_reload",
                        nlohmann::json::parse(R"({"version": 1, "trace": true, "pool": {"low": 4, "high": 8}})")};
  std::array<int, 2> ready{};
  if (pipe(ready.data()) != 0) return 1;
  constexpr int workers = 4;
  for (int i = 0; i < workers; ++i)
    if (fork() == 0) _exit(work(shared, ready[1]));
  char byte = 0;
  for (int i = 0; i < workers; ++i)
    if (read(ready[0], &byte, 1) != 1) return 1;

  for (const char* file : {R"({"version": 2, "pool": {"low": 9, "high": 1}})", // somebody's mistake
                           R"({"version": 3, "pool": {"low": 8, "high": 16}})"})
    shared.replace(nlohmann::json::parse(file)); // in one commit; update() would keep what is not in the file any more

  int followed = 0;
  for (int i = 0, status = 0; i < workers; ++i) {
    wait(&status);
    followed += status == 0;
  }
  std::printf("%d of %d workers follow the configuration, and none used the bad one\n", followed, workers);
  return followed == workers ? 0 : 1;
}
