// SPDX-License-Identifier: Apache-2.0
// What the harness measures: a peer, of which it knows only this interface, and the table of all peers.
// One virtual call stands for one measurement, never for one operation.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "config.hpp"
#include "histogram.hpp"

namespace bench {

struct outcome {
  std::uint64_t operations = 0;
  double seconds = 0;
};

class system {
 public:
  system() = default;
  system(const system&) = delete;
  system& operator=(const system&) = delete;
  virtual ~system() = default;

  virtual bool supports(workload) const = 0;
  // By one worker of the process that created it, while nobody else uses it. Returns bytes of memory per entry, 0 if the
  // peer cannot tell.
  virtual double fill() = 0;
  // By each worker before its first measurement: makes its keys.
  virtual void prepare(std::size_t worker) = 0;
  // By all workers at the same time. With a histogram every operation is timed.
  virtual outcome run(workload, std::size_t worker, double seconds, histogram* latencies) = 0;
};

struct peer {
  const char* name;
  bool shared;  // usable by several processes
  bool threads; // usable by several threads
  std::unique_ptr<system> (*open)(const config&, role);
  void (*remove)(const config&); // what it leaves outside the process; may be called twice
};

std::vector<peer>& peers();
struct registration {
  explicit registration(const peer& p) { peers().push_back(p); }
};

} // namespace bench
