// SPDX-License-Identifier: Apache-2.0
// The application's locks that are kept in a dict.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "codec.hpp"
#include "dict_handle.hpp"

namespace cli {

struct named_lock {
  std::string name; // of a key's lock: its key in hex
  bool is_key, alive;
  std::int64_t pid;
  std::uint64_t held_ns;
  std::string program;
};

// Those that are held, or were by the dead.
std::vector<named_lock> named_locks(const dict_handle& d);
json named_lock_json(const named_lock& l);

} // namespace cli
