// SPDX-License-Identifier: Apache-2.0
// Child programs, and what they tell: each has a pipe for orders (its stdin) and one for messages (its stdout).
//
// A child works until its pipe of orders closes, however its parent ended, so none is ever left behind. Messages are
// smaller than PIPE_BUF: a pipe takes each whole or not at all, also from a child that is killed meanwhile.
// Thread safety: none needed, each process of the example has one thread.
#pragma once

#include <sys/types.h>

#include <array>
#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace demo {

using clock = std::chrono::steady_clock; // the same for all processes of a machine

enum class kind : std::uint32_t {
  ready,   // attached, and about to work
  hits,    // catalogue["hits"][domain]["lookups"] += count returned
  checked, // a snapshot showed a pair whole
  edits,   // a transaction was committed
  holding, // it holds the lock, a transaction half made, and waits for its end
  mistake, // an answer was not right: text
  half,    // a snapshot showed a pair half edited: text
  failed,  // it gives up: text
};

struct message {
  kind what;
  std::uint32_t domain;
  std::uint64_t count;
  clock::time_point when; // just after what it reports had happened
  char text[232];
};

// In a child ----------------------------------------------------------------------------------------------------------

enum class order { none, take_lock, stop };
inline constexpr char take_lock_order = 'L';

order next_order(bool wait = false); // wait: until there is one
void tell(kind what, std::uint64_t count = 0, std::uint32_t domain = 0, std::string_view text = {});

// In the parent -------------------------------------------------------------------------------------------------------

class child {
 public:
  // Starts this very program again with other arguments, in a process group of its own: Ctrl-C is for the parent.
  child(std::string name, const std::vector<std::string>& arguments);
  child(child&& other) noexcept;
  child& operator=(child&&) = delete;
  ~child(); // ends what still runs

  const std::string& name() const noexcept { return name_; }
  pid_t pid() const noexcept { return pid_; }
  int messages_fd() const noexcept { return messages_; } // for poll(); -1 once it closed
  bool receive(std::vector<message>& out);               // what is there; false: it closed its end
  void give(char order_byte) const;                      // it need not live any more
  void stop() noexcept;                                  // tells it to end
  void hang_up() noexcept;                               // the same, and listens no more
  void kill() const;                                     // SIGKILL
  int wait(std::chrono::milliseconds patience);          // its status as of waitpid(); killed when patience ends

 private:
  std::string name_;
  pid_t pid_ = -1;
  int orders_ = -1;
  int messages_ = -1;
  int status_ = -1;
  bool ended_ = false;
};

} // namespace demo
