// SPDX-License-Identifier: Apache-2.0
// What one run of the harness measures: given on the command line, the same in every worker.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace bench {

enum class key_kind { int64, string24, path };  // path: two levels, a group's name and a number in it
enum class distribution_kind { uniform, zipf }; // uniform: every key once in shuffled order, again and again
enum class role { create, attach };             // the first process creates and fills, the others attach by name

enum class workload {
  get,
  get_view, // the value used where it lies, without a copy
  mix95,    // of 100 operations 95 read, 5 overwrite
  mix50,
  put,        // overwrites with another value
  put_locked, // each put inside the dict's explicit lock
  counter,    // += 1
  insert,     // of keys that are not there; always followed by
  erase,      // of the same keys
  transact,   // puts, a thousand in one transaction each
  update,     // puts, a thousand by one call each
  iterate,    // all entries, counted one by one
};

struct config {
  std::vector<std::string> systems;
  std::vector<workload> workloads;
  std::size_t keys = 10000;
  key_kind key_type = key_kind::int64;
  std::size_t value_bytes = 8; // 8: a 64-bit integer; otherwise bytes
  distribution_kind distribution = distribution_kind::uniform;
  std::size_t processes = 1;
  std::size_t threads = 1; // per process
  std::size_t rounds = 5;
  double seconds = 0.1;        // of one measurement
  bool latency = false;        // a further pass that times single operations
  bool cpu_time = false;       // of the workers instead of the clock on the wall, for throughput
  bool pin = true;             // worker n to core n
  std::size_t buffer_size = 0; // of shmdict: bytes of history that it keeps; 0: its default
  std::string name;            // of everything that is created outside the process
  std::string redis;           // Unix sockets of servers that whoever starts the harness has started
  std::string memcached;

  std::size_t workers() const { return processes * threads; }
  std::string object(const std::string& system) const { return name + "." + system; }
};

} // namespace bench
