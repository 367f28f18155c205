// SPDX-License-Identifier: Apache-2.0
// All dicts of this system: whose they are, who uses them, what they take, which ones nobody will ever remove.
//
//   for (const auto& o : shm::list()) if (o.orphaned) shm::unlink(o.name);
// A look from outside: nothing is attached, locked or kept alive by it.
#pragma once

#include <system_error>
#include <vector>

#include "detail/carried.hpp"
#include "status.hpp"

SHM_NAMESPACE_BEGIN

struct object_info {
  std::string name;
  std::error_code error; // none; else why only name, user and memory are known: permission_denied, foreign_object, ...
  // Its unlink policy asks for removal, and nobody who has it open lives. Not one that was restored and waits for its first
  // user (one who may write).
  bool orphaned = false;
  bool present = false; // somebody has it open, read-only dicts included
  unlink_policy unlink = last_closes;
  std::uint32_t user = 0; // numeric id of its owner
  std::uint32_t layout_version = 0;
  std::uint32_t attached = 0; // processes attached for writing
  std::uint32_t max_processes = 0;
  std::int64_t creator_pid = 0;
  std::uint64_t memory = 0; // bytes in use
  std::uint64_t max_size = 0;
  std::uint64_t keys = 0; // of the root
  std::string id;         // random, of this creation, in hexadecimal digits
  std::string key_type, value_type;
  lock_state lock;
};

namespace detail {

template <class F>
void each_figure(const object_info& o, F&& f) {
  f("name", o.name);
  f("user", o.user);
  f("memory", o.memory);
  if (o.error) {
    f("error", o.error.message());
    return;
  }
  f("orphaned", o.orphaned);
  f("present", o.present);
  f("unlink", o.unlink);
  f("layout_version", o.layout_version);
  f("attached", o.attached);
  f("max_processes", o.max_processes);
  f("creator_pid", o.creator_pid);
  f("max_size", o.max_size);
  f("keys", o.keys);
  f("id", o.id);
  f("key_type", o.key_type);
  f("value_type", o.value_type);
}

inline object_info make_object_info(const shmd_object_info& raw) {
  object_info o;
  o.name = raw.name;
  if (raw.result < 0) o.error = static_cast<errc>(raw.result);
  o.orphaned = raw.orphaned != 0;
  o.present = raw.present != 0;
  o.unlink = static_cast<unlink_policy>(raw.unlink);
  o.user = raw.user;
  o.layout_version = raw.layout_version;
  o.attached = raw.attached;
  o.max_processes = raw.max_processes;
  o.creator_pid = raw.creator_pid;
  o.memory = raw.memory;
  o.max_size = raw.max_size;
  o.keys = raw.keys;
  o.id = hexadecimal(raw.id, sizeof raw.id);
  o.key_type = raw.key_type;
  o.value_type = raw.value_type;
  o.lock = make_lock_state(raw.lock);
  return o;
}

} // namespace detail

// In no order. Errors: unsupported (the system cannot list), system.
inline std::vector<object_info> list() {
  struct context {
    std::vector<object_info> out;
    detail::carried error;
    static int found(void* self, const shmd_object_info* raw) {
      auto* c = static_cast<context*>(self);
      return c->error.catching(1, [&] { return c->out.push_back(detail::make_object_info(*raw)), 0; });
    }
  } c;
  const int result = shmd_list(context::found, &c);
  c.error.rethrow();
  detail::check(result);
  return std::move(c.out);
}

inline std::string to_string(const object_info& o) {
  std::string out = "dict '" + o.name + "'\n";
  detail::append_lines(out, o);
  if (o.lock.held) {
    out += "lock\n";
    detail::append_line(out, o.lock);
  }
  return out;
}

SHM_NAMESPACE_END
