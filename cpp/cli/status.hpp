// A dict's figures at one moment: for people, as JSON, for Prometheus.
#pragma once

#include <shmdict/shmdict.h>

#include <string>
#include <vector>

#include "codec.hpp"
#include "dict_handle.hpp"

namespace cli {

struct status {
  shmd_stats stats;
  shmd_lock_info lock;
  bool orphan;
};

status status_of(const dict_handle& d);
std::string status_text(const status& s);
json status_json(const status& s);
std::string prometheus_text(const std::vector<status>& all);

const char* unlink_policy(int policy);               // "last_closes"
std::string holder_text(const shmd_lock_info& lock); // "free", "worker (4711) for 1.2 s, others wait"

} // namespace cli
