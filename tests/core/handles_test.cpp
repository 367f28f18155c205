// SPDX-License-Identifier: Apache-2.0
// Handles of nested dicts that lead nowhere: made up by the application, or kept beyond the dict's life.
#include <shmdict/read.h>
#include <sys/stat.h>

#include <functional>

#include "support/catch.hpp"
#include "support/dict.hpp"

using support::Dict;

namespace {

struct Call {
  const char* what;
  std::function<int(shmd_dict*, shmd_node)> call;
};

int snapshot_call(shmd_dict* d, const std::function<int(shmd_snapshot*)>& call) {
  shmd_snapshot* s = nullptr;
  support::must(shmd_snapshot_open(d, &s), "snapshot");
  const int result = call(s);
  shmd_snapshot_close(s);
  return result;
}

int iterate(shmd_snapshot* s, shmd_node n) {
  shmd_iter* it = nullptr;
  shmd_entry entry;
  support::must(shmd_iter_open(s, n, &it), "iter");
  const int result = shmd_iter_next(it, &entry);
  shmd_iter_close(it);
  return result;
}

int update(void*, const void*, std::size_t, const void**, std::size_t*) { return SHMD_KEPT; }

const std::vector<Call> reads = {
    {"get",
     [](shmd_dict* d, shmd_node n) {
       std::size_t size;
       return shmd_get(d, n, "k", 1, nullptr, 0, &size);
     }},
    {"contains", [](shmd_dict* d, shmd_node n) { return shmd_contains(d, n, "k", 1); }},
    {"count",
     [](shmd_dict* d, shmd_node n) {
       std::uint64_t count;
       return shmd_count(d, n, &count);
     }},
    {"node_check", [](shmd_dict* d, shmd_node n) { return shmd_node_check(d, n); }},
    {"node_open",
     [](shmd_dict* d, shmd_node n) {
       shmd_node child;
       return shmd_node_open(d, n, "k", 1, 0, &child);
     }},
    {"snapshot_get",
     [](shmd_dict* d, shmd_node n) {
       return snapshot_call(d, [n](shmd_snapshot* s) {
         std::size_t size;
         return shmd_snapshot_get(s, n, "k", 1, nullptr, 0, &size);
       });
     }},
    {"snapshot_node",
     [](shmd_dict* d, shmd_node n) {
       return snapshot_call(d, [n](shmd_snapshot* s) {
         shmd_node child;
         return shmd_snapshot_node(s, n, "k", 1, &child);
       });
     }},
    {"iter_next",
     [](shmd_dict* d, shmd_node n) { return snapshot_call(d, [n](shmd_snapshot* s) { return iterate(s, n); }); }},
};

const std::vector<Call> writes = {
    {"put", [](shmd_dict* d, shmd_node n) { return shmd_put(d, n, "k", 1, "v", 1, 0); }},
    {"erase", [](shmd_dict* d, shmd_node n) { return shmd_erase(d, n, "k", 1); }},
    {"update", [](shmd_dict* d, shmd_node n) { return shmd_update(d, n, "k", 1, update, nullptr); }},
    {"clear", [](shmd_dict* d, shmd_node n) { return shmd_clear(d, n, nullptr); }},
    {"node_open with CREATE",
     [](shmd_dict* d, shmd_node n) {
       shmd_node child;
       return shmd_node_open(d, n, "k", 1, SHMD_NODE_CREATE, &child);
     }},
    {"view_open",
     [](shmd_dict* d, shmd_node n) {
       shmd_view view;
       return shmd_view_open(d, n, "k", 1, &view);
     }},
};

std::uint64_t memory(const Dict& d) {
  struct stat s;
  REQUIRE(stat(("/dev/shm/shmdict." + d.name()).c_str(), &s) == 0);
  return static_cast<std::uint64_t>(s.st_blocks);
}

void expect_removed(const std::vector<Call>& calls, shmd_dict* d, shmd_node n) {
  for (const auto& c : calls) {
    CAPTURE(c.what, n.id, n.generation);
    REQUIRE(c.call(d, n) == SHMD_ERR_REMOVED);
  }
}

} // namespace

// Guard: nodes_allocated in shmd_read_node (read.h), lived (snapshot.c) and shmd_node_resolve (node.c). Without it a read
// faults a page of the node table in, which is SIGBUS on a full file system.
TEST_CASE("a handle that the application made up is a removed dict, and touches no memory") {
  Dict d(support::unique_name("handles"), support::small_options(std::uint64_t{8} << 30));
  d.put("k", "v", d.child("nested"));
  auto o = support::small_options();
  o.mode = SHMD_OPEN_ONLY;
  o.flags = SHMD_READ_ONLY;
  shmd_dict* reader = nullptr;
  REQUIRE(shmd_open(d.name().c_str(), &o, &reader) == 0);
  expect_removed(writes, d, {77, 1}); // what writing needs is there now
  const auto before = memory(d);
  for (const std::uint32_t id : {3u, 63u, 64u, 65u, 4096u, 100000u, 8388607u, 8388608u, 0x7fffffffu, 0xffffffffu}) {
    for (const std::uint32_t generation : {0u, 1u, 0xffffffffu}) {
      expect_removed(reads, d, {id, generation});
      expect_removed(reads, reader, {id, generation});
      expect_removed(writes, d, {id, generation});
    }
  }
  REQUIRE(memory(d) == before);
  REQUIRE(d.check().empty());
  shmd_close(reader);
}

// Guards: shmd_is_root (read.h) in all that reads, resolve (dict.c) in all that writes.
TEST_CASE("the root's id with a generation is no dict, least of all the root") {
  Dict d(support::unique_name("handles"));
  d.put("k", "v");
  for (const std::uint32_t generation : {1u, 2u, 0xffffffffu}) {
    expect_removed(reads, d, {0, generation});
    expect_removed(writes, d, {0, generation});
    REQUIRE(shmd_begin(d, 0) == 0); // reads go the long way there
    for (const auto& c : reads) {
      CAPTURE(c.what);
      REQUIRE(c.call(d, {0, generation}) == SHMD_ERR_REMOVED);
    }
    REQUIRE(shmd_abort(d) == 0);
  }
  const std::uint64_t number = 7;
  std::uint64_t value = 0;
  REQUIRE(shmd_put(d, shmd_root(), &number, 8, &number, 8, 0) == 0);
  REQUIRE(shmd_read_word(shmd_reader_of(d), {0, 1}, &number, 8, &value, 8) == SHMD_READ_NOT_PLAIN);
  REQUIRE(shmd_read_word(shmd_reader_of(d), shmd_root(), &number, 8, &value, 8) == 0);
  REQUIRE(d.get("k") == "v");
  REQUIRE(d.count() == 2);
}

// Guard: lived (snapshot.c) looks at every dict above, not only at the handle's own.
TEST_CASE("a snapshot taken after a subtree was erased does not show what was in it, an older one does") {
  Dict d(support::unique_name("handles"));
  const auto outer = d.child("outer"), inner = d.child("inner", outer);
  d.put("k", "v", inner);
  shmd_snapshot *old = nullptr, *young = nullptr;
  REQUIRE(shmd_snapshot_open(d, &old) == 0); // and so the sweep has to wait
  SECTION("erased") { d.erase("outer"); }
  SECTION("replaced") { d.child("outer", shmd_root(), SHMD_NODE_CREATE | SHMD_NODE_REPLACE); }
  SECTION("the root cleared") { REQUIRE(shmd_clear(d, shmd_root(), nullptr) == 0); }
  REQUIRE(shmd_snapshot_open(d, &young) == 0);
  std::size_t size = 0;
  char value = 0;
  REQUIRE(shmd_snapshot_get(old, inner, "k", 1, &value, 1, &size) == 0);
  REQUIRE(value == 'v');
  REQUIRE(iterate(old, inner) == 0);
  REQUIRE(shmd_snapshot_get(young, inner, "k", 1, &value, 1, &size) == SHMD_ERR_REMOVED);
  REQUIRE(shmd_snapshot_get(young, outer, "inner", 5, &value, 1, &size) == SHMD_ERR_REMOVED);
  REQUIRE(iterate(young, inner) == SHMD_ERR_REMOVED);
  expect_removed(reads, d, inner);
  shmd_snapshot_close(old);
  shmd_snapshot_close(young);
  REQUIRE(shmd_compact(d) == 0);
  REQUIRE(d.check().empty());
}
