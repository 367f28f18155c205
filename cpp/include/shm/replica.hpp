// SPDX-License-Identifier: Apache-2.0
// shm::replica<K, V>: a dict's data in this process, as a plain map that is brought up to date when one wants.
//
//   shm::replica r{d};                    // loads all of it
//   r.sync();                             // applies what was committed since; returns how many changes
//   auto it = r.data().find("a");         // std::unordered_map: as fast as memory, and does not change by itself
// Of a dict, a dict_ref, a json_dict (data() is an nlohmann::json), with all that is nested. data() always shows the state after
// some commit, never a part of one. Memory: a copy of the data. A replica takes no lock and holds nothing back in shared memory.
// Falling behind: if more than `options::buffer_size` was written since the last sync(), that loads all anew. On a read-only
// handle loading is tried for a tenth of a second and is `busy` if writers commit all the time.
// Lifetime: references into data() are valid until the next sync() or reload(). After close() of the dict data() stays, other
// calls throw shm::closed; the mapping stays as long as the replica.
// Thread safety: as of any container: const calls at the same time, others alone. A forked child has a replica of its own.
// Errors: closed, removed (of a dict_ref), corrupt, busy, snapshot_too_old, in_transaction (loading within the thread's own
// transaction), std::bad_alloc; data() then stays as it was, or is empty (out of memory while changes were applied), until a
// later sync() succeeds.
#pragma once

#include <cstdint>
#include <memory>
#include <utility>

#include "watch.hpp"

SHM_NAMESPACE_BEGIN

template <class K, class V>
class replica {
 public:
  using data_type = typename detail::whole<K, V>::local_type;

  template <class D, class = decltype(std::declval<const D&>().place())>
  explicit replica(const D& d)
      : reader_(std::make_unique<detail::commit_reader<K, V>>(detail::watched_place(d.place()), from_now, false)) {
    reload();
  }

  const data_type& data() const noexcept { return data_; }

  // Applies the commits that are there when it is called. Returns how many changes that were, 0 if there was nothing; having
  // to load all anew counts as one.
  std::size_t sync() {
    if (incomplete_) return reload(), 1;
    std::size_t applied = 0;
    auto& r = *reader_;
    for (const auto end = r.f.end(); r.at() < end && r.pull(end);) {
      if (r.changes.front().kind == change_kind::resync || !apply()) {
        ++resyncs_;
        reload();
        return applied + 1;
      }
      applied += r.changes.size();
    }
    if (applied == 0) r.f.check_exists();
    return applied;
  }
  // True as soon as there is something to sync(), without polling; false if there was nothing in the time given.
  template <class Rep, class Period>
  bool wait(std::chrono::duration<Rep, Period> timeout) {
    return incomplete_ || reader_->f.wait(detail::follower::after(timeout));
  }
  // Loads all of it.
  void reload() {
    detail::not_in_transaction(reader_->f.place().d, "loading a replica");
    incomplete_ = true;
    std::uint64_t position = 0;
    reader_->f.check_exists();
    auto loaded = detail::whole<K, V>::load(reader_->f.place(), position);
    reader_->seek(position);
    data_ = std::move(loaded);
    incomplete_ = false;
  }
  std::uint64_t position() const noexcept { return reader_->at(); } // what data() shows: all commits below it
  std::uint64_t resyncs() const noexcept { return resyncs_; }       // how often it fell behind

 private:
  bool apply() {
    try {
      for (auto& c : reader_->changes)
        if (!detail::whole<K, V>::apply(data_, c)) return false;
      return true;
    } catch (...) {
      incomplete_ = true;
      data_.clear(); // rather nothing than half a commit
      throw;
    }
  }

  std::unique_ptr<detail::commit_reader<K, V>> reader_;
  data_type data_;
  bool incomplete_ = true;
  std::uint64_t resyncs_ = 0;
};

template <class K, class V, class S>
replica(const dict<K, V, S>&) -> replica<K, stored<V, S>>;
template <class K, class V, bool ReadOnly>
replica(const dict_ref<K, V, ReadOnly>&) -> replica<K, V>;

SHM_NAMESPACE_END
