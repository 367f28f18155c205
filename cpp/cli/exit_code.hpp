// SPDX-License-Identifier: Apache-2.0
// How the command ends. The numbers are documented in shmdict.1 and do not change.
#pragma once

#include <stdexcept>
#include <string>

namespace cli {

enum class exit_code : int {
  ok = 0,
  no = 1,      // not found, or the answer is no: nothing under the path, faults found, not confirmed
  usage = 2,   // the command line makes no sense
  no_dict = 3, // no dict of that name
  refused = 4, // the input, or what is there, does not fit: invalid JSON, another type, a value where a dict is needed
  busy = 5,    // somebody else was in the way: lock, changing data; try again
  permission = 6, // not allowed
  no_space = 7,   // memory, max_size or the file system is full
  corrupt = 8,    // the shared object makes no sense
  failed = 9,     // anything else, such as a failed system call

  // Of `shmdict lock`, beside the command's own code: as timeout(1) and env(1) have them.
  lock_timeout = 124,
  lock_failed = 125,
  cannot_run = 126,
  no_command = 127,

  pipe_closed = 141 // who read the output has gone: 128 + SIGPIPE, as shells say it; nothing on stderr
};

// Ends the command: one line on stderr that says what to do.
class failure : public std::runtime_error {
 public:
  failure(exit_code code, const std::string& message) : std::runtime_error(message), code_(code) {}
  exit_code code() const noexcept { return code_; }

 private:
  exit_code code_;
};

} // namespace cli
