// SPDX-License-Identifier: Apache-2.0
// One word that a neighbour damaged, under handles that are open: what leads nowhere is said to be corrupt, and nothing that has no
// memory is touched, for the system would give it some: a reader, even a read-only one, must not make the object grow.
// Guards: shmd_read_has_memory (read.h), which shmd_record_read and shmd_read_within ask about large values, and
// shmd_stream_holds (stream.c), which followers ask when they have found no record. hostile_test.cpp damages at random.
#include <sys/stat.h>

#include <functional>
#include <map>
#include <vector>

#include "core.h"
#include "support/catch.hpp"
#include "support/process.hpp"

using support::Dict;
using support::Handle;

namespace {

constexpr std::uint64_t MiB = std::uint64_t{1} << 20;

std::uint64_t memory_of(const std::string& name) {
  struct stat s;
  REQUIRE(stat(("/dev/shm/shmdict." + name).c_str(), &s) == 0);
  return static_cast<std::uint64_t>(s.st_blocks) * 512;
}

shmd_options read_only() {
  auto o = support::small_options();
  o.mode = SHMD_OPEN_ONLY;
  o.flags = SHMD_READ_ONLY;
  return o;
}

shmd_record* record_of(shmd_dict* d, const std::string& key) {
  const shmd_reader* r = shmd_reader_of(d);
  shmd_found found{};
  std::uint64_t before = 0;
  const std::uint64_t hash = shmd_hash_key(r->hash_seed, key.data(), key.size());
  REQUIRE(shmd_read_locate(r, shmd_root(), hash, key.data(), key.size(), &found, &before) == 0);
  return reinterpret_cast<shmd_record*>(r->base + (found.slot & SHMD_WORD_MASK));
}

int iterate(shmd_dict* d, bool ordered) {
  int result = 0;
  if (ordered) {
    std::uint64_t cursor = 0;
    do
      result = shmd_scan(
          d, shmd_root(), &cursor, nullptr, 0, 10, [](void*, shmd_snapshot*, const shmd_entry*) { return 0; }, nullptr);
    while (result == 0);
    return result;
  }
  shmd_snapshot* s = nullptr;
  shmd_iter* it = nullptr;
  shmd_entry e;
  REQUIRE(shmd_snapshot_open(d, &s) == 0);
  REQUIRE(shmd_iter_open(s, shmd_root(), &it) == 0);
  while ((result = shmd_iter_next(it, &e)) == 0) continue;
  shmd_iter_close(it);
  shmd_snapshot_close(s);
  return result;
}

int follow(shmd_dict* d, std::uint64_t from) {
  shmd_follower* f = nullptr;
  shmd_change c;
  int result = shmd_follow_open(d, from, &f);
  if (result < 0) return result;
  while ((result = shmd_follow_next(f, &c)) == 0) continue;
  shmd_follow_close(f);
  return result;
}

// Every way to read the value of a key.
std::map<std::string, std::function<int(shmd_dict*)>> ways(const std::string& key, std::uint64_t from,
                                                           std::string* buffer) {
  return {
      {"get",
       [=](auto* d) {
         std::size_t size = 0;
         return shmd_get(d, shmd_root(), key.data(), key.size(), buffer->data(), buffer->size(), &size);
       }},
      {"size",
       [=](auto* d) {
         std::size_t size = 0;
         return shmd_get(d, shmd_root(), key.data(), key.size(), nullptr, 0, &size);
       }},
      {"locate",
       [=](auto* d) {
         const shmd_reader* r = shmd_reader_of(d);
         shmd_found found{};
         std::uint64_t before = 0;
         const std::uint64_t hash = shmd_hash_key(r->hash_seed, key.data(), key.size());
         return shmd_read_locate(r, shmd_root(), hash, key.data(), key.size(), &found, &before);
       }},
      {"snapshot",
       [=](auto* d) {
         shmd_snapshot* s = nullptr;
         std::size_t size = 0;
         REQUIRE(shmd_snapshot_open(d, &s) == 0);
         const int result =
             shmd_snapshot_get(s, shmd_root(), key.data(), key.size(), buffer->data(), buffer->size(), &size);
         shmd_snapshot_close(s);
         return result;
       }},
      {"iteration", [](auto* d) { return iterate(d, false); }},
      {"scan", [](auto* d) { return iterate(d, true); }},
      {"follower", [=](auto* d) { return follow(d, from); }},
      {"check", [](auto* d) { return shmd_check(d, nullptr, nullptr); }},
  };
}

// And those that need a slot or the lock.
std::map<std::string, std::function<int(shmd_dict*)>> more_ways(const std::string& key) {
  return {
      {"view",
       [=](auto* d) {
         shmd_view view;
         const int result = shmd_view_open(d, shmd_root(), key.data(), key.size(), &view);
         if (result == 0) shmd_view_close(d, &view);
         return result;
       }},
      {"update",
       [=](auto* d) {
         return shmd_update(
             d, shmd_root(), key.data(), key.size(),
             [](void*, const void*, std::size_t, const void**, std::size_t*) { return static_cast<int>(SHMD_KEPT); },
             nullptr);
       }},
      {"in a transaction",
       [=](auto* d) {
         std::size_t size = 0;
         REQUIRE(shmd_begin(d, 0) == 0);
         const int result = shmd_get(d, shmd_root(), key.data(), key.size(), nullptr, 0, &size);
         REQUIRE(shmd_abort(d) == 0);
         return result;
       }},
  };
}

} // namespace

TEST_CASE("a damaged size makes no reader copy what has no memory, nor the object grow") {
  auto o = support::small_options(4096 * MiB);
  o.buffer_size = 4 * MiB;
  Dict d(support::unique_name("damaged"), o);
  std::string buffer(8 * MiB, '\0');
  const auto from = d.stat().position;
  d.put("first", "a follower begins before what is damaged");
  const std::map<std::string, std::size_t> values = {
      {"small", 1}, {"large", 100000}, {"run", 300000}, {"runs", 1500000}};
  for (const auto& [key, size] : values) d.put(key, std::string(size, 'x'));
  const Handle r(d.name(), read_only());
  for (const auto& [key, real] : values) {
    for (const std::uint64_t size : {std::uint64_t{0xffffffff}, std::uint64_t{0x80000000}, std::uint64_t{0x7fffffff},
                                     600 * MiB, 5 * MiB, real + SHMD_READ_SMALL + 3 * SHMD_CHUNK}) {
      shmd_record* record = record_of(d, key);
      const std::uint64_t pristine = record->shape;
      record->shape = size << 32 | static_cast<std::uint32_t>(pristine);
      const auto before = memory_of(d.name());
      for (const auto& [way, read] : ways(key, from, &buffer)) {
        CAPTURE(key, size, way);
        CHECK(read(r) == SHMD_ERR_CORRUPT);
        CHECK(read(d) == SHMD_ERR_CORRUPT);
        CHECK(memory_of(d.name()) == before);
      }
      for (const auto& [way, read] : more_ways(key)) {
        CAPTURE(key, size, way);
        CHECK(read(d) == SHMD_ERR_CORRUPT);
        CHECK(memory_of(d.name()) == before);
      }
      record->shape = pristine;
    }
  }
  REQUIRE(d.check().empty());
  for (const auto& [key, size] : values) REQUIRE(d.get(key) == std::string(size, 'x'));
}

// What shmd_read_has_memory must not refuse: the value may begin in the run's second segment.
TEST_CASE("a large value behind a key longer than a segment's rest is read in every way") {
  auto o = support::small_options();
  o.segment_size = 65536;
  Dict d(support::unique_name("damaged"), o);
  const auto from = d.stat().position;
  std::string buffer(MiB, '\0');
  const Handle r(d.name(), read_only());
  for (const std::size_t key_size : {std::size_t{1}, std::size_t{40000}, std::size_t{65535}}) {
    const std::string key(key_size, 'k');
    for (const std::size_t size : {SHMD_READ_SMALL, SHMD_READ_SMALL + 1, UINT64_C(60000), UINT64_C(500000)}) {
      d.put(key, std::string(size, 'v'));
      for (const auto& [way, read] : ways(key, from, &buffer)) {
        CAPTURE(key_size, size, way);
        CHECK(read(r) >= 0);
        CHECK(read(d) >= 0);
      }
      for (const auto& [way, read] : more_ways(key)) {
        CAPTURE(key_size, size, way);
        CHECK(read(d) >= 0);
      }
      CHECK(d.get(key) == std::string(size, 'v'));
    }
  }
}

TEST_CASE("a follower whose log cannot be found says that the dict is corrupt") {
  Dict d(support::unique_name("damaged"));
  d.put("a", "b");
  const Handle r(d.name(), read_only());
  shmd_control* c = shmd_reader_of(d)->control;
  for (shmd_dict* handle : {static_cast<shmd_dict*>(r), static_cast<shmd_dict*>(d)}) {
    shmd_follower* f = nullptr;
    shmd_change change;
    REQUIRE(shmd_follow_open(handle, SHMD_NOW, &f) == 0);
    d.put("a", "c");
    const std::uint64_t pristine = c->history_tail;
    for (const std::uint64_t tail :
         {std::uint64_t{0x7fffffff}, UINT64_MAX, SHMD_NONE, pristine + 1, std::uint64_t{5000}}) {
      CAPTURE(tail);
      c->history_tail = tail;
      const int result = shmd_follow_next(f, &change);
      CHECK(result == SHMD_ERR_CORRUPT);
      CHECK_THAT(shmd_last_error()->message, support::contains(d.name()));
    }
    c->history_tail = pristine;
    CHECK(shmd_follow_next(f, &change) == 0);
    shmd_follow_close(f);
  }
}

TEST_CASE("frontiers and roots that lead beyond the tables' memory make nobody give them some") {
  Dict d(support::unique_name("damaged"), support::small_options(4096 * MiB));
  const auto from = d.stat().position;
  for (int i = 0; i < 100; ++i) d.put("key" + std::to_string(i), "value");
  const Handle r(d.name(), read_only());
  shmd_control* c = shmd_reader_of(d)->control;
  const auto before = memory_of(d.name());
  for (auto* word : {&c->frontier, &c->node_frontier, &c->root_node, &c->hidden_node, &c->history_tail}) {
    const std::uint64_t pristine = *word;
    for (const std::uint64_t damaged : {std::uint64_t{10000}, std::uint64_t{100000} | std::uint64_t{1} << 32}) {
      *word = damaged;
      shmd_stats s;
      for (shmd_dict* handle : {static_cast<shmd_dict*>(r), static_cast<shmd_dict*>(d)}) {
        CHECK(shmd_check(handle, nullptr, nullptr) == SHMD_ERR_CORRUPT);
        CHECK(shmd_stat(handle, &s) == 0);
        (void)iterate(handle, false);
        (void)follow(handle, from);
        (void)shmd_named_locks(
            handle, [](void*, const shmd_named_lock_info*) { return 0; }, nullptr);
      }
      CHECK(memory_of(d.name()) == before);
    }
    *word = pristine;
  }
  REQUIRE(d.check().empty());
}
