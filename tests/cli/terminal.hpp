// SPDX-License-Identifier: Apache-2.0
// A pseudo-terminal with a program on it.
#pragma once

#include <poll.h>
#include <pty.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

#include "shell.hpp"

namespace shell {

class terminal {
 public:
  using environment = std::vector<std::pair<std::string, std::string>>;

  terminal(const words& command, int rows, int columns, const environment& env = {}) {
    winsize size{static_cast<unsigned short>(rows), static_cast<unsigned short>(columns), 0, 0};
    pid_ = forkpty(&fd_, nullptr, nullptr, &size);
    if (pid_ < 0) throw std::runtime_error("forkpty failed");
    if (pid_ == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      setenv("TERM", "xterm", 1);
      unsetenv("NO_COLOR");
      for (const auto& [name, value] : env) setenv(name.c_str(), value.c_str(), 1);
      std::vector<char*> argv;
      for (const auto& w : command) argv.push_back(const_cast<char*>(w.c_str()));
      argv.push_back(nullptr);
      execvp(argv[0], argv.data());
      _exit(126);
    }
  }
  ~terminal() {
    if (pid_ > 0) {
      kill(pid_, SIGKILL);
      waitpid(pid_, nullptr, 0);
    }
    close(fd_);
  }
  terminal(const terminal&) = delete;
  terminal& operator=(const terminal&) = delete;

  void type(const std::string& keys) const {
    if (write(fd_, keys.data(), keys.size()) < 0) throw std::runtime_error("write failed");
  }
  void resize(int rows, int columns) const {
    const winsize size{static_cast<unsigned short>(rows), static_cast<unsigned short>(columns), 0, 0};
    ioctl(fd_, TIOCSWINSZ, &size);
  }
  void signal(int number) const {
    if (pid_ > 0) kill(pid_, number);
  }
  // Whether the terminal echoes what is typed, as it does for a shell.
  bool echoes() const {
    termios t{};
    return tcgetattr(fd_, &t) == 0 && (t.c_lflag & ECHO) != 0 && (t.c_lflag & ICANON) != 0;
  }

  // Everything that was shown, escape codes included.
  const std::string& shown() const { return shown_; }
  // Waits until something is shown behind what was found when it was called last; false if it ends before, or patience does.
  bool until(const std::string& text) {
    const auto end = support::Clock::now() + patience;
    for (bool last = false;;) {
      const auto at = shown_.find(text, from_);
      if (at != std::string::npos) {
        from_ = at + text.size();
        return true;
      }
      if (last) return false;
      const bool late = support::Clock::now() > end;
      last = !read_some() || late;
    }
  }
  int wait() {
    const auto end = support::Clock::now() + patience;
    while (read_some() && support::Clock::now() < end) {
    }
    if (support::Clock::now() >= end) kill(pid_, SIGKILL); // does not end: the code says so
    int status = 0;
    waitpid(pid_, &status, 0);
    pid_ = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }

 private:
  bool read_some() {
    pollfd p{fd_, POLLIN, 0};
    if (poll(&p, 1, 100) <= 0) return true;
    char block[4096];
    const auto n = read(fd_, block, sizeof block);
    if (n <= 0) return false;
    shown_.append(block, static_cast<std::size_t>(n));
    return true;
  }

  pid_t pid_ = -1;
  int fd_ = -1;
  std::string shown_;
  std::size_t from_ = 0;
};

// Without colours and the terminal's ends of line.
inline std::string plain(const std::string& shown) {
  std::string out;
  for (std::size_t i = 0; i < shown.size(); ++i) {
    if (shown[i] == '\033' && i + 1 < shown.size() && shown[i + 1] == '[') {
      while (i < shown.size() && !(shown[i] >= '@' && shown[i] <= '~' && shown[i] != '[')) ++i;
    } else if (shown[i] != '\r') {
      out += shown[i];
    }
  }
  return out;
}

} // namespace shell
