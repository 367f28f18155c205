// SPDX-License-Identifier: Apache-2.0
// How to open a dict: what to create it with, whether to create it, and when its name goes away.
//
// options is a plain value; setters return it, so that calls chain: shm::options{}.max_size(n).unlink(shm::never).
// Thread safety: as of any value.
#pragma once

#include <shmdict/shmdict.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>

#include "error.hpp"

SHM_NAMESPACE_BEGIN

// First argument of a dict's constructor. Without one it is open_or_create.
struct open_or_create_t {
  explicit open_or_create_t() = default;
};
struct create_only_t {
  explicit create_only_t() = default;
};
struct open_only_t {
  explicit open_only_t() = default;
};
inline constexpr open_or_create_t open_or_create{};
inline constexpr create_only_t create_only{}; // throws shm::already_exists
inline constexpr open_only_t open_only{};     // throws shm::no_such_dict
// A new dict without a name: for forked children, and whoever is given its descriptor (native_fd, options::fd).
struct anonymous_t {
  explicit anonymous_t() = default;
};
inline constexpr anonymous_t anonymous{};

// When closing removes the name. Processes that are attached keep the nameless dict as long as they live.
enum class unlink_policy : int {
  last_closes = SHMD_UNLINK_LAST_CLOSES,       // the last attached process closes its last handle or exits
  creator_closes = SHMD_UNLINK_CREATOR_CLOSES, // the creating process closes; a restarted creator makes a second dict
  this_closes = SHMD_UNLINK_THIS_CLOSES,       // this handle closes; not stored in the dict
  never = SHMD_UNLINK_NEVER
};
inline constexpr unlink_policy last_closes = unlink_policy::last_closes;
inline constexpr unlink_policy creator_closes = unlink_policy::creator_closes;
inline constexpr unlink_policy this_closes = unlink_policy::this_closes;
inline constexpr unlink_policy never = unlink_policy::never;

namespace detail {

// Nanoseconds as the core wants them: never negative, too long is for ever.
template <class Rep, class Period>
constexpr std::int64_t timeout_ns(std::chrono::duration<Rep, Period> timeout) {
  using wide = std::chrono::duration<long double, std::nano>;
  const long double ns = std::chrono::duration_cast<wide>(timeout).count();
  if (!(ns > 0)) return 0;
  return ns >= 9.0e18L ? SHMD_FOREVER : static_cast<std::int64_t>(ns);
}

inline void check_name(const std::string& name) { // the core sees no further than a NUL
  if (name.find('\0') != std::string::npos)
    throw error(errc::invalid_name, "a dict's name cannot contain NUL: use 1 to 200 bytes of UTF-8 without '/' or NUL");
}

// What a dict is to be opened by; nullptr: no name.
struct maybe_name {
  maybe_name(const std::string& name) : text(name.c_str()) { check_name(name); } // as long as that string lives
  maybe_name(std::nullptr_t) noexcept : text(nullptr) {}
  const char* text;
};

} // namespace detail

class options {
 public:
  options() { shmd_options_init(&o_); }

  // Of a new dict; who attaches takes what it has. Sizes in bytes, 0 = default.
  options& max_size(std::uint64_t bytes) { return set(o_.max_size, bytes); } // reserved, sparse; default 64 GiB
  options& segment_size(std::uint64_t bytes) { return set(o_.segment_size, bytes); }
  options& buffer_size(std::uint64_t bytes) { return set(o_.buffer_size, bytes); }     // history kept for followers
  options& max_pin_bytes(std::uint64_t bytes) { return set(o_.max_pin_bytes, bytes); } // a snapshot beyond is revoked
  options& max_processes(std::uint32_t count) {
    return set(o_.max_processes, count);
  }                                                                              // attached at a time, default 256
  options& permissions(std::uint32_t mode) { return set(o_.permissions, mode); } // as of files; default 0600
  options& unlink(unlink_policy policy) { return set(o_.unlink, static_cast<int>(policy)); } // default last_closes

  // Of this handle.
  // How long writes wait for the lock before they throw lock_timeout; default 10 s. A process keeps its first handle's.
  template <class Rep, class Period>
  options& timeout(std::chrono::duration<Rep, Period> t) {
    const std::int64_t ns = detail::timeout_ns(t);
    return set(o_.timeout, static_cast<std::uint64_t>(ns == 0 ? 1 : ns));
  }
  options& read_only(bool on = true) { return flag(SHMD_READ_ONLY, on); } // needs read permission only; never waits
  // For tools, with shm::open_only: does not count as a user. The name goes with the last of the others, and closing removes none.
  options& observer(bool on = true) { return flag(SHMD_OBSERVER, on); }
  options& allow_other_owner(bool on = true) { return flag(SHMD_ALLOW_OTHER_OWNER, on); }
  // Open the dict behind a descriptor, inherited or received: shm::dict<K, V> d{shm::options{}.fd(n)}. It stays the caller's.
  options& fd(int descriptor) { return set(o_.fd, descriptor); }

  options& nameless() { return flag(SHMD_ANONYMOUS, true); } // what shm::anonymous does

  const shmd_options& native() const noexcept { return o_; } // for the C interface

 private:
  template <class T>
  options& set(T& field, T value) {
    field = value;
    return *this;
  }
  options& flag(std::uint32_t bit, bool on) { return set(o_.flags, on ? o_.flags | bit : o_.flags & ~bit); }

  shmd_options o_;
};

// How to wait for a dict's lock: d.lock(how), shm::guard{d, how}.
class lock_options {
 public:
  lock_options() { shmd_lock_options_init(&o_); }

  template <class Rep, class Period>
  lock_options& timeout(std::chrono::duration<Rep, Period> t) { // default: options::timeout
    o_.timeout = detail::timeout_ns(t);
    return *this;
  }
  lock_options& block(bool on) { return set(o_.block, on); } // false: one try; shm::lock_busy if somebody holds it
  // Between tries, 40 ms at most. Default: sleep until the owner unlocks. 0: busy wait, for sections of microseconds and
  // idle processors.
  template <class Rep, class Period>
  lock_options& sleep_time(std::chrono::duration<Rep, Period> t) {
    o_.sleep_time = detail::timeout_ns(t);
    return *this;
  }
  lock_options& spin() { return sleep_time(std::chrono::nanoseconds(0)); }
  // Take over from an owner that died as soon as that is noticed; at the end of the timeout look for its death once more.
  // Both on. With both off its lock is left to whoever calls steal_lock(): lock_timeout names the dead.
  lock_options& steal(bool on) { return set(o_.steal, on); }
  lock_options& steal_after_timeout(bool on) { return set(o_.steal_after_timeout, on); }

  const shmd_lock_options& native() const noexcept { return o_; }

 private:
  lock_options& set(int& field, bool on) {
    field = on ? 1 : 0;
    return *this;
  }
  shmd_lock_options o_;
};

// A name that nobody can guess: what a dict gets that is created without one.
inline std::string random_name() {
  char name[SHMD_RANDOM_NAME];
  detail::check(shmd_random_name(name));
  return name;
}

// Removes the name of a dict that need not be open. False if there is none. Who is attached keeps the nameless dict.
// Errors: foreign_object (the object is not shmdict's and stays), invalid_name, permission_denied.
inline bool unlink(const std::string& name) {
  detail::check_name(name);
  const int result = shmd_unlink(name.c_str());
  if (result == SHMD_ERR_NO_SUCH_DICT) return false;
  detail::check(result);
  return true;
}

SHM_NAMESPACE_END
