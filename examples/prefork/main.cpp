// SPDX-License-Identifier: Apache-2.0
// A prefork HTTP server whose sessions, rate limits and counters live in shared memory: a supervisor, and four worker
// processes that listen on one port. Kill any worker at any time: the others go on with the same state, and the supervisor
// starts another.
//
//   prefork [PORT [PREFIX]]     PORT 0: any free one. Ends with SIGTERM or Ctrl-C.
//   curl -d ada -c jar localhost:8080/login && curl -b jar localhost:8080/ && curl localhost:8080/metrics
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <exception>
#include <string>
#include <system_error>
#include <thread>

#include "worker.hpp"

namespace {

constexpr std::uint32_t workers = 4;

// Keeps the port for the workers of this server as long as it lives: bound but not listening, it gets no connections.
int reserve(int port) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const int on = 1;
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<std::uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) != 0 ||
      bind(fd, reinterpret_cast<const sockaddr*>(&address), size) != 0 ||
      getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) != 0)
    throw std::system_error(errno, std::generic_category(), "cannot bind to port " + std::to_string(port));
  return ntohs(address.sin_port);
}

class supervisor {
 public:
  supervisor(const std::string& prefix, int port) : state_(prefix), port_(port) {
    // Blocked before the first fork, so that no signal is lost; taken one by one in run().
    sigemptyset(&signals_);
    for (const int signal : {SIGCHLD, SIGTERM, SIGINT}) sigaddset(&signals_, signal);
    pthread_sigmask(SIG_BLOCK, &signals_, nullptr);
  }

  void run() {
    for (std::uint32_t number = 0; number < workers; ++number) start(number);
    for (int signal = SIGCHLD; signal == SIGCHLD; sigwait(&signals_, &signal)) restart_dead();
    for (const pid_t pid : pids_) kill(pid, SIGTERM);
    for (const pid_t pid : pids_) waitpid(pid, nullptr, 0);
  }

 private:
  void start(std::uint32_t number) {
    const pid_t parent = getpid();
    const pid_t pid = fork(); // the dicts stay open: the child is an attachee of its own
    if (pid < 0) throw std::system_error(errno, std::generic_category(), "cannot fork");
    if (pid == 0) {
      prctl(PR_SET_PDEATHSIG, SIGTERM); // no worker outlives the supervisor
      _exit(getppid() == parent ? prefork::serve(state_, number, port_) : 1);
    }
    pids_[number] = pid;
    note([&] { state_.workers[number] = pid; });
  }

  // Bookkeeping that fails (shared memory is full, a stopped worker holds the lock) does not end the supervision.
  template <class Write>
  static void note(Write write) {
    try {
      write();
    } catch (const shm::error& error) {
      std::fprintf(stderr, "%s\n", error.what());
    }
  }

  void restart_dead() {
    int status = 0;
    for (pid_t pid = 0; (pid = waitpid(-1, &status, WNOHANG)) > 0;)
      for (std::uint32_t number = 0; number < workers; ++number) {
        if (pids_[number] != pid) continue;
        std::fprintf(stderr, "worker %u (pid %d) ended with %s %d\n", number, pid,
                     WIFSIGNALED(status) ? "signal" : "code",
                     WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
        std::this_thread::sleep_for(std::chrono::milliseconds(WIFSIGNALED(status) ? 10 : 1000)); // no busy loop
        start(number);
        note([&] { ++state_.counters["worker_restarts_total"]; });
      }
  }

  prefork::state state_;
  int port_;
  sigset_t signals_{};
  std::array<pid_t, workers> pids_{};
};

} // namespace

int main(int argc, char** argv) {
  try {
    const int port = reserve(argc > 1 ? std::stoi(argv[1]) : 8080);
    supervisor all(argc > 2 ? argv[2] : "prefork", port);
    std::printf("http://127.0.0.1:%d\n", port);
    std::fflush(stdout);
    all.run();
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "prefork: %s\n", error.what());
    return 1;
  }
}
