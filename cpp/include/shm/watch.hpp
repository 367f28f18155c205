// SPDX-License-Identifier: Apache-2.0
// shm::watcher<K, V>: every change of a dict, once, in the order of their commits, as it happens.
//
//   for (auto& c : d.watch()) ...                         // until stop(); waits without polling
//   auto w = d.watch(); while (auto* c = w.next(1s)) ...  // nullptr: a second without a change, or stopped
// Made by watch() of a dict, a dict_ref (that very dict; `removed` once it is gone), nested["de"] (whatever stands there: by
// path), d["key"] (one key), and of json_dict and the like. A watcher takes no lock and holds nothing back in shared memory;
// writers pay nothing for one that is awake, one wake-up for one that sleeps.
// Falling behind: the dict keeps `options::buffer_size` bytes of history. Who needed more gets one change of kind `resync`: what
// was missed is not told, what comes after it is told completely. snapshot() of the watcher gives the state to go on from.
// A nested dict that is gone by the time the watcher comes to changes in it: those may be left out, its end is not.
// Lifetime: a change belongs to the watcher and lives until its next call; it may be moved from. A watcher may outlive its
// dict: after close(), calls throw shm::closed, one that waits within 50 ms; the mapping stays as long as the watcher.
// Thread safety: one thread at a time, but for stop() and stopped(), which any thread may call while the watcher lives. Each
// watcher is on its own. A forked child may go on with a copy of its own if no thread was in a call of it during fork().
// Errors: closed, removed, corrupt, busy, out_of_memory, std::bad_alloc; the call can be repeated and loses nothing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <iterator>
#include <memory>
#include <optional>
#include <tuple>
#include <utility>
#include <variant>
#include <vector>

#include "detail/follow.hpp"
#include "proxy.hpp"
#include "snapshot.hpp"

SHM_NAMESPACE_BEGIN

// Where watching begins unless said otherwise: behind the last commit.
inline constexpr std::uint64_t from_now = SHMD_NOW;

enum class change_kind {
  put,   // a value was stored; it replaces whatever was under the key, a subtree too
  erase, // a value, or a nested dict with all in it, was removed
  dict,  // an empty nested dict now stands under the key; what is put into it follows as changes of its own
  clear, // the watched dict has nothing in it now: it was emptied, replaced, or is gone. No key
  resync // the watcher fell behind `buffer_size`: changes before this one are missing. No key
};

namespace detail {

template <class V>
inline constexpr bool is_json = std::is_same_v<V, json_dict>;

// The keys of all levels, each type once, and what is stored at the last.
template <class Keys, class V>
struct levels {
  using keys = Keys;
  using leaf = V;
};
template <class... Ks, class K, class V, class S>
struct levels<std::tuple<Ks...>, dict<K, V, S>>
    : levels<std::conditional_t<(std::is_same_v<K, Ks> || ...), std::tuple<Ks...>, std::tuple<Ks..., K>>,
             stored<V, S>> {};

template <class Keys>
struct one_type;
template <class K>
struct one_type<std::tuple<K>> {
  using type = K;
};
template <class... Ks>
struct one_type<std::tuple<Ks...>> {
  using type = std::variant<Ks...>;
};

// A value of a record.
template <class V>
struct leaf {
  using type = local_t<V>;
  static type decode(const void* data, std::size_t size) { return detail::decode<V>(data, size); }
};

// A key `level` dicts below a dict<K, V>.
template <class Any, class K, class V>
Any decode_key(std::size_t level, const void* data, std::size_t size) {
  if constexpr (is_nested<V>) {
    if (level != 0) return decode_key<Any, nested_key<V>, nested_value<V>>(level - 1, data, size);
  } else if constexpr (!is_json<V>) {
    if (level != 0) throw error(errc::is_a_dict, "a key holds a nested dict where a value was expected");
  }
  if constexpr (std::is_same_v<Any, K>)
    return decode<K>(data, size);
  else
    return Any(std::in_place_type<K>, decode<K>(data, size));
}
template <class V>
constexpr bool has_values(std::size_t level) {
  if constexpr (is_nested<V>)
    return level != 0 && has_values<nested_value<V>>(level - 1);
  else
    return true;
}
template <class V>
constexpr bool has_dicts(std::size_t level) {
  if constexpr (is_nested<V>)
    return level == 0 || has_dicts<nested_value<V>>(level - 1);
  else
    return is_json<V>;
}

} // namespace detail

template <class K, class V>
struct change {
  // K if all levels of the dict have keys of one type, else a std::variant of them, in the order of the levels.
  using key_type = typename detail::one_type<typename detail::levels<std::tuple<K>, V>::keys>::type;
  using mapped_type = typename detail::leaf<typename detail::levels<std::tuple<K>, V>::leaf>::type;

  change_kind kind = change_kind::resync;
  std::vector<key_type> path; // keys from the watched dict down to the dict in which it happened; empty: in itself
  key_type key{};             // in that dict
  std::optional<mapped_type> value; // of put. Of clear in a json_dict: the leaf that stands there now, if there is one
  std::uint64_t position = 0;       // in the stream: later changes have greater ones, in all processes alike
  bool first = true, last = true;   // of its commit, of the changes that this watcher is shown
};

namespace detail {

// Commits, as changes of a dict<K, V>, one at a time.
template <class K, class V>
class commit_reader {
 public:
  using change_type = shm::change<K, V>;
  using hit = watched_place::hit;

  // `key`: what is watched is not a dict, but what its last key leads to in a dict<K, V>.
  commit_reader(watched_place place, std::uint64_t since, bool key) : f(std::move(place), since), key_(key) {
    begin_ = at_ = f.position();
  }

  follower f;
  std::vector<change_type> changes; // of the commit
  // Where the commit in `changes` begins, and what is behind it: positions to go on from.
  std::uint64_t begin() const noexcept { return begin_; }
  std::uint64_t at() const noexcept { return at_; }

  // The next commit with anything in it to show; false: there is none below `end`, which is of f.end(). After an exception the
  // same commit is tried again.
  bool pull(std::uint64_t end) {
    changes.clear();
    if (unfinished_) f.seek(at_);
    unfinished_ = true;
    try {
      const bool found = read(end);
      unfinished_ = false;
      return found;
    } catch (...) {
      changes.clear();
      throw;
    }
  }
  // Goes on from a snapshot's position, which is not before its own.
  void seek(std::uint64_t position) {
    changes.clear();
    f.seek(position);
    begin_ = at_ = position;
    unfinished_ = false;
  }

 private:
  bool read(std::uint64_t end) {
    begin_ = at_;
    shmd_change c;
    hit where = hit::none;
    std::size_t skip = 0;
    for (;;) {
      const int result = f.next_match(c, where, skip);
      if (result == SHMD_END) {
        begin_ = at_ = f.position();
        return false;
      }
      if (result == SHMD_RESYNC) {
        changes.clear();
        changes.emplace_back();
        f.seek(SHMD_NOW); // now, not later: whatever changes after this was told comes next
        begin_ = at_ = changes.back().position = f.position();
        return true;
      }
      if (where != hit::none) changes.push_back(make(c, where, skip));
      if (c.last == 0) continue;
      at_ = c.next;
      if (!changes.empty()) break;
      begin_ = at_;
      if (at_ >= end && f.place().check() == 0) return false; // a removed one is found out at the end
    }
    for (auto& each : changes) each.first = each.last = false;
    changes.front().first = changes.back().last = true;
    return true;
  }

  change_type make(const shmd_change& c, hit where, std::size_t skip) const {
    try {
      change_type to;
      to.position = c.position;
      if (where == hit::inside && c.kind != SHMD_CHANGE_CLEAR) {
        const std::size_t level = c.path_length - skip;
        to.path.reserve(level);
        for (std::size_t i = 0; i < level; ++i)
          to.path.push_back(key_at(i, c.path[skip + i].key, c.path[skip + i].key_size));
        fill(to, c, level);
      } else if (key_ && where == hit::exact) {
        fill(to, c, 0);
      } else if (key_) {
        to.kind = change_kind::erase;
        to.key = key_at(0, f.place().last_key().data(), f.place().last_key().size());
      } else {
        to.kind = change_kind::clear;
        if constexpr (is_json<V>)
          if (where == hit::exact && c.kind == SHMD_CHANGE_PUT) to.value = leaf<V>::decode(c.value, c.value_size);
      }
      return to;
    } catch (const error& e) {
      if (e.code() != errc::corrupt) throw;
      throw error(errc::corrupt, std::string("dict '") + shmd_name(f.place().d) + "': " + e.what() +
                                     " (in the change at position " + std::to_string(c.position) + ")");
    }
  }
  static typename change_type::key_type key_at(std::size_t level, const void* key, std::size_t size) {
    return decode_key<typename change_type::key_type, K, V>(level, key, size);
  }
  static void fill(change_type& to, const shmd_change& c, std::size_t level) {
    to.key = key_at(level, c.key, c.key_size);
    switch (c.kind) {
      case SHMD_CHANGE_PUT:
        if (!has_values<V>(level))
          throw error(errc::not_a_dict, "a key holds a value where a nested dict was expected");
        to.kind = change_kind::put;
        to.value.emplace(leaf<typename levels<std::tuple<>, V>::leaf>::decode(c.value, c.value_size));
        break;
      case SHMD_CHANGE_NODE:
        if (!has_dicts<V>(level)) throw error(errc::is_a_dict, "a key holds a nested dict where a value was expected");
        to.kind = change_kind::dict;
        break;
      default:
        to.kind = change_kind::erase;
    }
  }

  bool key_;
  bool unfinished_ = false;
  std::uint64_t begin_ = 0, at_ = 0;
};

// A dict as a whole: as a watcher's snapshot() gives it, and as local data that changes are applied to.
template <class K, class V>
struct whole {
  using snapshot_type = shm::snapshot<K, V>;
  using local_type = local_t<dict<K, V>>;

  static snapshot_type take(const watched_place& place, std::uint64_t& position) {
    auto s = snapshot_type::of(place);
    position = s.position();
    return s;
  }
  static local_type load(const watched_place& place, std::uint64_t& position) {
    return read_whole(place.d, [&] { return take(place, position).to_map(); });
  }
  // False if it does not fit: it happened in a dict that is not there.
  static bool apply(local_type& to, change<K, V>& c) {
    if (c.kind == change_kind::clear) return to.clear(), true;
    return descend<K, V>(to, c, 0);
  }

 private:
  template <class K2, class V2>
  static const K2& key_of(const typename change<K, V>::key_type& key) {
    if constexpr (std::is_same_v<K2, typename change<K, V>::key_type>)
      return key;
    else
      return std::get<K2>(key);
  }
  template <class K2, class V2>
  static bool descend(local_t<dict<K2, V2>>& to, change<K, V>& c, std::size_t level) {
    if (level == c.path.size()) {
      const K2& key = key_of<K2, V2>(c.key);
      if (c.kind == change_kind::erase) {
        to.erase(key);
      } else if constexpr (is_nested<V2>) {
        to.insert_or_assign(key, local_t<V2>());
      } else {
        to.insert_or_assign(key, std::move(*c.value));
      }
      return true;
    }
    if constexpr (is_nested<V2>) {
      const auto next = to.find(key_of<K2, V2>(c.path[level]));
      return next != to.end() && descend<nested_key<V2>, nested_value<V2>>(next->second, c, level + 1);
    } else {
      return false;
    }
  }
};

inline void not_in_transaction(shmd_dict* d, const char* what) {
  if (shmd_in_transaction(d) != 0)
    throw error(errc::in_transaction, std::string(what) + " is not possible inside this thread's own transaction");
}

inline constexpr follower::until never{}; // a constant: GCC warns of a temporary that is as empty

// What wait_for() of dicts does: whether `holds` at last, which is asked again after each change at the place.
template <class Holds>
bool wait_at(watched_place place, const follower::until& end, const Holds& holds) {
  not_in_transaction(place.d, "waiting for a change");
  follower f(std::move(place), SHMD_NOW); // before the first look
  const auto touched = [&f] {
    shmd_change c;
    auto where = watched_place::hit::none;
    std::size_t skip;
    bool any = false;
    for (const auto limit = f.end(); f.position() < limit;) {
      const int result = f.next_match(c, where, skip);
      if (result == SHMD_END) break;
      any |= result == SHMD_RESYNC || where != watched_place::hit::none;
      if (result == SHMD_RESYNC) f.seek(SHMD_NOW);
    }
    return any || f.place().check() != 0; // removed: asking again says so
  };
  while (!holds())
    if (!f.wait_until(end, touched)) return holds();
  return true;
}

// A predicate of V is false for an absent key; one of std::optional<V> is asked.
template <class V, class Predicate>
bool holds(Predicate& predicate, std::optional<V> value) {
  if constexpr (takes_optional<std::remove_reference_t<Predicate>, V>())
    return static_cast<bool>(predicate(std::move(value)));
  else
    return value && static_cast<bool>(predicate(std::move(*value)));
}

} // namespace detail

template <class K, class V>
class watcher {
 public:
  using change_type = change<K, V>;

  // See the dict's watch(). Throws invalid_argument if nothing begins at the position.
  watcher(detail::watched_place place, std::uint64_t since, bool key = false)
      : reader_(std::make_unique<reader>(std::move(place), since, key)) {}

  // The next change; waits for it. nullptr: stopped, or none within the time.
  change_type* next() { return next_until(std::nullopt); }
  template <class Rep, class Period>
  change_type* next(std::chrono::duration<Rep, Period> timeout) {
    return next_until(detail::follower::after(timeout));
  }
  change_type* poll() { return next_until(detail::follower::clock::time_point()); } // does not wait

  // Ends the present wait at once, and gives nothing any more: next() and poll() say nullptr, loops end.
  void stop() noexcept { reader_->f.stop(); }
  bool stopped() const noexcept { return reader_->f.stopped(); }

  // A descriptor for poll(2), epoll or an event loop beside others: readable (level-triggered) from a commit to the dict's tree,
  // or from stop() on for good, until poll() or next() gives nullptr. So: when it is readable, poll() until nullptr, then wait
  // again; no change is missed in between. It may become readable for a change that this watcher is not shown.
  // The same one each time, the watcher's: open as long as it, not to be read, written or closed. The first call starts a
  // thread for this watcher, which sleeps, and which its destruction joins. A forked child has no such thread: it calls fd()
  // again, for a descriptor of its own. close() of the dict does not make it readable: stop() what is to end.
  // Throws closed, unsupported where the system has no such descriptors, out_of_memory, system.
  int fd() {
    reader_->f.check_open();
    return reader_->f.fd();
  }

  // The dict as it is now; the next change is the first one after that: nothing is lost, nothing seen twice. Of a json_dict an
  // nlohmann::json. Throws in_transaction in the thread's own transaction.
  auto snapshot() {
    detail::not_in_transaction(reader_->f.place().d, "a watcher's snapshot");
    reader_->f.check_exists();
    std::uint64_t position = 0;
    auto s = detail::whole<K, V>::take(reader_->f.place(), position);
    reader_->seek(position);
    given_ = 0;
    return s;
  }
  // Where d.watch(position) goes on in this or another process without missing or repeating a commit: behind the last
  // change; if more of its commit are to come, before that commit. Means nothing for another creation of the dict's name.
  std::uint64_t position() const noexcept {
    return given_ < reader_->changes.size() ? reader_->begin() : reader_->at();
  }

  // One pass; ends once stopped.
  class iterator {
   public:
    using iterator_category = std::input_iterator_tag;
    using value_type = change_type;
    using difference_type = std::ptrdiff_t;
    using pointer = change_type*;
    using reference = change_type&;

    iterator() noexcept = default; // the end
    explicit iterator(watcher* w) : watcher_(w), change_(w->next()) {}
    reference operator*() const noexcept { return *change_; }
    pointer operator->() const noexcept { return change_; }
    iterator& operator++() {
      change_ = watcher_->next();
      return *this;
    }
    void operator++(int) { ++*this; }
    friend bool operator==(const iterator& a, const iterator& b) noexcept { return a.change_ == b.change_; }
    friend bool operator!=(const iterator& a, const iterator& b) noexcept { return a.change_ != b.change_; }

   private:
    watcher* watcher_ = nullptr;
    change_type* change_ = nullptr;
  };
  iterator begin() { return iterator(this); } // waits for the first change
  iterator end() noexcept { return {}; }

 private:
  using reader = detail::commit_reader<K, V>;

  change_type* next_until(const detail::follower::until& end) {
    auto& r = *reader_;
    if (stopped()) return nullptr;
    if (given_ >= r.changes.size()) {
      given_ = 0;
      if (!r.f.wait_until(end, [&r] { return r.pull(r.f.end()); })) {
        r.f.settle();
        return nullptr;
      }
    }
    return &r.changes[given_++];
  }

  std::unique_ptr<reader> reader_; // stop() may be on its way while it is moved
  std::size_t given_ = 0;
};

SHM_NAMESPACE_END
