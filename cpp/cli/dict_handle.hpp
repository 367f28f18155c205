// SPDX-License-Identifier: Apache-2.0
// A dict that the command has open, and how it leaves it: as it was found. The command is an observer: a dict goes with its
// last user as if the command were not there, and an orphan, or one that was restored and waits for its first user, stays.
#pragma once

#include <shmdict/shmdict.h>

#include <cstdint>
#include <string>
#include <string_view>

#include "type.hpp"

namespace cli {

enum class access {
  look,  // read-only: takes no slot and no lock; needs read permission
  hold,  // for a snapshot that stays as it is: attached as a writer is, if that is permitted and anybody could write
  write, // waits for the lock up to the timeout
  use,   // the same, as a user: the name stays as long as the process runs, and is not removed by its end
};

class dict_handle {
 public:
  // failure(no_dict) if there is none.
  dict_handle(const std::string& name, access how, double timeout = 10); // seconds
  // Creates it as a json_dict that stays until it is unlinked. `init` fills it before anybody can see it.
  using init_fn = int (*)(shmd_dict* d, void* context);
  dict_handle(const std::string& name, double timeout, init_fn init, void* context);
  ~dict_handle();
  dict_handle(dict_handle&& other) noexcept;
  dict_handle(const dict_handle&) = delete;
  dict_handle& operator=(const dict_handle&) = delete;
  dict_handle& operator=(dict_handle&&) = delete;

  shmd_dict* get() const noexcept { return d_; }
  const std::string& name() const noexcept { return name_; }
  const type& keys() const noexcept { return keys_; }
  const type& values() const noexcept { return values_; }
  shmd_stats stats() const;

 private:
  void open(access how, double timeout);
  void read_types();

  std::string name_;
  shmd_dict* d_ = nullptr;
  bool used_ = false;
  type keys_, values_;
};

// What a listing says of a dict. Systems that cannot list have no orphans that can be seen.
struct attendance {
  bool orphan = false;
  bool deserted = false; // it should go with its last user, and nobody who could write is attached
};
attendance attendance_of(const std::string& name);

// Whether a dict was opened for use: main then ends the process without the goodbye that would remove its name.
bool leave_as_found() noexcept;

} // namespace cli
