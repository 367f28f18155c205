// SPDX-License-Identifier: Apache-2.0
// What a dict that owns its handle offers round its entries: status, named locks, events, backups. Of dict and json_dict.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "../backup.hpp"
#include "../event.hpp"
#include "../guard.hpp"
#include "../named_lock.hpp"
#include "../status.hpp"
#include "carried.hpp"

SHM_DETAIL_BEGIN

// Collects what the core's listing functions find; what making a T of it throws is kept until they have returned.
template <class T, class Raw, T (*Make)(const Raw&)>
struct collector {
  std::vector<T> out;
  carried error;
  static int found(void* self, const Raw* raw) {
    auto* c = static_cast<collector*>(self);
    return c->error.catching(1, [&] { return c->out.push_back(Make(*raw)), 0; });
  }
  std::vector<T> take(int result) {
    error.rethrow();
    check(result);
    return std::move(out);
  }
};

inline process make_process(const shmd_process_info& raw) {
  process p;
  p.pid = raw.pid;
  p.program = raw.program;
  p.slot = raw.slot;
  p.this_process = raw.this_process != 0;
  p.attached_for = std::chrono::nanoseconds(raw.attached_ns);
  p.pins = raw.pin != UINT64_MAX;
  return p;
}
inline named_lock_state make_named_lock_state(const shmd_named_lock_info& raw) {
  named_lock_state s;
  s.name.assign(static_cast<const char*>(raw.name), raw.name_size);
  s.is_key = raw.is_key != 0;
  s.alive = raw.alive != 0;
  s.by_this_dict = raw.this_handle != 0;
  s.pid = raw.pid;
  s.thread = raw.thread;
  s.program = raw.program;
  s.held_for = std::chrono::nanoseconds(raw.held_ns);
  return s;
}

// Derived has native_handle() and shared_handle().
template <class Derived>
class managed {
 public:
  // See status.hpp.
  shm::status status() const {
    shm::status s;
    shmd_stats raw;
    check(shmd_stat(native(), &raw));
    s.shared = make_shared_figures(raw);
    s.local.pid = raw.pid;
    s.local.read_only = raw.read_only != 0;
    s.local.handles = raw.handles;
    s.local.pins = raw.pins;
    s.lock = lock_status();
    collector<process, shmd_process_info, make_process> c;
    s.processes = c.take(shmd_processes(native(), c.found, &c));
    s.named_locks = named_locks();
    return s;
  }
  void print_status(std::FILE* out = stdout) const { std::fputs(to_string(status()).c_str(), out); }
  lock_state lock_status() const {
    shmd_lock_info info;
    check(shmd_lock_status(native(), &info));
    return make_lock_state(info);
  }
  // Takes the lock over by hand, from process `pid` (0: whichever) if it owns the lock and is dead; then the calling thread
  // holds it, repaired: unlock(). False: nobody holds it, or another process. Throws lock_busy (owner_alive), which names
  // the owner, if it lives: nothing was taken then. Needed only by those who lock with lock_options::steal(false).
  bool steal_lock(std::int64_t pid) { return check(shmd_lock_steal(native(), pid)) == SHMD_RECOVERED; }

  // See named_lock.hpp.
  shm::named_lock named_lock(std::string name) {
    if (native() == nullptr) throw_last(SHMD_ERR_CLOSED);
    return {static_cast<Derived*>(this)->shared_handle(), std::move(name)};
  }
  // All that are held, as one snapshot shows them.
  std::vector<named_lock_state> named_locks() const {
    collector<named_lock_state, shmd_named_lock_info, make_named_lock_state> c;
    return c.take(shmd_named_locks(native(), c.found, &c));
  }

  // Calls hook(const shm::event&) for events of this process, until the dict is closed: in the thread that it happened to,
  // once that holds no lock. The hook may use the dict, but not close it, and must not throw. Replaces the one before;
  // nullptr for none.
  void on_event(event_hook hook) {
    if (native() == nullptr) throw_last(SHMD_ERR_CLOSED);
    check(static_cast<Derived*>(this)->shared_handle()->set_hook(std::move(hook)));
  }

  // Writes the dict, as one snapshot shows it, to a file at `path`, which takes its place whole or not at all. Writers go on.
  // See backup.hpp. Errors: snapshot_too_old, no_space, permission_denied, system, in_transaction.
  void backup(const std::string& path) const {
    check_name(path);
    check(shmd_backup(native(), path.c_str()));
  }

  // The descriptor behind it, for options::fd elsewhere: of a child that executes a program (dup() it: it closes on exec), or
  // one sent through a socket. It belongs to the dict.
  int native_fd() const noexcept { return shmd_native_fd(native()); }

 protected:
  ~managed() = default;

 private:
  shmd_dict* native() const noexcept { return static_cast<const Derived*>(this)->native_handle(); }
};

SHM_DETAIL_END
