// SPDX-License-Identifier: Apache-2.0
// Running the command as a shell does: arguments, stdin, what comes out, exit code.
#pragma once

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string>
#include <vector>

#include "support/process.hpp"

namespace shell {

struct ended {
  int code; // 128 + signal if it was killed
  std::string out, err;
};

using words = std::vector<std::string>;

constexpr std::chrono::seconds patience{60}; // with what has to come at some time

// Gives this process, and those that it starts, an empty /dev/shm. False if the kernel forbids it.
inline bool private_shm() {
  const auto write_text = [](const char* path, const std::string& text) {
    const int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, text.data(), text.size()) < 0) std::perror(path);
    if (fd >= 0) close(fd);
  };
  const auto user = std::to_string(geteuid()), group = std::to_string(getegid());
  if (unshare(CLONE_NEWNS) != 0) {
    if (unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0) return false;
    write_text("/proc/self/setgroups", "deny");
    write_text("/proc/self/uid_map", user + " " + user + " 1");
    write_text("/proc/self/gid_map", group + " " + group + " 1");
  }
  return mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 &&
         mount("shmdict-test", "/dev/shm", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777,size=1g") == 0;
}
// Many commands look at all dicts, which keeps them open for a moment: those of tests beside this one, otherwise.
inline const bool alone = private_shm();

// A program that runs, its output going to pipes. Killed at the end of the scope at the latest.
class running {
 public:
  explicit running(const words& command, const std::string& input = {}) {
    int in[2], out[2], err[2];
    if (pipe2(in, O_CLOEXEC) != 0 || pipe2(out, O_CLOEXEC) != 0 || pipe2(err, O_CLOEXEC) != 0)
      throw std::runtime_error("pipe failed");
    std::vector<char*> argv;
    for (const auto& w : command) argv.push_back(const_cast<char*>(w.c_str()));
    argv.push_back(nullptr);
    // fork() would open this process's dicts for the child, too: attached twice until both have closed that.
    pid_ = _Fork();
    if (pid_ < 0) throw std::runtime_error("fork failed");
    if (pid_ == 0) {
      dup2(in[0], 0);
      dup2(out[1], 1);
      dup2(err[1], 2);
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      execvp(argv[0], argv.data());
      _exit(126);
    }
    close(in[0]);
    close(out[1]);
    close(err[1]);
    ::signal(SIGPIPE, SIG_IGN);
    // What is given must fit into the pipe, or be read at once.
    if (!input.empty() && write(in[1], input.data(), input.size()) < 0) throw std::runtime_error("write failed");
    close(in[1]);
    out_ = out[0];
    err_ = err[0];
  }
  ~running() {
    if (pid_ > 0) {
      kill(pid_, SIGKILL);
      waitpid(pid_, nullptr, 0);
    }
    close(out_);
    close(err_);
  }
  running(const running&) = delete;
  running& operator=(const running&) = delete;

  pid_t pid() const { return pid_; }
  void signal(int number) const {
    if (pid_ > 0) kill(pid_, number);
  }
  const std::string& out() const { return result_.out; }

  // Reads until its output holds `text`; false if it ends before, or patience does.
  bool until(const std::string& text) {
    const auto end = support::Clock::now() + patience;
    while (result_.out.find(text) == std::string::npos) {
      const bool late = support::Clock::now() > end; // the last look comes after that
      if (!read_some(100) || late) return result_.out.find(text) != std::string::npos;
    }
    return true;
  }
  // Kills it when patience ends: the code says so.
  ended wait() {
    const auto end = support::Clock::now() + patience;
    while (read_some(1000))
      if (support::Clock::now() > end) signal(SIGKILL);
    int status = 0;
    waitpid(pid_, &status, 0);
    pid_ = -1;
    result_.code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    return result_;
  }

 private:
  // False when both pipes have ended.
  bool read_some(int ms) {
    pollfd fds[2] = {{out_open_ ? out_ : -1, POLLIN, 0}, {err_open_ ? err_ : -1, POLLIN, 0}};
    if (!out_open_ && !err_open_) return false;
    if (poll(fds, 2, ms) <= 0) return true;
    char block[65536];
    for (int i = 0; i < 2; ++i) {
      if (fds[i].revents == 0) continue;
      const auto n = read(i == 0 ? out_ : err_, block, sizeof block);
      if (n <= 0)
        (i == 0 ? out_open_ : err_open_) = false;
      else
        (i == 0 ? result_.out : result_.err).append(block, static_cast<std::size_t>(n));
    }
    return true;
  }

  pid_t pid_ = -1;
  int out_ = -1, err_ = -1;
  bool out_open_ = true, err_open_ = true;
  ended result_{0, {}, {}};
};

inline ended run(const words& command, const std::string& input = {}) { return running(command, input).wait(); }

// shmdict ARGUMENTS...
inline words command_line(words arguments) {
  arguments.insert(arguments.begin(), SHMDICT_COMMAND);
  return arguments;
}
inline ended shmdict(words arguments, const std::string& input = {}) {
  return run(command_line(std::move(arguments)), input);
}

inline std::string read_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) throw std::runtime_error("cannot read " + path);
  return {std::istreambuf_iterator<char>(in), {}};
}

// A file that goes at the end of the scope.
class temporary {
 public:
  explicit temporary(const std::string& content = {}) : path_("/tmp/shmdict-" + support::unique_name("file")) {
    std::ofstream(path_, std::ios::binary) << content;
  }
  ~temporary() { std::remove(path_.c_str()); }
  temporary(const temporary&) = delete;
  temporary& operator=(const temporary&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

} // namespace shell
