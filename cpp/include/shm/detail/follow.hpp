// SPDX-License-Identifier: Apache-2.0
// The core's follower for watchers and replicas, and which changes of the tree belong to what is watched.
//
// Thread safety: one thread at a time, but for stop().
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "../options.hpp"
#include "place.hpp"

SHM_DETAIL_BEGIN

// A place that owns what it needs: the root or a dict by identity, and keys that lead on from there. Keeps the core's
// handle open, as a snapshot does; close() of the dict is seen nevertheless.
class watched_place {
 public:
  template <class Place>
  explicit watched_place(const Place& place) : d(place.d), owner(place.owner) {
    if (detail::is_closed(d) || owner == nullptr) throw_last(SHMD_ERR_CLOSED);
    collect(place);
    holder_ = std::unique_ptr<hold>(new hold(owner->shared_from_this()));
  }
  // The key's place in the dict at `place`.
  template <class Place, class Key>
  watched_place(const Place& place, const Key& key) : watched_place(place) {
    keys_.emplace_back(static_cast<const char*>(key.data()), key.size());
  }

  shmd_dict* d;
  handle* owner;

  bool is_closed() const noexcept { return detail::is_closed(owner->get()); }
  // As other places: see place.hpp.
  int check() const noexcept { return base_.id != 0 ? shmd_node_check(d, base_) : 0; }
  int find(shmd_snapshot* s, shmd_node* out) const noexcept {
    *out = base_;
    int result = check();
    for (std::size_t i = 0; i < keys_.size() && result == 0; ++i) {
      const shmd_node up = *out;
      result = shmd_snapshot_node(s, up, keys_[i].data(), keys_[i].size(), out);
    }
    return result;
  }
  void describe(std::string& out) const { out += path_; }
  const std::string& last_key() const noexcept { return keys_.back(); }

  enum class hit {
    none,   // elsewhere
    inside, // in the watched dict; its path begins at `skip`
    exact,  // to the watched key itself: what the change says now stands there
    above   // to a dict that it is in, which was replaced, erased or emptied: nothing stands there now
  };
  hit match(const shmd_change& c, std::size_t& skip) const noexcept {
    std::size_t at = 0;
    if (base_.id != 0) {
      while (at < c.path_length && !same(c.path[at].node, base_)) ++at;
      if (at == c.path_length) return hit::none; // its own end is found by check()
      ++at;
    }
    std::size_t i = 0;
    for (; i < keys_.size() && at < c.path_length; ++i, ++at)
      if (!same(keys_[i], c.path[at].key, c.path[at].key_size)) return hit::none;
    skip = at;
    if (i == keys_.size()) return hit::inside;
    if (c.kind == SHMD_CHANGE_CLEAR) return hit::above;
    if (!same(keys_[i], c.key, c.key_size)) return hit::none;
    return i + 1 == keys_.size() ? hit::exact : hit::above;
  }

 private:
  struct hold {
    explicit hold(std::shared_ptr<handle> h) noexcept : of(std::move(h)) { of->hold(); }
    hold(const hold&) = delete;
    hold& operator=(const hold&) = delete;
    ~hold() { static_cast<void>(of->release()); }
    std::shared_ptr<handle> of;
  };

  void collect(const root_place&) {}
  void collect(const node_place& place) {
    base_ = place.at;
    if (place.path != nullptr) path_ = *place.path;
  }
  template <class Parent, class K>
  void collect(const child_place<Parent, K>& place) {
    collect(place.parent);
    keys_.emplace_back(static_cast<const char*>(place.key.data()), place.key.size());
    describe_key<K>(path_, place.key.data(), place.key.size());
  }
  static bool same(shmd_node a, shmd_node b) noexcept { return a.id == b.id && a.generation == b.generation; }
  static bool same(const std::string& a, const void* key, std::size_t size) noexcept {
    return a.size() == size && (size == 0 || std::memcmp(a.data(), key, size) == 0);
  }

  std::unique_ptr<hold> holder_;
  shmd_node base_{0, 0};
  std::vector<std::string> keys_;
  std::string path_; // for messages
};

class follower {
 public:
  using clock = std::chrono::steady_clock;
  using until = std::optional<clock::time_point>; // empty: for ever

  // Throws what shmd_follow_open says.
  follower(watched_place place, std::uint64_t position) : place_(std::move(place)) {
    detail::check(shmd_follow_open(place_.d, position, &raw_));
  }
  follower(const follower&) = delete;
  follower& operator=(const follower&) = delete;
  ~follower() { shmd_follow_close(raw_); }

  const watched_place& place() const noexcept { return place_; }
  std::uint64_t position() const noexcept { return shmd_follow_position(raw_); }
  // Behind the last commit that anybody made. Cheap.
  std::uint64_t end() const noexcept {
    return shmd_load_acquire(&shmd_reader_control(shmd_reader_of(place_.d))->published);
  }
  void seek(std::uint64_t position) { detail::check(shmd_follow_seek(raw_, position)); }

  // SHMD_OK, SHMD_END or SHMD_RESYNC. Throws closed, corrupt, busy, out_of_memory.
  int next(shmd_change& c) {
    check_open();
    return detail::check(shmd_follow_next(raw_, &c));
  }
  // The same, and whether the change is in what is watched. A dict that is watched by identity and is gone throws removed,
  // after all that happened in it before.
  int next_match(shmd_change& c, watched_place::hit& hit, std::size_t& skip) {
    bool removed = false;
    for (;;) {
      const int result = next(c);
      if (result == SHMD_END) {
        if (removed) throw_at(SHMD_ERR_REMOVED, place_);
        const int found = place_.check();
        if (found == 0) return result;
        if (found != SHMD_ERR_REMOVED) throw_at(found, place_);
        removed = true; // before it was seen to be, something may have come
        continue;
      }
      if (result != SHMD_OK) return result;
      hit = place_.match(c, skip);
      return result;
    }
  }

  // True if there is something to look at; false once stopped, or at the time given. Throws closed within 50 ms.
  bool wait(const until& end) {
    using namespace std::chrono;
    constexpr nanoseconds slice = milliseconds(50); // close() wakes nobody
    for (;;) {
      check_open();
      if (stopped()) return false;
      nanoseconds left = slice;
      if (end) left = std::min(left, ceil<nanoseconds>(*end - clock::now()));
      const int result = wait_once(timeout_ns(left));
      if (result == SHMD_OK) return true;
      if (result == SHMD_TIMED_OUT && end && clock::now() >= *end) return false;
    }
  }
  // See shmd_follow_fd().
  int fd() {
    fd_ = detail::check(shmd_follow_fd(raw_));
    return fd_;
  }
  // The descriptor is not readable any more if there is nothing, which reading up to some end() does not find out.
  void settle() {
    if (fd_ < 0 || stopped()) return;
    static_cast<void>(wait_once(0));
  }
  // What is to be done until `look` says true or the time has come. False: it did not.
  template <class Look>
  bool wait_until(const until& end, const Look& look) {
    while (!look()) // others may write elsewhere without a pause: the time counts, too
      if (is_over(end) || !wait(end)) return false;
    return true;
  }
  // Not inline: GCC 12 takes the time of an empty `end` for one that is used.
  SHMD_NOINLINE static bool is_over(const until& end) { return end && clock::now() >= *end; }
  void stop() noexcept {
    stopped_.store(true, std::memory_order_release);
    shmd_follow_interrupt(raw_);
  }
  bool stopped() const noexcept { return stopped_.load(std::memory_order_acquire); }

  template <class Rep, class Period>
  static until after(std::chrono::duration<Rep, Period> timeout) {
    const std::int64_t ns = timeout_ns(timeout);
    const auto start = clock::now();
    if (ns >= std::chrono::nanoseconds(clock::time_point::max() - start).count()) return std::nullopt;
    return start + std::chrono::nanoseconds(ns);
  }

  void check_open() const {
    if (place_.is_closed()) throw_last(SHMD_ERR_CLOSED);
  }
  void check_exists() const {
    check_open();
    if (const int result = place_.check(); result != 0) throw_at(result, place_);
  }

 private:
  // An interruption is stop()'s and stays, whichever call meets it: so does what the descriptor says of it.
  int wait_once(std::int64_t ns) {
    const int result = detail::check(shmd_follow_wait(raw_, ns));
    if (result == SHMD_INTERRUPTED) shmd_follow_interrupt(raw_);
    return result;
  }

  watched_place place_;
  shmd_follower* raw_ = nullptr;
  int fd_ = -1;
  std::atomic<bool> stopped_{false};
};

SHM_DETAIL_END
