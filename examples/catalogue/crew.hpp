// SPDX-License-Identifier: Apache-2.0
// The started programs and what they told so far.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <vector>

#include "catalogue.hpp"
#include "process.hpp"

namespace demo {

struct member {
  child program;
  std::array<std::uint64_t, domain_count> hits{}; // acknowledged: each += of them returned
  std::uint64_t checked = 0;                      // snapshots that showed a pair whole
  std::uint64_t edits = 0;                        // committed transactions
  std::optional<clock::time_point> ready{};
  std::optional<clock::time_point> holding{};      // since when it holds the lock
  std::optional<clock::time_point> counts_again{}; // its first += or commit after crew::watch_from
  clock::time_point last{};                        // its last message
  int status = 0;                                  // as of waitpid()

  std::uint64_t lookups() const;
  double seconds() const; // at work
};

// Ctrl-C, or another wish to end.
struct interrupted {};

class crew {
 public:
  crew() = default;
  crew(const crew&) = delete;
  crew& operator=(const crew&) = delete;
  ~crew() { clear(); }

  void start(std::string name, const std::vector<std::string>& arguments);
  // Takes in messages for so long at most; less if there were some. Throws interrupted.
  void listen(std::chrono::milliseconds patience);
  // Ends all, and takes in their last messages.
  void dismiss();
  // Ends and forgets all, without listening.
  void clear() noexcept;

  std::uint64_t lookups() const;
  std::uint64_t edits() const;

  std::vector<member> members;                 // in the order of their start
  std::vector<std::string> complaints;         // wrong answers, halves, failures
  std::optional<clock::time_point> watch_from; // see member::counts_again
};

// From now on SIGINT, SIGTERM and SIGHUP make listen() throw.
void catch_signals();

} // namespace demo
