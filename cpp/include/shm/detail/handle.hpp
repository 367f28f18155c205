// SPDX-License-Identifier: Apache-2.0
// The core's handle, shared by a dict, its dict_refs, guards and snapshots.
//
// close() makes every user but the snapshots see a closed dict; the core's handle itself ends with the last snapshot.
// Thread safety: as the core's: everything at any time, close() too. What other threads are about then is done or throws
// shm::closed.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include <shmdict/read.h>

#include "../error.hpp"
#include "../event.hpp"

SHM_DETAIL_BEGIN

// What is closed from the beginning: to the core a handle like others that are closed. Nothing is ever stored in it.
struct alignas(64) closed_memory {
  unsigned char zero[256];
};
inline constexpr closed_memory closed_bytes{};
inline shmd_dict* closed_handle() noexcept {
  return reinterpret_cast<shmd_dict*>(const_cast<closed_memory*>(&closed_bytes));
}
// REQUIRES: not nullptr.
inline bool is_closed(const shmd_dict* d) noexcept { return shmd_reader_of(d) == nullptr; }

using event_hook = std::function<void(const event&)>;

class handle : public std::enable_shared_from_this<handle> {
 public:
  explicit handle(shmd_dict* d) noexcept : raw_(d), open_(d) {}
  handle(const handle&) = delete;
  handle& operator=(const handle&) = delete;
  ~handle() {
    if (holders_.load(std::memory_order_relaxed) > 0) static_cast<void>(shmd_close(raw_));
  }

  // Once closed, another one, which is closed: the core answers CLOSED to everything.
  shmd_dict* get() const noexcept { return open_.load(std::memory_order_relaxed); }
  // For giving back what was taken before: the same for ever.
  shmd_dict* raw() const noexcept { return raw_; }

  void hold() noexcept { holders_.fetch_add(1, std::memory_order_relaxed); }
  // The core's result if this was the last holder.
  int release() noexcept { return holders_.fetch_sub(1, std::memory_order_acq_rel) == 1 ? shmd_close(raw_) : 0; }
  // Hooks that were replaced stay until the end: one may be what replaces itself.
  int set_hook(event_hook hook) {
    const event_hook* fresh = nullptr;
    if (hook) {
      const std::lock_guard<std::mutex> lock(hooks_mutex_);
      fresh = hooks_.emplace_back(std::make_unique<event_hook>(std::move(hook))).get();
    }
    return shmd_set_event_hook(get(), fresh != nullptr ? call_hook : nullptr, const_cast<event_hook*>(fresh));
  }
  int close() noexcept {
    if (open_.exchange(closed_handle(), std::memory_order_relaxed) == closed_handle()) return 0;
    return release();
  }

 private:
  static void call_hook(void* hook, const shmd_event* e) noexcept {
    (*static_cast<const event_hook*>(hook))(
        {static_cast<event_kind>(e->kind), e->finished != 0, e->pid, e->position, e->program, e->name});
  }

  shmd_dict* raw_;
  std::atomic<shmd_dict*> open_;
  std::atomic<int> holders_{1};
  std::mutex hooks_mutex_;
  std::vector<std::unique_ptr<event_hook>> hooks_;
};

// Keeps the core's handle while a function of the user's runs, which may close or destroy its dict.
class keep_open {
 public:
  keep_open(const shmd_dict* d, handle* owner) {
    if (is_closed(d) || owner == nullptr) return; // closed: the core says so
    owner_ = owner->shared_from_this();
    owner_->hold();
  }
  ~keep_open() {
    if (owner_) static_cast<void>(owner_->release());
  }
  keep_open(const keep_open&) = delete;
  keep_open& operator=(const keep_open&) = delete;

 private:
  std::shared_ptr<handle> owner_;
};

SHM_DETAIL_END
