// SPDX-License-Identifier: Apache-2.0
// shm::guard: holds a dict's lock for a scope. Writers of all processes wait; readers go on reading.
//
//   { shm::guard g{d, 1500ms}; if (g.recovered()) repair(); d["a"] = d["a"].value() * 2; }
// The lock is one for the whole tree, and re-entrant per thread. If its holder dies, the next one gets it and recovered()
// is true: single writes and transactions of the dead were completed or forgotten as a whole, but what several of them
// were meant to do together may be half done.
// Lifetime: a guard must end in the thread that made it. One that outlives its dict's close() unlocks nothing.
// A forked child does not hold its parent's lock; its copy of the guard does nothing.
// Errors: lock_timeout, lock_busy (both name the holder), would_deadlock, read_only, closed, not_attached.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>

#include <shmdict/read.h>

#include "detail/handle.hpp"
#include "options.hpp"

SHM_NAMESPACE_BEGIN

namespace detail {

// The handle inside of a dict or dict_ref.
struct access {
  template <class D>
  static const std::shared_ptr<handle>& of(D& d) {
    static_assert(!std::is_const_v<D>, "shm: a const dict can only be read, not locked");
    return d.handle_;
  }
};

// True if taken over from a dead holder. Throws lock_timeout, or lock_busy if `busy`.
inline bool lock(shmd_dict* d, std::int64_t timeout, bool busy = false) {
  const int result = check(shmd_lock(d, timeout));
  if (result == SHMD_TIMED_OUT) throw_last(busy ? SHMD_TIMED_OUT : SHMD_ERR_LOCK_TIMEOUT);
  return result == SHMD_RECOVERED;
}

inline bool lock(shmd_dict* d, const lock_options& how) {
  const int result = check(shmd_lock_with(d, &how.native()));
  if (result == SHMD_TIMED_OUT) throw_last(how.native().block != 0 ? SHMD_ERR_LOCK_TIMEOUT : SHMD_TIMED_OUT);
  return result == SHMD_RECOVERED;
}

// Which hold of the lock it is: the number of its acquisition, which stays as long as one holds it. Another thread may close
// the dict at any time.
inline std::uint32_t section(shmd_dict* d, std::uint32_t if_closed) noexcept {
  const shmd_reader* reader = shmd_reader_of(d);
  return reader != nullptr ? static_cast<std::uint32_t>(shmd_load_relaxed(&reader->control->lock) >> 32) : if_closed;
}

} // namespace detail

class [[nodiscard]] guard {
 public:
  // Waits as long as options::timeout says.
  template <class D>
  explicit guard(D& d) : guard(detail::access::of(d), SHMD_DEFAULT_TIMEOUT, false) {}
  template <class D, class Rep, class Period>
  guard(D& d, std::chrono::duration<Rep, Period> timeout)
      : guard(detail::access::of(d), detail::timeout_ns(timeout), false) {}
  template <class D, class Clock, class Duration>
  guard(D& d, std::chrono::time_point<Clock, Duration> until) : guard(d, until - Clock::now()) {}
  template <class D>
  guard(D& d, const lock_options& how)
      : handle_(detail::access::of(d)),
        recovered_(detail::lock(handle_ ? handle_->get() : detail::closed_handle(), how)) {}
  // Does not wait: throws lock_busy.
  template <class D>
  guard(D& d, std::try_to_lock_t) : guard(detail::access::of(d), 0, true) {}

  guard(const guard&) = delete;
  guard& operator=(const guard&) = delete;
  ~guard() { unlock(); }

  bool recovered() const noexcept { return recovered_; } // the holder before died holding it
  bool owns_lock() const noexcept { return owns_; }
  void unlock() noexcept {
    if (!owns_) return;
    owns_ = false;
    shmd_dict* d = handle_->raw();
    // Else it is a copy in a forked child, which may hold the lock by a guard of its own.
    if (section_ == detail::section(d, section_)) static_cast<void>(shmd_unlock(d));
  }

 private:
  guard(const std::shared_ptr<detail::handle>& h, std::int64_t timeout, bool busy)
      : handle_(h), recovered_(detail::lock(h ? h->get() : detail::closed_handle(), timeout, busy)) {}

  std::shared_ptr<detail::handle> handle_;
  bool recovered_;
  bool owns_ = true;
  std::uint32_t section_ = detail::section(handle_->get(), 0);
};

SHM_NAMESPACE_END
