// SPDX-License-Identifier: Apache-2.0
// What the facade's tests share: unique names that are unlinked whatever happens, and small dicts.
#pragma once

#include <chrono>
#include <shm/shm.hpp>
#include <string>
#include <thread>
#include <utility>

#include "support/catch.hpp"
#include "support/dict.hpp"

namespace support {

class Name {
 public:
  explicit Name(const std::string& what) : name_(unique_name("cpp." + what)) {}
  ~Name() {
    try {
      shm::unlink(name_);
    } catch (const shm::error&) { // a test that fails says so itself
    }
  }
  Name(const Name&) = delete;
  Name& operator=(const Name&) = delete;
  operator const std::string&() const { return name_; }
  const std::string& str() const { return name_; }

 private:
  std::string name_;
};

inline shm::options small() { return shm::options{}.max_size(std::uint64_t{64} << 20); }

// A dict of its own name.
template <class D>
struct Own {
  explicit Own(const std::string& what) : name(what), d(name, small()) {}
  Name name;
  D d;
};

// Waits for a condition; false if it does not come true in a minute.
template <class Condition>
bool eventually(Condition condition) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::minutes(1);
  while (!condition()) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return true;
}
// Until a watcher, a replica or a wait_for() has gone to sleep since the last write. Not one of a read-only handle.
template <class D>
void until_followed(const D& d) {
  static_cast<void>(eventually([&] { return d.status().shared.followed; }));
}

// The code of the shm::error that f throws; 0 if it throws none.
template <class F>
int code_of(F&& f) {
  try {
    f();
  } catch (const shm::error& e) {
    return e.code().value();
  }
  return 0;
}
template <class F>
std::string message_of(F&& f) {
  try {
    f();
  } catch (const std::exception& e) {
    return e.what();
  }
  return "nothing was thrown";
}

} // namespace support
