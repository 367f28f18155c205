// The core's handle, shared by a dict, its dict_refs, guards and snapshots.
//
// close() makes every user but the snapshots see a closed dict; the core's handle itself ends with the last snapshot.
// Thread safety: as the core's: everything but close() at any time.
#pragma once

#include <atomic>
#include <memory>

#include "../error.hpp"

SHM_DETAIL_BEGIN

class handle : public std::enable_shared_from_this<handle> {
 public:
  explicit handle(shmd_dict* d) noexcept : raw_(d), open_(d) {}
  handle(const handle&) = delete;
  handle& operator=(const handle&) = delete;
  ~handle() {
    if (holders_.load(std::memory_order_relaxed) > 0) static_cast<void>(shmd_close(raw_));
  }

  // nullptr once closed: the core then answers CLOSED to everything.
  shmd_dict* get() const noexcept { return open_.load(std::memory_order_relaxed); }

  void hold() noexcept { holders_.fetch_add(1, std::memory_order_relaxed); }
  // The core's result if this was the last holder.
  int release() noexcept { return holders_.fetch_sub(1, std::memory_order_acq_rel) == 1 ? shmd_close(raw_) : 0; }
  int close() noexcept {
    if (open_.exchange(nullptr, std::memory_order_relaxed) == nullptr) return 0;
    return release();
  }

 private:
  shmd_dict* raw_;
  std::atomic<shmd_dict*> open_;
  std::atomic<int> holders_{1};
};

SHM_DETAIL_END
