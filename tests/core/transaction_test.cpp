// SPDX-License-Identifier: Apache-2.0
// Transactions, callbacks, forks and handles where they meet.
#include <sys/wait.h>
#include <unistd.h>

#include "support/catch.hpp"
#include "support/dict.hpp"

using support::Dict;
using support::must;

namespace {

std::string value_of(int i, std::size_t size) {
  return std::string(size, static_cast<char>('a' + i % 26)) + std::to_string(i);
}

// Runs `child` in a forked child; true if it returned 0.
template <class F>
bool in_child(F&& child) {
  const pid_t pid = fork();
  if (pid == 0) _exit(child());
  int status = 0;
  waitpid(pid, &status, 0);
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

} // namespace

// Guards shmd_engine_after_fork: a child resets its local state only, what is staged is the parent's.
TEST_CASE("a fork inside a transaction leaves the parent's transaction whole") {
  Dict d(support::unique_name("fork"));
  must(shmd_begin(d, SHMD_FOREVER), "begin");
  for (int i = 0; i < 60; ++i) d.put("key" + std::to_string(i), value_of(i, 100000));
  REQUIRE(in_child([&] { return shmd_in_transaction(d); }));
  must(shmd_commit(d), "commit");
  for (int i = 0; i < 60; ++i) REQUIRE(d.get("key" + std::to_string(i)) == value_of(i, 100000));
  REQUIRE(d.check() == "");
}

// Guards the fork count in shmd_snapshot_valid.
TEST_CASE("an inherited snapshot says that it is the parent's") {
  Dict d(support::unique_name("inherited"));
  d.put("key", "value");
  shmd_snapshot* s = nullptr;
  must(shmd_snapshot_open(d, &s), "snapshot");
  REQUIRE(in_child([&] {
    char buffer[16];
    std::size_t size = 0;
    return shmd_snapshot_get(s, shmd_root(), "key", 3, buffer, sizeof buffer, &size) == SHMD_ERR_SNAPSHOT_TOO_OLD ? 0
                                                                                                                  : 1;
  }));
  shmd_snapshot_close(s);
}

// Guards the second locate in update_once: `stages` counts words that were staged before, too.
TEST_CASE("a callback may write the very key that it updates") {
  Dict d(support::unique_name("callback"));
  struct Context {
    Dict* dict;
    std::string big = std::string(5000, 'x');
  } context{&d};
  const auto update = [](void* p, const void*, std::size_t, const void** value, std::size_t* size) {
    auto* c = static_cast<Context*>(p);
    c->dict->put("a", c->big);
    *value = "short";
    *size = 5;
    return static_cast<int>(SHMD_OK);
  };
  SECTION("alone") { REQUIRE(shmd_update(d, shmd_root(), "a", 1, update, &context) == 0); }
  SECTION("alone, and it was there") {
    d.put("a", "1");
    REQUIRE(shmd_update(d, shmd_root(), "a", 1, update, &context) == 0);
  }
  SECTION("inside a transaction") {
    must(shmd_begin(d, SHMD_FOREVER), "begin");
    d.put("a", "1");
    d.put("a", "2");
    REQUIRE(shmd_update(d, shmd_root(), "a", 1, update, &context) == 0);
    must(shmd_commit(d), "commit");
  }
  REQUIRE(d.get("a") == "short");
  REQUIRE(d.count() == 1);
  REQUIRE(d.check() == "");
}

// Guards that update_quickly() and what follows look for the key anew.
TEST_CASE("a callback may erase the very key that it updates, or make a dict of it") {
  Dict d(support::unique_name("callback"));
  d.put("a", "1");
  const auto erase = [](void* p, const void*, std::size_t, const void** value, std::size_t* size) {
    must(shmd_erase(static_cast<shmd_dict*>(p), shmd_root(), "a", 1), "erase");
    *value = "short";
    *size = 5;
    return static_cast<int>(SHMD_OK);
  };
  const auto replace = [](void* p, const void*, std::size_t, const void** value, std::size_t* size) {
    shmd_node n;
    auto* dict = static_cast<shmd_dict*>(p);
    must(shmd_node_open(dict, shmd_root(), "a", 1, SHMD_NODE_REPLACE, &n), "node_open");
    must(shmd_put(dict, n, "b", 1, "2", 1, 0), "put");
    *value = "short";
    *size = 5;
    return static_cast<int>(SHMD_OK);
  };
  SECTION("erased") { REQUIRE(shmd_update(d, shmd_root(), "a", 1, erase, static_cast<shmd_dict*>(d)) == 0); }
  SECTION("a dict") { REQUIRE(shmd_update(d, shmd_root(), "a", 1, replace, static_cast<shmd_dict*>(d)) == 0); }
  REQUIRE(d.get("a") == "short");
  REQUIRE(d.count() == 1);
  REQUIRE(d.check() == "");
}

// Guards `paused` in lock.c.
TEST_CASE("a callback can unlock what it locked, and nothing below") {
  Dict d(support::unique_name("unlock"));
  struct Context {
    shmd_dict* dict;
    int outer = 0, inner = 0, after = 0;
  } context{d};
  REQUIRE(shmd_update(
              d, shmd_root(), "a", 1,
              [](void* p, const void*, std::size_t, const void** value, std::size_t* size) {
                auto* c = static_cast<Context*>(p);
                c->outer = shmd_unlock(c->dict);
                must(shmd_lock(c->dict, 0), "lock");
                c->inner = shmd_unlock(c->dict);
                c->after = shmd_unlock(c->dict);
                *value = "v";
                *size = 1;
                return static_cast<int>(SHMD_OK);
              },
              &context) == 0);
  REQUIRE(context.outer == SHMD_ERR_NOT_LOCKED);
  REQUIRE(context.inner == 0);
  REQUIRE(context.after == SHMD_ERR_NOT_LOCKED);
  shmd_lock_info info;
  must(shmd_lock_status(d, &info), "status");
  REQUIRE(info.held == 0);
}

// Guards pause_call() (lock_callback.c): a single write's hold becomes a section, so quiesce does not wait for callbacks.
TEST_CASE("a snapshot does not wait for a callback of another process") {
  Dict d(support::unique_name("waits"));
  d.put("a", "1");
  const std::string name = d.name();
  REQUIRE(shmd_update(
              d, shmd_root(), "a", 1,
              [](void* p, const void*, std::size_t, const void**, std::size_t*) {
                return in_child([&] {
                  auto options = support::small_options();
                  options.timeout = 2000000000;
                  Dict other(*static_cast<const std::string*>(p), options);
                  other.leave_object();
                  shmd_snapshot* s = nullptr;
                  if (shmd_snapshot_open(other, &s) != 0) return 1;
                  shmd_snapshot_close(s);
                  return 0;
                })
                           ? static_cast<int>(SHMD_KEPT)
                           : static_cast<int>(SHMD_ERR_ABORTED);
              },
              const_cast<std::string*>(&name)) == SHMD_KEPT);
}

// Guards shmd_node_forget: the generation of an aborted dict is used up.
TEST_CASE("a handle from an aborted transaction never leads to a later dict") {
  Dict d(support::unique_name("aborted"));
  must(shmd_begin(d, SHMD_FOREVER), "begin");
  const shmd_node gone = d.child("gone");
  must(shmd_abort(d), "abort");
  const shmd_node other = d.child("other");
  d.put("key", "value", other);
  char buffer[16];
  std::size_t size = 0;
  REQUIRE(shmd_get(d, gone, "key", 3, buffer, sizeof buffer, &size) == SHMD_ERR_REMOVED);
  REQUIRE(shmd_put(d, gone, "key", 3, "x", 1, 0) == SHMD_ERR_REMOVED);
  REQUIRE(d.get("key", other) == "value");
}

// Guards too_deep in node.c: a level that could not be read must not be made.
TEST_CASE("nesting beyond the limit is refused by name, and all above it works") {
  Dict d(support::unique_name("deep"));
  shmd_node node = shmd_root();
  int depth = 0, result = 0;
  for (; depth < 5000; ++depth) {
    shmd_node child;
    result = shmd_node_open(d, node, "n", 1, SHMD_NODE_CREATE, &child);
    if (result < 0) break;
    node = child;
  }
  REQUIRE(result == SHMD_ERR_TOO_MANY_DICTS);
  REQUIRE(depth > 4000);
  d.put("key", "value", node);
  REQUIRE(d.get("key", node) == "value");
  REQUIRE(d.check() == "");
  REQUIRE(d.erase("n") == 0);
  REQUIRE(d.check() == "");
}

// Guards the pacing of ghosts_step: a transaction always leaves ghosts, and they hold segments back until purged.
TEST_CASE("transactions that insert and erase leave no memory behind") {
  Dict d(support::unique_name("ghosts"));
  std::uint64_t early = 0;
  for (int cycle = 0; cycle < 120; ++cycle) {
    for (const bool insert : {true, false}) {
      must(shmd_begin(d, SHMD_FOREVER), "begin");
      for (int i = 0; i < 1500; ++i) {
        if (insert)
          d.put("key" + std::to_string(i), "value");
        else
          d.erase("key" + std::to_string(i));
      }
      must(shmd_commit(d), "commit");
    }
    if (cycle == 30) early = d.stat().memory;
  }
  REQUIRE(d.count() == 0);
  REQUIRE(d.stat().memory < early + (1u << 20));
  REQUIRE(d.check() == "");
}

// Guards entered() and leave_sections() in api.c.
TEST_CASE("a handle that is closed gives back the levels of the lock that it took, and no others") {
  Dict d(support::unique_name("levels"));
  const auto second = [&] {
    shmd_dict* other = nullptr;
    shmd_options o = support::small_options();
    o.mode = SHMD_OPEN_ONLY;
    must(shmd_open(d.name().c_str(), &o, &other), "open");
    return other;
  };
  const auto mine = [&] {
    shmd_lock_info info;
    must(shmd_lock_status(d, &info), "status");
    return info.by_this_thread != 0;
  };
  SECTION("not the lock of another") {
    must(shmd_lock(d, 0), "lock");
    must(shmd_close(second()), "close");
    CHECK(mine());
    CHECK(shmd_unlock(d) == 0);
  }
  SECTION("nor another's transaction") {
    must(shmd_begin(d, 0), "begin");
    d.put("a", "1");
    shmd_dict* other = second();
    must(shmd_put(other, shmd_root(), "b", 1, "2", 1, 0), "put"); // part of it
    must(shmd_close(other), "close");
    CHECK(shmd_in_transaction(d) == 1);
    CHECK(shmd_commit(d) == 0);
    CHECK(d.get("a") == "1");
    CHECK(d.get("b") == "2");
  }
  SECTION("its own, of two") {
    shmd_dict* other = second();
    must(shmd_lock(other, 0), "lock");
    must(shmd_lock(d, 0), "lock");
    must(shmd_lock(other, 0), "lock");
    must(shmd_close(other), "close");
    CHECK(mine());
    CHECK(shmd_unlock(d) == 0);
    CHECK(shmd_unlock(d) == SHMD_ERR_NOT_LOCKED);
  }
  SECTION("its own transaction, within a section of another") {
    must(shmd_lock(d, 0), "lock");
    shmd_dict* other = second();
    must(shmd_begin(other, 0), "begin");
    d.put("a", "1");
    must(shmd_close(other), "close");
    CHECK(shmd_in_transaction(d) == 0);
    CHECK(mine());
    CHECK(shmd_unlock(d) == 0);
    CHECK(d.count() == 0);
  }
  SECTION("what was unlocked through another, and taken anew since, is not its own") {
    shmd_dict* other = second();
    must(shmd_lock(other, 0), "lock");
    CHECK(shmd_unlock(d) == 0);
    must(shmd_lock(d, 0), "lock");
    must(shmd_close(other), "close");
    CHECK(mine());
    CHECK(shmd_unlock(d) == 0);
  }
  CHECK_FALSE(mine());
}
