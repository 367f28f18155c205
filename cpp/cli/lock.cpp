// SPDX-License-Identifier: Apache-2.0
// lock: a command under a named lock, as flock(1) does with files.
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>

#include <fmt/format.h>

#include "commands.hpp"
#include "dict_handle.hpp"
#include "failure_of.hpp"
#include "output.hpp"
#include "shm/error.hpp"
#include "units.hpp"

namespace cli {
namespace {

volatile std::sig_atomic_t child_pid = 0;

constexpr int forwarded[] = {SIGINT, SIGQUIT, SIGTERM, SIGHUP};

// The terminal sends what its keys mean to the command, too; what is sent to us alone is passed on.
extern "C" void forward(int number, siginfo_t* info, void*) {
  const bool key = (number == SIGINT || number == SIGQUIT) && info->si_code == SI_KERNEL;
  if (child_pid > 0 && !key) ::kill(static_cast<pid_t>(child_pid), number);
}

[[noreturn]] void become(const std::vector<std::string>& command, pid_t parent, const sigset_t& mask) {
  for (const int number : forwarded) std::signal(number, SIG_DFL);
  std::signal(SIGPIPE, SIG_DFL);
  std::signal(SIGXFSZ, SIG_DFL);
  pthread_sigmask(SIG_SETMASK, &mask, nullptr);
  // Nobody may run under a lock that was taken over since: the command ends with who holds it.
  prctl(PR_SET_PDEATHSIG, SIGTERM);
  if (getppid() != parent) _exit(static_cast<int>(exit_code::lock_failed));
  std::vector<char*> argv;
  for (const auto& word : command) argv.push_back(const_cast<char*>(word.c_str())); // NOLINT: execvp's signature
  argv.push_back(nullptr);
  execvp(argv[0], argv.data());
  const int error = errno;
  note(fmt::format("cannot run '{}': {}", command[0], std::strerror(error))); // NOLINT(concurrency-mt-unsafe)
  _exit(static_cast<int>(error == ENOENT ? exit_code::no_command : exit_code::cannot_run));
}

int run_command(const std::vector<std::string>& command) {
  struct sigaction action {};
  action.sa_sigaction = forward;
  action.sa_flags = SA_SIGINFO;
  sigemptyset(&action.sa_mask);
  for (const int number : forwarded) sigaddset(&action.sa_mask, number);
  sigset_t before;
  pthread_sigmask(SIG_BLOCK, &action.sa_mask, &before); // until it is known whom they are for
  for (const int number : forwarded) sigaction(number, &action, nullptr);
  const pid_t self = getpid();
  std::fflush(nullptr);
  const pid_t pid = fork();
  if (pid < 0)
    throw failure(exit_code::lock_failed,
                  fmt::format("cannot start a process: {}", std::strerror(errno))); // NOLINT(concurrency-mt-unsafe)
  if (pid == 0) become(command, self, before);
  child_pid = pid;
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  int state = 0;
  while (waitpid(pid, &state, 0) < 0 && errno == EINTR) {
  }
  child_pid = 0;
  return WIFEXITED(state) ? WEXITSTATUS(state) : 128 + WTERMSIG(state);
}

} // namespace

int run_lock(const lock_arguments& a) {
  try {
    dict_handle d(a.name, access::use); // who else asks for the lock has to find this very dict
    const auto timeout = a.timeout < 0 ? SHMD_FOREVER : static_cast<std::int64_t>(std::min(a.timeout, 1e9) * 1e9);
    const int result = shmd_named_lock(d.get(), a.lock.c_str(), timeout);
    if (result == SHMD_TIMED_OUT) {
      const shmd_error_info* info = shmd_last_error();
      note(fmt::format("'{}' is held by {} ({}) for {}: wait longer with --timeout", a.lock,
                       *info->program != '\0' ? info->program : "process", info->pid, time_text(info->held_ns)));
      return static_cast<int>(exit_code::lock_timeout);
    }
    shm::detail::check(result);
    if (result == SHMD_RECOVERED)
      note(fmt::format("took '{}' over: its last holder died with it, its work may be half done", a.lock));
    const int code = run_command(a.command);
    shm::detail::check(shmd_named_unlock(d.get(), a.lock.c_str()));
    return code;
  } catch (const failure& e) {
    note(e.what());
  } catch (const shm::error& e) {
    note(failure_of(e).what());
  }
  return static_cast<int>(exit_code::lock_failed);
}

} // namespace cli
