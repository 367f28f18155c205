// SPDX-License-Identifier: Apache-2.0
// The whole run: fill the catalogue, start the programs, kill one, end the others, check everything.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "catalogue.hpp"
#include "crew.hpp"
#include "progress.hpp"

namespace demo {

struct settings {
  std::string name; // of the dict
  std::filesystem::path data = "/usr/share/iso-codes/json";
  double seconds = 8;
  unsigned workers = 4; // the one that is killed included
};

// What happened when a worker was killed with the lock in its hands.
struct rescue {
  std::size_t victim = 0;                   // index into crew::members
  std::uint64_t reads = 0, wrong_reads = 0; // by the parent, while the lock was held
  double read_ms = 0;
  double after_s = 0;   // since the start of the work
  double first_ms = 0;  // from the SIGKILL to the next write of anybody
  double parent_ms = 0; // to the parent's own
  double all_ms = 0;    // to when everybody had written; negative: somebody never did
};

struct check {
  bool passed;
  std::string text;
  std::string found; // if it failed
};

struct results {
  double load_ms = 0;
  rescue death;
  std::array<std::int64_t, domain_count> hits{}; // as the dict has them
  std::int64_t revisions = 0;                    // sum of all pairs, as the dict has them
  shmd_stats stats{};
  std::vector<std::string> samples;
  std::vector<check> checks;
};

// Leaves the crew dismissed and the dict closed. Throws interrupted, shm::error, std::runtime_error.
results run(const settings& s, const iso_codes& codes, crew& all, progress& line);

// Names under which shared memory of this dict is still there.
std::vector<std::string> leftovers(const std::string& dict_name);

// What must hold once nobody writes any more (verify.cpp). Adds to r.
void verify(const dict& catalogue, const iso_codes& codes, const crew& all, results& r);

// What a person reads at the end (report.cpp). True if all checks passed.
bool report(const crew& all, const results& r, bool terminal);

} // namespace demo
