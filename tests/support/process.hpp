// SPDX-License-Identifier: Apache-2.0
// Child processes, memory to talk with them, and names that are cleaned up: for tests across processes.
#pragma once

#include <shmdict/shmdict.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <new>
#include <string>
#include <thread>
#include <utility>

#include "support/dict.hpp"

namespace support {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

inline std::uint64_t now_ns() {
  return static_cast<std::uint64_t>(
      std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now().time_since_epoch()).count());
}

// Waits for a condition; false if it does not come true in time.
template <class Condition>
bool eventually(Condition condition, std::chrono::milliseconds limit = 60s) {
  const auto end = Clock::now() + limit;
  while (!condition()) {
    if (Clock::now() > end) return condition(); // it may have slept long
    std::this_thread::sleep_for(200us);
  }
  return true;
}

// A T that forked children share.
template <class T>
class Shared {
 public:
  Shared() {
    void* p = mmap(nullptr, sizeof(T), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) throw std::bad_alloc();
    value_ = new (p) T();
  }
  ~Shared() { munmap(static_cast<void*>(value_), sizeof(T)); }
  Shared(const Shared&) = delete;
  Shared& operator=(const Shared&) = delete;
  T* operator->() const { return value_; }
  T& operator*() const { return *value_; }

 private:
  T* value_;
};

// A forked child that runs `body` and ends with its result, without destructors or atexit handlers: as if it had been
// killed, to the library. Killed and reaped at the end of the scope at the latest.
class Child {
 public:
  template <class Body>
  explicit Child(Body body) {
    std::fflush(nullptr);
    pid_ = fork();
    if (pid_ < 0) throw std::runtime_error("fork failed");
    if (pid_ == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL); // a test that fails leaves nobody behind
      int code = 99;
      try {
        code = body();
      } catch (const std::exception& e) {
        std::fprintf(stderr, "child: %s\n", e.what());
      }
      std::fflush(nullptr);
      _exit(code);
    }
  }
  ~Child() {
    if (pid_ > 0) end(SIGKILL);
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  pid_t pid() const { return pid_; }
  void signal(int number) const { ::kill(pid_, number); }
  // Kills it and waits until it is gone: the kernel has closed its descriptors then.
  void end(int number) {
    ::kill(pid_, number);
    if (number == SIGKILL) (void)join();
  }
  // Exit code, or minus the signal that ended it.
  int join() {
    int status = 0;
    while (waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
    }
    pid_ = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  }

 private:
  pid_t pid_ = -1;
};

// A name nobody else uses, removed at the end whatever happened to it.
class Name {
 public:
  explicit Name(const std::string& what) : name_(unique_name(what)), owner_(getpid()) {}
  ~Name() {
    if (getpid() != owner_) return;
    if (shmd_unlink(name_.c_str()) < 0) std::remove(path().c_str());
  }
  Name(const Name&) = delete;
  Name& operator=(const Name&) = delete;
  operator const std::string&() const { return name_; }
  const char* c_str() const { return name_.c_str(); }
  std::string path() const { return "/dev/shm/shmdict." + name_; }
  bool exists() const {
    struct stat s;
    return lstat(path().c_str(), &s) == 0;
  }

 private:
  std::string name_;
  pid_t owner_;
};

// A handle that only closes: the name is the business of a Name.
class Handle {
 public:
  explicit Handle(const std::string& name, shmd_options options = small_options()) {
    must(shmd_open(name.c_str(), &options, &d_), "open");
  }
  ~Handle() { (void)shmd_close(d_); }
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;
  operator shmd_dict*() const { return d_; }
  int close() { return shmd_close(std::exchange(d_, nullptr)); }

 private:
  shmd_dict* d_ = nullptr;
};

inline int put(shmd_dict* d, const std::string& key, std::uint64_t value) {
  return shmd_put(d, shmd_root(), key.data(), key.size(), &value, sizeof value, 0);
}

inline std::uint64_t get(shmd_dict* d, const std::string& key, std::uint64_t absent = UINT64_MAX) {
  std::uint64_t value = absent;
  std::size_t size = 0;
  const int result = shmd_get(d, shmd_root(), key.data(), key.size(), &value, sizeof value, &size);
  if (result < 0) must(result, "get");
  return result == SHMD_OK ? value : absent;
}

inline shmd_options with(int unlink, int mode = SHMD_OPEN_OR_CREATE) {
  shmd_options o = small_options();
  o.unlink = unlink;
  o.mode = mode;
  return o;
}

} // namespace support
