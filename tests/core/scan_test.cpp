// SPDX-License-Identifier: Apache-2.0
// shmd_scan(): portions that can be taken any time later, by anybody.
#include <map>
#include <string>
#include <vector>

#include "support/catch.hpp"
#include "support/dict.hpp"

using support::Dict;

namespace {

struct Portion {
  std::map<std::string, int> seen;
  std::size_t given = 0;
};

int take(void* context, shmd_snapshot*, const shmd_entry* e) {
  auto* p = static_cast<Portion*>(context);
  ++p->seen[std::string(static_cast<const char*>(e->key), e->key_size)];
  ++p->given;
  return 0;
}

int scan(shmd_dict* d, std::uint64_t& cursor, Portion& p, const std::string& prefix = "", std::size_t limit = 100,
         shmd_node node = shmd_root()) {
  p.given = 0;
  return support::must(shmd_scan(d, node, &cursor, prefix.data(), prefix.size(), limit, take, &p), "scan");
}

} // namespace

// The mechanism: the cursor is a place in the order of hashes. A place in an array would lose or repeat keys in growth.
TEST_CASE("a scan gives each key that stays once, whatever grows, shrinks or moves meanwhile") {
  Dict d(support::unique_name("scan"));
  for (int i = 0; i < 3000; ++i) d.put("stays" + std::to_string(i), "v");
  Portion p;
  std::uint64_t cursor = 0;
  std::size_t portions = 0;
  int next = 0, result;
  do {
    result = scan(d, cursor, p);
    ++portions;
    REQUIRE(p.given <= 110);
    for (int i = 0; i < 400 && next < 12000; ++i) d.put("comes" + std::to_string(next++), "v"); // arrays split
    if (portions == 20) {                                                                       // and merge again
      for (int i = 0; i < next; ++i) d.erase("comes" + std::to_string(i));
      support::must(shmd_compact(d), "compact");
      next = 12000;
    }
  } while (result == 0);
  CHECK(result == SHMD_END);
  CHECK(cursor == 0);
  CHECK(portions > 25);
  for (int i = 0; i < 3000; ++i) REQUIRE(p.seen["stays" + std::to_string(i)] == 1);
  for (const auto& [key, times] : p.seen) REQUIRE(times == 1);
}

TEST_CASE("a portion looks at a bounded number of entries, whether they match or not") {
  Dict d(support::unique_name("scan.prefix"));
  for (int i = 0; i < 2000; ++i) d.put((i % 100 == 0 ? "rare" : "other") + std::to_string(i), "v");
  Portion p;
  std::uint64_t cursor = 0;
  std::size_t portions = 0;
  for (bool more = true; more; ++portions) {
    more = scan(d, cursor, p, "rare", 50) == 0;
    REQUIRE(p.given <= 50);
  }
  CHECK(p.seen.size() == 20);
  CHECK(portions >= 38);
  CHECK(portions <= 42);
}

TEST_CASE("a scan that was stopped goes on at that entry") {
  Dict d(support::unique_name("scan.stop"));
  for (int i = 0; i < 500; ++i) d.put("k" + std::to_string(i), "v");
  std::map<std::string, int> seen;
  std::uint64_t cursor = 0;
  int result;
  struct Context {
    std::map<std::string, int>* seen;
    int left;
  };
  do {
    Context context{&seen, 7};
    result = shmd_scan(
        d, shmd_root(), &cursor, nullptr, 0, 1000,
        [](void* c, shmd_snapshot*, const shmd_entry* e) {
          auto* me = static_cast<Context*>(c);
          if (me->left-- == 0) return 42;
          ++(*me->seen)[std::string(static_cast<const char*>(e->key), e->key_size)];
          return 0;
        },
        &context);
  } while (result == 42);
  CHECK(result == SHMD_END);
  CHECK(seen.size() == 500);
}

TEST_CASE("nested dicts, read-only handles and transactions are scanned as they are seen") {
  Dict d(support::unique_name("scan.nested"));
  const shmd_node child = d.child("child");
  d.put("a", "1", child);
  d.put("b", "2", child);
  Portion p;
  std::uint64_t cursor = 0;
  CHECK(scan(d, cursor, p, "", 10, child) == SHMD_END);
  CHECK(p.seen.size() == 2);
  shmd_options o = support::small_options();
  o.flags = SHMD_READ_ONLY;
  o.mode = SHMD_OPEN_ONLY;
  {
    Dict reader(d.name(), o);
    reader.leave_object();
    Portion q;
    CHECK(scan(reader, cursor, q, "", 10, child) == SHMD_END);
    CHECK(q.seen.size() == 2);
  }
  support::must(shmd_begin(d, 0), "begin");
  d.put("c", "3", child);
  Portion q;
  CHECK(scan(d, cursor, q, "", 10, child) == SHMD_END);
  CHECK(q.seen.size() == 3);
  support::must(shmd_abort(d), "abort");
  d.erase("child");
  CHECK(shmd_scan(d, child, &cursor, nullptr, 0, 10, take, &q) == SHMD_ERR_REMOVED);
}
