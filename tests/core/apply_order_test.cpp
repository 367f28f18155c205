// SPDX-License-Identifier: Apache-2.0
// What a reader sees at each store of one commit. A commit is applied word by word, and its writer may stand or die between
// any two; a reader that looks up a path meanwhile sees what was there before or what is there after, whole.
// Guards: the three passes of apply() (redo.c), pass_of() (index.c: words of fresh blocks are in the first), shmd_tx_unstage() of
// freed ones (block.c).
#include "redo.h"
#include "support/catch.hpp"
#include "support/dict.hpp"

using support::Dict;

namespace {

struct Look {
  shmd_dict* reader = nullptr; // read-only: its reads store nothing and take no lock, whoever stands where
  bool inside = false;
  int stores = 0;
  std::string wrong;
  int (*see)(shmd_dict*) = nullptr; // what the path shows: a value, -1 nothing there, an error less 100
  bool (*fits)(int) = nullptr;
} look;

void at_each_store(const void*) {
  if (look.inside || look.see == nullptr) return;
  look.inside = true;
  ++look.stores;
  const int seen = look.see(look.reader);
  if (!look.fits(seen) && look.wrong.empty())
    look.wrong = "store " + std::to_string(look.stores) + ": " +
                 (seen < -1 ? std::string(shmd_error_name(seen + 100)) : std::to_string(seen));
  look.inside = false;
}

constexpr std::uint64_t a = 1, x = 2;

void put(shmd_dict* d, shmd_node node, std::uint64_t key, std::uint64_t value) {
  support::must(shmd_put(d, node, &key, 8, &value, 8, 0), "put");
}
shmd_node replace_a(shmd_dict* d) {
  shmd_node child;
  support::must(shmd_node_open(d, shmd_root(), &a, 8, SHMD_NODE_CREATE | SHMD_NODE_REPLACE, &child), "replace");
  return child;
}
void others(shmd_dict* d) { // the array that holds `a` is built anew
  for (std::uint64_t key = 100; key < 200; ++key) put(d, shmd_root(), key, 0);
}

int value(shmd_dict* d, shmd_node node, std::uint64_t key) {
  std::uint64_t v = 0;
  std::size_t size = 0;
  const int result = shmd_get(d, node, &key, 8, &v, 8, &size);
  return result == 0 ? static_cast<int>(v) : result == SHMD_NOT_FOUND ? -1 : result - 100;
}
int a_x(shmd_dict* d) {
  shmd_node child;
  const int result = shmd_node_open(d, shmd_root(), &a, 8, 0, &child);
  if (result == SHMD_NOT_FOUND) return -1;
  return result < 0 ? result - 100 : value(d, child, x);
}
int plain_x(shmd_dict* d) { return value(d, shmd_root(), x); }

template <class Commit>
void watch(int (*see)(shmd_dict*), bool (*fits)(int), Commit commit) {
  const std::string name = support::unique_name("apply-order");
  Dict d(name);
  put(d, shmd_root(), x, 1);
  put(d, replace_a(d), x, 1);
  shmd_options o;
  shmd_options_init(&o);
  o.mode = SHMD_OPEN_ONLY;
  o.flags = SHMD_READ_ONLY;
  support::must(shmd_open(name.c_str(), &o, &look.reader), "open");
  look.wrong.clear();
  look.stores = 0;
  look.see = see;
  look.fits = fits;
  shmd_crash_trace = at_each_store;
  support::must(shmd_begin(d, SHMD_DEFAULT_TIMEOUT), "begin");
  commit(d);
  const int committed = shmd_commit(d);
  shmd_crash_trace = nullptr;
  look.see = nullptr;
  shmd_close(look.reader);
  REQUIRE(committed == 0);
  CHECK(look.wrong == "");
  REQUIRE(look.stores > 20);
  REQUIRE(d.check().empty());
}

bool old_or_new(int seen) { return seen == 1 || seen == 2; }
bool old_or_gone(int seen) { return seen == 1 || seen == -1; }
bool old_only(int seen) { return seen == 1; }

} // namespace

TEST_CASE("a replaced subtree is seen as it was or as it is, at each store of the commit") {
  watch(a_x, old_or_new, [](shmd_dict* d) { put(d, replace_a(d), x, 2); });
}
TEST_CASE("an erased subtree is seen as it was or not at all, at each store of the commit") {
  watch(a_x, old_or_gone, [](shmd_dict* d) { support::must(shmd_erase(d, shmd_root(), &a, 8), "erase"); });
}
TEST_CASE("a root cleared and filled again is seen as it was or as it is, at each store of the commit") {
  watch(plain_x, old_or_new, [](shmd_dict* d) {
    support::must(shmd_clear(d, shmd_root(), nullptr), "clear");
    others(d);
    put(d, shmd_root(), x, 2);
  });
}
TEST_CASE("a subtree replaced before its parent grows is seen as it was or as it is") {
  watch(a_x, old_or_new, [](shmd_dict* d) {
    put(d, replace_a(d), x, 2);
    others(d);
  });
}
TEST_CASE("a subtree replaced after its parent grew is seen as it was or as it is") {
  watch(a_x, old_or_new, [](shmd_dict* d) {
    others(d);
    put(d, replace_a(d), x, 2);
  });
}
TEST_CASE("a subtree erased after its parent grew is seen as it was or not at all") {
  watch(a_x, old_or_gone, [](shmd_dict* d) {
    others(d);
    support::must(shmd_erase(d, shmd_root(), &a, 8), "erase");
  });
}
TEST_CASE("a value put, then its dict grown, then put again, never shows the first") {
  watch(plain_x, old_or_new, [](shmd_dict* d) {
    put(d, shmd_root(), x, 77);
    others(d);
    put(d, shmd_root(), x, 2);
  });
}
TEST_CASE("a subtree whose parent only grows is seen unchanged") {
  watch(a_x, old_only, [](shmd_dict* d) { others(d); });
}
