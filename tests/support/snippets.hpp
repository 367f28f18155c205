// SPDX-License-Identifier: Apache-2.0
// For documents whose snippets run as tests: dict names that no other run has, removed at the end.
#pragma once

#undef NDEBUG
#include <unistd.h>

#include <cassert>
#include <cstdio>
#include <set>
#include <shm/shm.hpp>
#include <string>

#include "support/catch.hpp"

namespace support {

class owned_names {
 public:
  std::string add(const std::string& name) {
    const std::string unique = "test." + name + "." + std::to_string(pid_);
    names_.insert(unique);
    return unique;
  }
  ~owned_names() {
    if (getpid() != pid_) return;
    for (const auto& name : names_) static_cast<void>(shmd_unlink(name.c_str()));
  }

 private:
  const pid_t pid_ = getpid();
  std::set<std::string> names_;
};
inline owned_names all_owned; // made before any fork: children get the same names

inline std::string own(const std::string& name) { return all_owned.add(name); }

} // namespace support
