// SPDX-License-Identifier: Apache-2.0
// shm::named_lock: a lock of the application, kept in a dict beside its keys. For jobs that only one process may do at a time.
//
//   auto job = d.named_lock("nightly");
//   if (job.try_lock()) run();                            // given back at the end of the scope
//   { std::unique_lock hold(job, 5s); if (hold) run(); }  // Lockable and TimedLockable
// It blocks nobody who uses the dict. When its holder's process dies the next one gets it, and recovered() is true.
// The holder is the object, whichever thread locked: it is not re-entrant, and a second object of the same name waits.
// Objects of one dict object are one holder to the core: only one of them can have locked. A forked child holds nothing.
// Thread safety: one thread at a time per object. Lifetime: closing the dict gives back what was locked through it.
// Errors: lock_timeout (names the holder), would_deadlock (this thread has locked it, or holds the dict's lock and would
// wait), in_transaction, read_only, no_space, closed.
#pragma once

#include <memory>
#include <string>
#include <utility>

#include "detail/handle.hpp"
#include "options.hpp"

SHM_NAMESPACE_BEGIN

class named_lock {
 public:
  named_lock(std::shared_ptr<detail::handle> h, std::string name) : handle_(std::move(h)), name_(std::move(name)) {
    detail::check_name(name_);
  }
  named_lock(named_lock&& other) noexcept
      : handle_(std::move(other.handle_)),
        name_(std::move(other.name_)),
        owns_(std::exchange(other.owns_, false)),
        recovered_(other.recovered_) {}
  named_lock& operator=(named_lock&&) = delete;
  ~named_lock() { unlock(); }

  // Waits as long as options::timeout says, and throws lock_timeout then.
  void lock() {
    if (!take(SHMD_DEFAULT_TIMEOUT)) detail::throw_last(SHMD_ERR_LOCK_TIMEOUT);
  }
  bool try_lock() { return take(0); }
  template <class Rep, class Period>
  bool try_lock_for(std::chrono::duration<Rep, Period> timeout) {
    return take(detail::timeout_ns(timeout));
  }
  template <class Clock, class Duration>
  bool try_lock_until(std::chrono::time_point<Clock, Duration> until) {
    return try_lock_for(until - Clock::now());
  }
  void unlock() noexcept {
    if (std::exchange(owns_, false)) static_cast<void>(shmd_named_unlock(handle_->get(), name_.c_str()));
  }

  bool owns_lock() const noexcept { return owns_; }
  bool recovered() const noexcept { return recovered_; } // the last lock was taken over from a holder that died
  const std::string& name() const noexcept { return name_; }

 private:
  bool take(std::int64_t timeout) {
    const int result =
        detail::check(shmd_named_lock(handle_ ? handle_->get() : detail::closed_handle(), name_.c_str(), timeout));
    if (result == SHMD_TIMED_OUT) return false;
    recovered_ = result == SHMD_RECOVERED;
    return owns_ = true;
  }

  std::shared_ptr<detail::handle> handle_;
  std::string name_;
  bool owns_ = false;
  bool recovered_ = false;
};

SHM_NAMESPACE_END
