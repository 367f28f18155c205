// SPDX-License-Identifier: Apache-2.0
#include "process.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <system_error>
#include <thread>
#include <type_traits>
#include <utility>

namespace demo {

static_assert(sizeof(message) <= PIPE_BUF && std::is_trivially_copyable_v<message>);

order next_order(bool wait) {
  pollfd orders{STDIN_FILENO, POLLIN, 0};
  if (poll(&orders, 1, wait ? -1 : 0) <= 0) return order::none;
  char byte = 0;
  const ssize_t n = read(STDIN_FILENO, &byte, 1);
  if (n < 0 && errno == EINTR) return order::none;
  return n == 1 && byte == take_lock_order ? order::take_lock : order::stop;
}

void tell(kind what, std::uint64_t count, std::uint32_t domain, std::string_view text) {
  message m{};
  m.what = what;
  m.domain = domain;
  m.count = count;
  m.when = clock::now();
  text.copy(m.text, sizeof m.text - 1);
  while (write(STDOUT_FILENO, &m, sizeof m) < 0)
    if (errno != EINTR) throw std::runtime_error("nobody listens any more");
}

namespace {

struct pipe_ends {
  int reading;
  int writing;
};
pipe_ends make_pipe() {
  int fds[2];
  if (pipe2(fds, O_CLOEXEC) != 0) throw std::system_error(errno, std::generic_category(), "pipe2");
  return {fds[0], fds[1]};
}

// Only the ends that a child needs are in it.
pid_t spawn(const std::vector<std::string>& arguments, int in, int out) {
  std::vector<char*> argv;
  argv.reserve(arguments.size() + 1);
  for (const std::string& a : arguments) argv.push_back(const_cast<char*>(a.c_str()));
  argv.push_back(nullptr);

  posix_spawn_file_actions_t files;
  posix_spawnattr_t attributes;
  posix_spawn_file_actions_init(&files);
  posix_spawnattr_init(&attributes);
  posix_spawn_file_actions_adddup2(&files, in, STDIN_FILENO);
  posix_spawn_file_actions_adddup2(&files, out, STDOUT_FILENO);
  posix_spawnattr_setpgroup(&attributes, 0);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP);
  pid_t pid = -1;
  const int error = posix_spawn(&pid, "/proc/self/exe", &files, &attributes, argv.data(), environ);
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&files);
  if (error != 0) throw std::system_error(error, std::generic_category(), "starting a program");
  return pid;
}

} // namespace

child::child(std::string name, const std::vector<std::string>& arguments) : name_(std::move(name)) {
  const pipe_ends to = make_pipe(), from = make_pipe();
  orders_ = to.writing;
  messages_ = from.reading;
  std::vector<std::string> all{"catalogue"};
  all.insert(all.end(), arguments.begin(), arguments.end());
  pid_ = spawn(all, to.reading, from.writing);
  close(to.reading);
  close(from.writing);
}

child::child(child&& other) noexcept
    : name_(std::move(other.name_)),
      pid_(std::exchange(other.pid_, -1)),
      orders_(std::exchange(other.orders_, -1)),
      messages_(std::exchange(other.messages_, -1)),
      status_(other.status_),
      ended_(other.ended_) {}

child::~child() {
  hang_up();
  if (pid_ > 0) static_cast<void>(wait(std::chrono::seconds(2)));
}

bool child::receive(std::vector<message>& out) {
  std::array<message, 64> batch;
  const ssize_t n = read(messages_, batch.data(), sizeof batch);
  if (n < 0 && (errno == EINTR || errno == EAGAIN)) return true;
  if (n <= 0) {
    close(std::exchange(messages_, -1));
    return false;
  }
  const auto bytes = static_cast<std::size_t>(n);
  if (bytes % sizeof(message) != 0) throw std::runtime_error("a message was cut: somebody else wrote into the pipe");
  out.insert(out.end(), batch.begin(), batch.begin() + bytes / sizeof(message));
  return true;
}

void child::give(char order_byte) const { static_cast<void>(!write(orders_, &order_byte, 1)); }

void child::stop() noexcept {
  if (orders_ >= 0) close(std::exchange(orders_, -1));
}

void child::hang_up() noexcept {
  stop();
  if (messages_ >= 0) close(std::exchange(messages_, -1));
}

void child::kill() const {
  if (pid_ > 0 && !ended_) ::kill(pid_, SIGKILL);
}

int child::wait(std::chrono::milliseconds patience) {
  for (const auto until = clock::now() + patience; !ended_;) {
    const pid_t result = waitpid(pid_, &status_, WNOHANG);
    if (result == pid_ || (result < 0 && errno != EINTR)) {
      ended_ = true;
    } else if (clock::now() > until) {
      kill();
      ended_ = waitpid(pid_, &status_, 0) == pid_;
    } else {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }
  return status_;
}

} // namespace demo
