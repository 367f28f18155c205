// SPDX-License-Identifier: Apache-2.0
// Bounded work: what one put, erase or attach stores under the lock does not grow with the dict. Counted, not timed: the
// build with crash points counts every store to shared memory. A store is at most a word, but for copies of a record:
// the bytes of moved records are counted by statistics, one's own record is one's own. So the bytes written are at most
//   8 * stores + moved bytes + own record.
// Searches store nothing: the segments that they look at are counted apart (SHMD_SEGMENT_LOOKED).
// What guards it: arrays split at SHMD_ARRAY_LOG2 (raise it to 12 and the test at millions of keys fails), directories of at most
// 2^SHMD_DIRECTORY_LOG2 references, the budgets of reclaim.c (clean_step's `budget`, one array per sweep_step, 64 ghosts
// per step), shmd_dict_drain only for the call that removed a subtree, `most` in choose_victim, eight a class in extent_take.
#include <algorithm>

#include "redo.h"
#include "segment.h"
#include "support/catch.hpp"
#include "support/process.hpp"

using support::Dict;

namespace {

// Stated constants, for the default segment size and small records: an array split (two of 512 slots), a directory
// doubled (4096 references), a cleaning step (4 * SHMD_STEP_MAX bytes looked at), everything staged twice and applied once.
constexpr std::uint64_t stores_of_a_write = 6000;
constexpr std::uint64_t stores_of_attaching = 64;
constexpr std::uint64_t moved_by_a_write = 4 * 2 * 2048 + 4096;
// Two steps of cleaning, four segments of each bucket but the fullest; two extents, eight of each class.
constexpr std::uint64_t looked_by_a_write = 2 * 4 * (SHMD_BUCKETS - 1) + 2 * 8 * SHMD_EXTENT_CLASSES;

// What instrumented builds divide numbers by: at a power of two the arrays are as full, so they split as often.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr std::uint64_t slow = 16;
#else
constexpr std::uint64_t slow = 1;
#endif

struct Cost {
  std::uint64_t stores = 0, moved = 0, looked = 0;
  void note(const Cost& c) {
    stores = std::max(stores, c.stores);
    moved = std::max(moved, c.moved);
    looked = std::max(looked, c.looked);
  }
};

std::uint64_t cleaned(shmd_dict* d) { return shmd_load_acquire(&shmd_reader_of(d)->control->cleaned_bytes); }

template <class Call>
Cost cost_of(shmd_dict* d, Call call) {
  const std::uint64_t moved = cleaned(d), before = shmd_crash_count, looked = shmd_segments_looked;
  call();
  Cost c;
  c.looked = shmd_segments_looked - looked;
  c.stores = shmd_crash_count - before;
  c.moved = cleaned(d) - moved;
  return c;
}

std::uint64_t key_of(std::uint64_t i) { return i * 0x9e3779b97f4a7c15u; }

void put(shmd_dict* d, std::uint64_t i, std::uint64_t value) {
  const auto key = key_of(i);
  support::must(shmd_put(d, shmd_root(), &key, 8, &value, 8, 0), "put");
}

struct Maxima {
  Cost insert, overwrite, erase;
  std::uint64_t splits = 0, merges = 0;
};

// The costliest of at least 20,000 new keys, overwrites and erases in a dict of `keys` to `keys` + `more`.
Maxima measure(std::uint64_t keys, std::uint64_t more) {
  const std::uint64_t n = 20000;
  auto o = support::small_options(std::uint64_t{4} << 30);
  Dict d(support::unique_name("bounded"), o);
  Maxima m;
  for (std::uint64_t i = 0; i < keys; ++i) m.insert.note(cost_of(d, [&] { put(d, i, i); })); // directories double
  const auto before = d.stat();
  for (std::uint64_t done = 0; done < n;) {
    for (std::uint64_t i = 0; i < more; ++i) m.insert.note(cost_of(d, [&] { put(d, keys + i, i); }));
    // overwriting until the cleaner has been at work for long
    for (std::uint64_t i = 0; i < std::max(n, keys); ++i)
      m.overwrite.note(cost_of(d, [&] { put(d, i * 104729 % (keys + more), ~i); }));
    for (std::uint64_t i = 0; i < std::min<std::uint64_t>(more, 200000); ++i) {
      const auto key = key_of(keys + i);
      m.erase.note(cost_of(d, [&] { support::must(shmd_erase(d, shmd_root(), &key, 8), "erase"); }));
    }
    done += more;
  }
  const auto after = d.stat();
  m.splits = after.splits - before.splits;
  m.merges = after.merges - before.merges;
  const auto line = [&](const char* what, const Cost& c) {
    std::printf("%8llu keys, %-9s at most %5llu stores, %5llu bytes moved, %3llu segments looked at\n",
                static_cast<unsigned long long>(keys), what, static_cast<unsigned long long>(c.stores),
                static_cast<unsigned long long>(c.moved), static_cast<unsigned long long>(c.looked));
  };
  line("put, new", m.insert);
  line("overwrite", m.overwrite);
  line("erase", m.erase);
  std::printf("%8llu keys: %llu splits\n", static_cast<unsigned long long>(keys),
              static_cast<unsigned long long>(m.splits));
  return m;
}

void require_bounded(const Maxima& m) {
  for (const auto* c : {&m.insert, &m.overwrite, &m.erase}) {
    REQUIRE(c->stores <= stores_of_a_write);
    REQUIRE(c->moved <= moved_by_a_write);
    REQUIRE(c->looked <= looked_by_a_write);
  }
}

} // namespace

TEST_CASE("one write at a thousand keys stores at most the stated constant") { require_bounded(measure(1000, 1000)); }

TEST_CASE("one write at millions of keys stores at most the same constant") {
  const auto m = measure(5000000 / slow, 1300000 / slow);
  REQUIRE(m.splits > 0); // the maximum includes them
  REQUIRE(m.overwrite.moved > 0);
  require_bounded(m);
}

TEST_CASE("attaching to a large dict stores as little as attaching to a small one") {
  Cost small, large;
  for (const std::uint64_t keys : {std::uint64_t{10}, 1000000 / slow}) {
    support::Name name("attach");
    auto o = support::small_options(std::uint64_t{4} << 30);
    o.unlink = SHMD_UNLINK_NEVER;
    {
      support::Handle d(name, o);
      for (std::uint64_t i = 0; i < keys; ++i) put(d, i, i);
    }
    const std::uint64_t before = shmd_crash_count;
    support::Handle d(name, o);
    (keys == 10 ? small : large).stores = shmd_crash_count - before;
    std::uint64_t value = 0;
    std::size_t size = 0;
    const auto key = key_of(7);
    REQUIRE(shmd_get(d, shmd_root(), &key, 8, &value, 8, &size) == 0);
    REQUIRE(value == 7);
  }
  std::printf("attaching: %llu and %llu stores\n", static_cast<unsigned long long>(small.stores),
              static_cast<unsigned long long>(large.stores));
  REQUIRE(small.stores == large.stores);
  REQUIRE(large.stores <= stores_of_attaching);
}

// Guard: a step of a writer that is behind (shmd_reclaim_step) is as bounded as any.
TEST_CASE("puts after an old pin was dropped give back what it kept in bounded steps") {
  constexpr std::uint64_t keys = 200000; // fewer would keep less than what may stay anyway
  Dict d(support::unique_name("bounded"), support::small_options(std::uint64_t{4} << 30));
  for (std::uint64_t i = 0; i < keys; ++i) put(d, i, i);
  shmd_snapshot* s = nullptr;
  REQUIRE(shmd_snapshot_open(d, &s) == 0);
  for (std::uint64_t i = 0; i < keys; ++i) {
    const auto key = key_of(i);
    support::must(shmd_erase(d, shmd_root(), &key, 8), "erase");
  }
  REQUIRE(shmd_lock(d, SHMD_FOREVER) == 0);
  shmd_snapshot_close(s); // not able to catch up inside a section
  REQUIRE(shmd_unlock(d) == 0);
  const auto held = d.stat().memory;
  Cost worst;
  for (std::uint64_t i = 0; i < 5000; ++i) worst.note(cost_of(d, [&] { put(d, keys, i); }));
  std::printf("behind: at most %llu stores, %llu bytes moved, %llu segments looked at\n",
              static_cast<unsigned long long>(worst.stores), static_cast<unsigned long long>(worst.moved),
              static_cast<unsigned long long>(worst.looked));
  REQUIRE(d.stat().memory < held / 4);
  REQUIRE(worst.stores <= stores_of_a_write);
  REQUIRE(worst.moved <= moved_by_a_write);
  REQUIRE(worst.looked <= looked_by_a_write);
}

// Guard: sweep_step takes one array; shmd_dict_put_rest drains only what it removed itself.
TEST_CASE("puts after a large dict was cleared by another process sweep it in bounded steps") {
  Dict d(support::unique_name("bounded"), support::small_options(std::uint64_t{4} << 30));
  for (std::uint64_t i = 0; i < 300000; ++i) put(d, i, i);
  REQUIRE(shmd_lock(d, SHMD_FOREVER) == 0);
  REQUIRE(shmd_clear(d, shmd_root(), nullptr) == 0); // inside a section nothing is swept yet
  REQUIRE(shmd_unlock(d) == 0);
  const auto cleared = d.stat();
  REQUIRE(d.count() == 0);
  REQUIRE(cleared.live_bytes > 300000 * 30);
  Cost worst;
  std::uint64_t puts = 0;
  for (; d.stat().live_bytes > 1000000 && puts < 1000000; ++puts)
    worst.note(cost_of(d, [&] { put(d, puts % 1000, puts); }));
  std::printf("swept by %llu puts: at most %llu stores in one\n", static_cast<unsigned long long>(puts),
              static_cast<unsigned long long>(worst.stores));
  REQUIRE(puts > 1000);
  REQUIRE(puts < 1000000);
  REQUIRE(worst.stores <= stores_of_a_write);
  REQUIRE(d.check() == "");
}

// Guard: ghosts_step: many erases under a snapshot are purged in steps of 64.
TEST_CASE("writes after a snapshot under which much was erased pay in bounded steps") {
  Dict d(support::unique_name("bounded"), support::small_options(std::uint64_t{4} << 30));
  for (std::uint64_t i = 0; i < 200000; ++i) put(d, i, i);
  shmd_snapshot* s = nullptr;
  REQUIRE(shmd_snapshot_open(d, &s) == 0);
  for (std::uint64_t i = 0; i < 190000; ++i) {
    const auto key = key_of(i);
    REQUIRE(shmd_erase(d, shmd_root(), &key, 8) == 0);
  }
  shmd_snapshot_close(s);
  Cost worst;
  for (std::uint64_t i = 0; i < 400000; ++i) worst.note(cost_of(d, [&] { put(d, 190000 + i % 10000, i); }));
  std::printf("ghosts purged: at most %llu stores in one put, %llu bytes moved\n",
              static_cast<unsigned long long>(worst.stores), static_cast<unsigned long long>(worst.moved));
  REQUIRE(worst.stores <= stores_of_a_write);
  REQUIRE(worst.moved <= moved_by_a_write);
  REQUIRE(d.count() == 10000);
  REQUIRE(d.check() == "");
}

// Guard: `most` in choose_victim (reclaim.c): under an old snapshot there is much to clean, and nothing that may be.
TEST_CASE("a write that finds nothing to clean looks at as few segments in a large dict as in a small one") {
  for (const std::uint64_t keys : {std::uint64_t{1000}, 1500000 / slow}) {
    auto o = support::small_options(std::uint64_t{4} << 30);
    o.segment_size = 64 << 10;
    o.buffer_size = 256 << 10;
    Dict d(support::unique_name("bounded"), o);
    for (std::uint64_t i = 0; i < keys; ++i) put(d, i, i);
    shmd_snapshot* s = nullptr;
    REQUIRE(shmd_snapshot_open(d, &s) == 0);
    Cost worst;
    const std::uint64_t before = shmd_segments_looked;
    for (std::uint64_t i = 0; i < keys + 200000 / slow; ++i)
      worst.note(cost_of(d, [&] { put(d, i * 104729 % keys, ~i); }));
    const auto stats = d.stat();
    REQUIRE(stats.oldest_pin != UINT64_MAX);
    std::printf("%8llu keys, %llu segments of log: at most %llu looked at by one put\n",
                static_cast<unsigned long long>(keys),
                static_cast<unsigned long long>(stats.log_bytes / stats.segment_size),
                static_cast<unsigned long long>(worst.looked));
    if (keys > 1000) REQUIRE(shmd_segments_looked > before); // it did look
    REQUIRE(worst.looked <= looked_by_a_write);
    shmd_snapshot_close(s);
    REQUIRE(d.check() == "");
  }
}

// Guard: eight extents a class in extent_take (segment.c): here hundreds are in the class, all of them too short.
TEST_CASE("a value of three segments looks at few of hundreds of free extents of two") {
  auto o = support::small_options(std::uint64_t{1} << 30);
  o.segment_size = 64 << 10;
  o.buffer_size = 64 << 10;
  Dict d(support::unique_name("bounded"), o);
  const std::string two(100000, '2'), three(170000, '3');
  for (int i = 0; i < 400; ++i) {
    d.put("a" + std::to_string(i), two);
    d.put("b" + std::to_string(i), two);
  }
  for (int i = 0; i < 400; ++i) d.erase("a" + std::to_string(i));
  REQUIRE(shmd_compact(d) == 0);
  Cost worst;
  for (int i = 0; i < 50; ++i) worst.note(cost_of(d, [&] { d.put("c" + std::to_string(i), three); }));
  std::printf("a value of three segments: at most %llu extents looked at\n",
              static_cast<unsigned long long>(worst.looked));
  REQUIRE(worst.looked >= 8);                       // they are there
  REQUIRE(worst.looked <= 8 * SHMD_EXTENT_CLASSES); // one extent is taken
  REQUIRE(d.check() == "");
}
