// SPDX-License-Identifier: Apache-2.0
// Calls that make no sense, and calls at a moment that nobody thought of: a named error, or what was meant, never a crash.
#include <cstdint>
#include <functional>
#include <limits>

#include "support/catch.hpp"
#include "support/dict.hpp"

using support::Dict;

namespace {

// An update's callback from a lambda.
using Answer = std::function<int(const void** value, std::size_t* size)>;

int update(shmd_dict* d, const std::string& key, const Answer& answer) {
  return shmd_update(
      d, shmd_root(), key.data(), key.size(),
      [](void* context, const void*, std::size_t, const void** value, std::size_t* size) {
        return (*static_cast<const Answer*>(context))(value, size);
      },
      const_cast<Answer*>(&answer));
}

Answer answering(int result, const void* bytes, std::size_t count) {
  return [=](const void** value, std::size_t* size) {
    *value = bytes;
    *size = count;
    return result;
  };
}

shmd_dict* open_again(const std::string& name) {
  auto o = support::small_options();
  o.mode = SHMD_OPEN_ONLY;
  shmd_dict* d = nullptr;
  return shmd_open(name.c_str(), &o, &d) >= 0 ? d : nullptr;
}

} // namespace

// Guard: the check in shmd_get; without it bytes are copied to NULL.
TEST_CASE("a get into no buffer is refused, whatever is under the key") {
  Dict d(support::unique_name("arguments"));
  d.put("k", "value");
  std::size_t size = 77;
  for (const char* key : {"k", "absent"})
    CHECK(shmd_get(d, shmd_root(), key, std::strlen(key), nullptr, 10, &size) == SHMD_ERR_INVALID_ARGUMENT);
  CHECK(size == 77);
  CHECK(shmd_get(d, shmd_root(), "k", 1, nullptr, 0, &size) == SHMD_TRUNCATED);
  CHECK(size == 5);
}

// Guards: ask() in dict.c, for the short way of an update and for the general one, which an absent key takes; without it
// bytes are copied from NULL, with the lock held.
TEST_CASE("an update's callback that answers nonsense changes nothing") {
  Dict d(support::unique_name("arguments"));
  d.put("there", "value");
  const int unknown = 7777;
  for (const char* key : {"there", "absent"}) {
    INFO(key);
    CHECK(update(d, key, answering(SHMD_OK, nullptr, 100)) == SHMD_ERR_INVALID_ARGUMENT);
    for (const int answer : {int{SHMD_END}, int{SHMD_TRUNCATED}, int{SHMD_EXISTS}, unknown}) {
      int asked = 0;
      CHECK(update(d, key, [&](const void** value, std::size_t* size) {
              ++asked;
              *value = "x";
              *size = 1;
              return answer;
            }) == SHMD_ERR_INVALID_ARGUMENT);
      CHECK(asked == 1);
    }
    REQUIRE(shmd_begin(d, 0) == 0);
    CHECK(update(d, key, answering(SHMD_OK, nullptr, 100)) == SHMD_ERR_INVALID_ARGUMENT);
    REQUIRE(shmd_commit(d) == 0);
  }
  CHECK(d.get("there") == "value");
  CHECK_FALSE(d.get("absent"));
  CHECK(update(d, "there", answering(SHMD_OK, nullptr, 0)) == 0); // an empty value needs no bytes
  CHECK(d.get("there") == "");
  shmd_lock_info info;
  REQUIRE(shmd_lock_status(d, &info) == 0);
  CHECK(info.held == 0);
  CHECK(d.check().empty());
}

// Guard: `closing` in shmd_close and shmd_update (api.c); without it the dict is unmapped beneath the call.
TEST_CASE("a callback that closes the last handle of its dict has its value stored, then the handle ends") {
  const auto name = support::unique_name("arguments");
  auto o = support::small_options();
  o.unlink = SHMD_UNLINK_NEVER;
  shmd_dict* d = nullptr;
  support::must(shmd_open(name.c_str(), &o, &d), "open");
  const char* key = "k";
  SECTION("a key that is there") { support::must(shmd_put(d, shmd_root(), key, 1, "old", 3, 0), "put"); }
  SECTION("an absent key") {}
  int closed = -1;
  const int result = update(d, key, [&](const void** value, std::size_t* size) {
    closed = shmd_close(d);
    *value = "new";
    *size = 3;
    return SHMD_OK;
  });
  CHECK(closed == 0);
  CHECK(result == 0);
  d = open_again(name);
  REQUIRE(d != nullptr);
  shmd_stats stats;
  support::must(shmd_stat(d, &stats), "stat");
  CHECK(stats.handles == 1); // the other one has ended
  char buffer[8] = {};
  std::size_t size = 0;
  CHECK(shmd_get(d, shmd_root(), key, 1, buffer, sizeof buffer, &size) == 0);
  CHECK(std::string(buffer) == "new");
  shmd_unlink_this(d);
  shmd_close(d);
}

TEST_CASE(
    "handles closed by a callback within a callback end with the outer call, within a section and a transaction") {
  const auto name = support::unique_name("arguments");
  Dict d(name);
  const bool locked = GENERATE(false, true), transaction = GENERATE(false, true);
  shmd_dict *one = open_again(name), *two = open_again(name);
  REQUIRE(one != nullptr);
  REQUIRE(two != nullptr);
  if (locked) REQUIRE(shmd_lock(d, 0) == 0);
  if (transaction) REQUIRE(shmd_begin(d, 0) == 0);
  std::uint32_t inside = 0;
  const int result = update(d, "outer", [&](const void** value, std::size_t* size) {
    CHECK(update(one, "inner", [&](const void** inner_value, std::size_t* inner_size) {
            CHECK(shmd_close(one) == 0);
            *inner_value = "i";
            *inner_size = 1;
            return SHMD_OK;
          }) == 0);
    CHECK(shmd_close(two) == 0);
    inside = d.stat().handles;
    *value = "o";
    *size = 1;
    return SHMD_OK;
  });
  CHECK(result == 0);
  CHECK(inside == 3);
  CHECK(d.stat().handles == 1);
  // what the thread holds through another handle is not theirs to end
  CHECK(shmd_in_transaction(d) == (transaction ? 1 : 0));
  if (transaction) CHECK(shmd_commit(d) == 0);
  if (locked) CHECK(shmd_unlock(d) == 0);
  CHECK(shmd_unlock(d) == SHMD_ERR_NOT_LOCKED);
  CHECK(d.get("outer") == "o");
  CHECK(d.get("inner") == "i");
  CHECK(d.check().empty());
}

// Guard: `hidden`, asked in shmd_close. The creator's handle is a variable of shmd_open's.
TEST_CASE("the creator's callback cannot close the dict that is being made") {
  const auto name = support::unique_name("arguments");
  auto o = support::small_options();
  int answer = 0;
  o.init_context = &answer;
  o.init = [](shmd_dict* d, void* context) {
    *static_cast<int*>(context) = shmd_close(d);
    return shmd_put(d, shmd_root(), "k", 1, "v", 1, 0);
  };
  Dict d(name, o);
  CHECK(answer == SHMD_ERR_INVALID_ARGUMENT);
  CHECK(d.get("k") == "v");
}

TEST_CASE("flags that are unknown or exclude each other are refused, and nothing is written") {
  Dict d(support::unique_name("arguments"));
  d.put("k", "value");
  shmd_node child = {0, 0};
  for (const std::uint32_t flags : {std::uint32_t{SHMD_INSERT_ONLY | SHMD_REPLACE_ONLY}, 4u, 0x100u, 0xffffffffu}) {
    INFO(flags);
    for (const char* key : {"k", "n"})
      CHECK(shmd_put(d, shmd_root(), key, 1, "x", 1, flags) == SHMD_ERR_INVALID_ARGUMENT);
    if (flags > 3) CHECK(shmd_node_open(d, shmd_root(), "n", 1, flags, &child) == SHMD_ERR_INVALID_ARGUMENT);
  }
  CHECK(d.get("k") == "value");
  CHECK(d.count() == 1);
}

TEST_CASE("a negative time that is not the default is refused, and nothing is locked") {
  Dict d(support::unique_name("arguments"));
  shmd_lock_options how;
  shmd_follower* f = nullptr;
  REQUIRE(shmd_follow_open(d, SHMD_NOW, &f) == 0);
  for (const std::int64_t time : {std::int64_t{-2}, std::int64_t{-77}, std::numeric_limits<std::int64_t>::min()}) {
    INFO(time);
    CHECK(shmd_lock(d, time) == SHMD_ERR_INVALID_ARGUMENT);
    CHECK_THAT(std::string(shmd_last_error()->message), support::contains("negative"));
    CHECK(shmd_begin(d, time) == SHMD_ERR_INVALID_ARGUMENT);
    CHECK(shmd_named_lock(d, "n", time) == SHMD_ERR_INVALID_ARGUMENT);
    CHECK(shmd_key_lock(d, shmd_root(), "k", 1, time) == SHMD_ERR_INVALID_ARGUMENT);
    CHECK(shmd_follow_wait(f, time) == SHMD_ERR_INVALID_ARGUMENT);
    shmd_lock_options_init(&how);
    how.timeout = time;
    CHECK(shmd_lock_with(d, &how) == SHMD_ERR_INVALID_ARGUMENT);
    shmd_lock_options_init(&how);
    how.sleep_time = time;
    CHECK(shmd_lock_with(d, &how) == SHMD_ERR_INVALID_ARGUMENT);
  }
  shmd_follow_close(f);
  shmd_lock_info info;
  REQUIRE(shmd_lock_status(d, &info) == 0);
  CHECK(info.held == 0);
  CHECK(shmd_lock(d, SHMD_DEFAULT_TIMEOUT) == 0);
  CHECK(shmd_unlock(d) == 0);
}

TEST_CASE("a snapshot that is NULL has no position and no keys") {
  std::size_t size = 0;
  CHECK(shmd_snapshot_position(nullptr) == 0);
  CHECK(shmd_snapshot_get(nullptr, shmd_root(), "k", 1, nullptr, 0, &size) == SHMD_ERR_INVALID_ARGUMENT);
  shmd_snapshot_close(nullptr);
}
