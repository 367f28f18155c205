// SPDX-License-Identifier: Apache-2.0
// What a dict and its users are like just now: figures for people, programs and graphs.
//
//   shm::status s = d.status();   s.shared.keys, s.local.pins, ...
//   d.print_status();             // to stdout; nlohmann::json j = s (shm/json.hpp), fmt::print("{}", s) (shm/fmt.hpp)
// Figures are read one after the other, without the lock: neighbouring moments. Plain values; taking them never waits.
#pragma once

#include <shmdict/shmdict.h>

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <string>
#include <type_traits>
#include <vector>

#include "options.hpp"

SHM_NAMESPACE_BEGIN

// Of the dict's lock, in all processes.
struct lock_state {
  bool held = false;
  bool alive = false; // the owner's process lives; one that is dead is taken over from by the next who locks
  bool by_this_thread = false;
  // Somebody may sleep until it is free. It stays true until the owner unlocks, even if all who waited gave up; an owner
  // that slept for it, or took it over from a dead one, begins with true. False: nobody sleeps.
  bool waited_for = false;
  std::int64_t pid = 0;    // as the owner sees itself
  std::int64_t thread = 0; // system thread id
  std::string program;
  std::chrono::nanoseconds held_for{0}; // 0 = unknown: locks of single writes
  std::chrono::nanoseconds since{0};    // on the system's monotonic clock; 0 = unknown
  std::uint64_t acquisitions = 0;       // modulo 2^32
};

// A process that is attached for writing.
struct process {
  std::int64_t pid = 0; // as it sees itself
  std::string program;
  std::uint32_t slot = 0;
  bool this_process = false;
  std::chrono::nanoseconds attached_for{0};
  bool pins = false; // holds snapshots or views
};

// A named lock that is held, or was by somebody dead.
struct named_lock_state {
  std::string name; // of a lock that get_or_compute holds: the key's bytes
  bool is_key = false;
  bool alive = false;
  bool by_this_dict = false;
  std::int64_t pid = 0;
  std::int64_t thread = 0;
  std::string program;
  std::chrono::nanoseconds held_for{0};
};

struct status {
  // The same for everybody. Sizes in bytes.
  struct shared_figures {
    std::string name; // "" if it has none
    std::string id;   // random, of this creation, in hexadecimal digits
    std::string key_type, value_type;
    std::uint32_t layout_version = 0;
    unlink_policy unlink = last_closes;
    bool unlinked = false; // the name no longer leads here
    std::int64_t creator_pid = 0;
    std::uint64_t max_size = 0, segment_size = 0, buffer_size = 0, max_pin_bytes = 0;
    std::uint64_t memory = 0;                                     // in use, as the file system counts
    std::uint64_t live_bytes = 0, index_bytes = 0, log_bytes = 0; // of live records; of the index; of log segments
    std::uint64_t keys = 0;                                       // of the root
    std::uint64_t dicts = 0;                                      // nested ones, removed ones not yet swept included
    std::uint64_t position = 0;                                   // in the update stream
    std::uint64_t commits = 0;
    std::uint64_t recoveries = 0, replays = 0; // owners that died; of those, with a committed write to finish
    std::uint64_t compacted_bytes = 0, returned_bytes = 0; // moved by the cleaner; given back to the system
    std::uint64_t splits = 0, merges = 0;                  // of index arrays
    std::uint32_t pins = 0;                                // processes that hold snapshots or views
    std::uint64_t oldest_pin = 0;                          // position; 0 = none
    std::int64_t oldest_pin_pid = 0;
    std::uint64_t followers =
        0;                 // watchers and replicas of processes attached for writing; read-only ones leave no trace
    bool followed = false; // somebody sleeps until the next commit
    std::uint32_t max_processes = 0;
    std::uint32_t attached = 0; // for writing
  };
  // Of this process.
  struct local_figures {
    std::int64_t pid = 0;
    bool read_only = false;
    std::uint32_t handles = 0; // open on this dict
    std::uint32_t pins = 0;    // snapshots and views
  };
  shared_figures shared;
  local_figures local;
  lock_state lock;
  std::vector<process> processes;
  std::vector<named_lock_state> named_locks;
};

namespace detail {

inline constexpr const char* policy_names[] = {"last_closes", "creator_closes", "this_closes", "never"};
inline const char* name_of(unlink_policy p) {
  const auto i = static_cast<unsigned>(p);
  return i < 4 ? policy_names[i] : "unknown";
}

// f(name, value) for each figure: what text and JSON are made of. Also for shm::object_info, see list.hpp.
template <class F>
void each_figure(const lock_state& s, F&& f) {
  f("held", s.held);
  if (!s.held) return;
  f("alive", s.alive);
  f("by_this_thread", s.by_this_thread);
  f("waited_for", s.waited_for);
  f("pid", s.pid);
  f("thread", s.thread);
  f("program", s.program);
  f("held_for", s.held_for);
}
template <class F>
void each_figure(const process& s, F&& f) {
  f("pid", s.pid);
  f("program", s.program);
  f("slot", s.slot);
  f("this_process", s.this_process);
  f("attached_for", s.attached_for);
  f("pins", s.pins);
}
template <class F>
void each_figure(const named_lock_state& s, F&& f) {
  f("name", s.name);
  f("is_key", s.is_key);
  f("alive", s.alive);
  f("by_this_dict", s.by_this_dict);
  f("pid", s.pid);
  f("thread", s.thread);
  f("program", s.program);
  f("held_for", s.held_for);
}
template <class F>
void each_figure(const status::shared_figures& s, F&& f) {
  f("name", s.name);
  f("id", s.id);
  f("key_type", s.key_type);
  f("value_type", s.value_type);
  f("layout_version", s.layout_version);
  f("unlink", s.unlink);
  f("unlinked", s.unlinked);
  f("creator_pid", s.creator_pid);
  f("max_size", s.max_size);
  f("segment_size", s.segment_size);
  f("buffer_size", s.buffer_size);
  f("max_pin_bytes", s.max_pin_bytes);
  f("memory", s.memory);
  f("live_bytes", s.live_bytes);
  f("index_bytes", s.index_bytes);
  f("log_bytes", s.log_bytes);
  f("keys", s.keys);
  f("dicts", s.dicts);
  f("position", s.position);
  f("commits", s.commits);
  f("recoveries", s.recoveries);
  f("replays", s.replays);
  f("compacted_bytes", s.compacted_bytes);
  f("returned_bytes", s.returned_bytes);
  f("splits", s.splits);
  f("merges", s.merges);
  f("pins", s.pins);
  f("oldest_pin", s.oldest_pin);
  f("oldest_pin_pid", s.oldest_pin_pid);
  f("followers", s.followers);
  f("followed", s.followed);
  f("max_processes", s.max_processes);
  f("attached", s.attached);
}
template <class F>
void each_figure(const status::local_figures& s, F&& f) {
  f("pid", s.pid);
  f("read_only", s.read_only);
  f("handles", s.handles);
  f("pins", s.pins);
}

// Length of the UTF-8 character at `at`, 0 if there is none.
inline std::size_t utf8_length(const std::string& s, std::size_t at) {
  const auto byte = [&](std::size_t i) { return i < s.size() ? static_cast<unsigned char>(s[i]) : 0u; };
  const auto tail = [&](std::size_t i) { return (byte(i) & 0xc0u) == 0x80u; };
  const unsigned c = byte(at), next = byte(at + 1);
  if (c < 0x80) return 1;
  if (c >= 0xc2 && c <= 0xdf) return tail(at + 1) ? 2 : 0;
  if (c >= 0xe0 && c <= 0xef)
    return tail(at + 1) && tail(at + 2) && !(c == 0xe0 && next < 0xa0) && !(c == 0xed && next >= 0xa0) ? 3 : 0;
  if (c >= 0xf0 && c <= 0xf4)
    return tail(at + 1) && tail(at + 2) && tail(at + 3) && !(c == 0xf0 && next < 0x90) && !(c == 0xf4 && next >= 0x90)
               ? 4
               : 0;
  return 0;
}
// Valid UTF-8 without control characters, whatever it was: names of keys and programs may be any bytes.
inline std::string printable(const std::string& text) {
  std::string out;
  for (std::size_t i = 0; i < text.size();) {
    const std::size_t n = utf8_length(text, i);
    const auto byte = static_cast<unsigned char>(text[i]);
    if (n == 0 || byte < 0x20 || byte == 0x7f)
      out += '?';
    else
      out.append(text, i, n);
    i += n == 0 ? 1 : n;
  }
  return out;
}
inline std::string figure_text(const std::string& v) { return printable(v); }
inline std::string figure_text(bool v) { return v ? "yes" : "no"; }
inline std::string figure_text(unlink_policy v) { return name_of(v); }
inline std::string figure_text(std::chrono::nanoseconds v) {
  char text[32];
  std::snprintf(text, sizeof text, "%.3f s", std::chrono::duration<double>(v).count());
  return text;
}
template <class T, class = std::enable_if_t<std::is_integral_v<T> && !std::is_same_v<T, bool>>>
std::string figure_text(T v) {
  return std::to_string(v);
}

// One line a figure.
template <class T>
void append_lines(std::string& out, const T& figures) {
  each_figure(figures, [&](const char* name, const auto& value) {
    out.append("  ").append(name).append(": ").append(figure_text(value)).append("\n");
  });
}
// All of it on one line.
template <class T>
void append_line(std::string& out, const T& figures) {
  const char* separator = "  ";
  each_figure(figures, [&](const char* name, const auto& value) {
    out.append(separator).append(name).append(" ").append(figure_text(value));
    separator = ", ";
  });
  out += '\n';
}

inline lock_state make_lock_state(const shmd_lock_info& info) {
  lock_state s;
  s.held = info.held != 0;
  s.alive = info.alive != 0;
  s.by_this_thread = info.by_this_thread != 0;
  s.waited_for = info.waiters != 0;
  s.pid = info.pid;
  s.thread = info.thread;
  s.program = info.program;
  s.held_for = std::chrono::nanoseconds(info.held_ns);
  s.since = std::chrono::nanoseconds(info.since);
  s.acquisitions = info.acquisitions;
  return s;
}

inline std::string hexadecimal(const std::uint8_t* bytes, std::size_t size) {
  std::string out;
  for (std::size_t i = 0; i < size; ++i) {
    constexpr char digits[] = "0123456789abcdef";
    out += digits[bytes[i] >> 4];
    out += digits[bytes[i] & 15];
  }
  return out;
}

inline status::shared_figures make_shared_figures(const shmd_stats& s) {
  status::shared_figures f;
  f.name = s.name;
  f.id = hexadecimal(s.id, sizeof s.id);
  f.key_type = s.key_type;
  f.value_type = s.value_type;
  f.layout_version = s.layout_version;
  f.unlink = static_cast<unlink_policy>(s.unlink);
  f.unlinked = s.unlinked != 0;
  f.creator_pid = s.creator_pid;
  f.max_size = s.max_size;
  f.segment_size = s.segment_size;
  f.buffer_size = s.buffer_size;
  f.max_pin_bytes = s.max_pin_bytes;
  f.memory = s.memory;
  f.live_bytes = s.live_bytes;
  f.index_bytes = s.index_bytes;
  f.log_bytes = s.log_bytes;
  f.keys = s.keys;
  f.dicts = s.nodes;
  f.position = s.position;
  f.commits = s.commits;
  f.recoveries = s.recoveries;
  f.replays = s.replays;
  f.compacted_bytes = s.cleaned_bytes;
  f.returned_bytes = s.punched_bytes;
  f.splits = s.splits;
  f.merges = s.merges;
  f.pins = s.pinned;
  f.oldest_pin = s.oldest_pin == UINT64_MAX ? 0 : s.oldest_pin;
  f.oldest_pin_pid = s.oldest_pin_pid;
  f.followers = s.followers;
  f.followed = s.followed != 0;
  f.max_processes = s.max_processes;
  f.attached = s.attached;
  return f;
}

} // namespace detail

// Text of several lines, for people.
inline std::string to_string(const status& s) {
  std::string out = "dict '" + s.shared.name + "'\nshared\n";
  detail::append_lines(out, s.shared);
  out += "this process\n";
  detail::append_lines(out, s.local);
  out += "lock\n";
  detail::append_line(out, s.lock);
  out += "processes\n";
  for (const auto& p : s.processes) detail::append_line(out, p);
  if (!s.named_locks.empty()) out += "named locks\n";
  for (const auto& l : s.named_locks) detail::append_line(out, l);
  return out;
}

SHM_NAMESPACE_END
