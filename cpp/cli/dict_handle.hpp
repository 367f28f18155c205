// A dict that the command has open, and how it leaves it: as it was found.
//
// A dict whose name goes with its last user would go with this command, too, if nobody else has it open: an orphan, and
// somebody came to look why, or one that was restored and waits for its first user. Such a dict is not closed; the process
// ends without saying goodbye (leave_as_found()). Who only reads may be another such command: a dict counts as used if
// somebody who writes has it open, when it is opened and, for a short look, when it is closed, too.
#pragma once

#include <shmdict/shmdict.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "type.hpp"

namespace cli {

enum class access {
  look,  // read-only: takes no slot and no lock; needs read permission
  hold,  // for a snapshot that stays as it is: attached as a writer is, if that is permitted and anybody could write
  write, // waits for the lock up to the timeout
};

struct open_options {
  double timeout = 10;       // seconds
  bool looked_after = false; // a listing says that it does not go with its last user, or has users
};

class dict_handle {
 public:
  // failure(no_dict) if there is none.
  dict_handle(const std::string& name, access how, const open_options& o = {});
  // Creates it as a json_dict that stays until it is unlinked. `init` fills it before anybody can see it.
  using init_fn = int (*)(shmd_dict* d, void* context);
  dict_handle(const std::string& name, const open_options& o, init_fn init, void* context);
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
  bool orphan() const noexcept { return orphan_; }

 private:
  void open(access how, const open_options& o);
  void read_types();

  std::string name_;
  shmd_dict* d_ = nullptr;
  access how_ = access::look;
  bool orphan_ = false;
  bool left_ = false; // goes with its last user, and nobody else has it open
  type keys_, values_;
};

// Whether a close may remove its name.
bool goes_if_closed(const shmd_object_info& o);

// Whether such a dict was opened: main then ends the process so that it stays.
bool leave_as_found() noexcept;

} // namespace cli
