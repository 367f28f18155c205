// What the facade's tests share: unique names that are unlinked whatever happens, and small dicts.
#pragma once

#include <shm/shm.hpp>
#include <string>
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
