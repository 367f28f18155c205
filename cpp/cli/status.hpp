// SPDX-License-Identifier: Apache-2.0
// A dict's figures at one moment: for people, as JSON, for Prometheus.
#pragma once

#include <shmdict/shmdict.h>

#include <string>
#include <vector>

#include "codec.hpp"
#include "dict_handle.hpp"
#include "named_locks.hpp"

namespace cli {

struct status {
  shmd_stats stats;
  shmd_lock_info lock;
  bool orphan;
  std::vector<named_lock> named_locks;
  std::vector<shmd_process_info> processes; // attached for writing, but for this one
};

status status_of(const dict_handle& d);
std::string status_text(const status& s);
json status_json(const status& s);
json lock_json(const shmd_lock_info& lock);
std::string prometheus_text(const std::vector<status>& all);

const char* unlink_policy(int policy);               // "last_closes"
std::string holder_text(const shmd_lock_info& lock); // "free", "worker (4711) for 1.2 s, others wait"

} // namespace cli
