// SPDX-License-Identifier: Apache-2.0
// shmd_list(): all objects, looked at from outside.
#include <fcntl.h>

#include <cstring>
#include <map>
#include <string>

#include "support/catch.hpp"
#include "support/process.hpp"

using namespace support;

namespace {

std::map<std::string, shmd_object_info> all() {
  std::map<std::string, shmd_object_info> out;
  must(shmd_list(
           [](void* context, const shmd_object_info* o) {
             (*static_cast<std::map<std::string, shmd_object_info>*>(context))[o->name] = *o;
             return 0;
           },
           &out),
       "list");
  return out;
}

shmd_object_info one(const std::string& name) {
  const auto objects = all();
  const auto found = objects.find(name);
  if (found == objects.end()) throw std::runtime_error("not listed: " + name);
  return found->second;
}

void write_at(const Name& name, off_t offset, std::uint64_t word) {
  const int fd = open(name.path().c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
  REQUIRE(fd >= 0);
  REQUIRE(pwrite(fd, &word, sizeof word, offset) == sizeof word);
  close(fd);
}

} // namespace

// The mechanism: the byte of each slot is asked for (list.c). With the entry's pid alone the dead would count.
TEST_CASE("a list tells who has a dict open, who holds its lock, and which ones nobody will remove", "[list]") {
  Name name("list");
  Shared<std::atomic<int>> ready;
  {
    Child user([&] {
      Handle d(name, with(SHMD_UNLINK_LAST_CLOSES));
      must(put(d, "a", 1), "put");
      must(put(d, "b", 2), "put");
      must(shmd_lock(d, SHMD_FOREVER), "lock");
      *ready = 1;
      for (;;) pause();
      return 0;
    });
    REQUIRE(eventually([&] { return *ready == 1; }));
    auto o = one(name);
    CHECK(o.result == 0);
    CHECK(o.attached == 1);
    CHECK(o.present == 1);
    CHECK(o.orphaned == 0);
    CHECK(o.keys == 2);
    CHECK(o.creator_pid == user.pid());
    CHECK(o.unlink == SHMD_UNLINK_LAST_CLOSES);
    CHECK(o.lock.held == 1);
    CHECK(o.lock.alive == 1);
    CHECK(o.lock.pid == user.pid());
    CHECK(o.lock.held_ns > 0);
    CHECK(o.user == geteuid());
    {
      Shared<std::atomic<int>> also;
      Child second([&] {
        Handle d(name, with(SHMD_UNLINK_LAST_CLOSES));
        *also = 1;
        for (;;) pause();
        return 0;
      });
      REQUIRE(eventually([&] { return *also == 1; }));
      CHECK(one(name).attached == 2);
      second.end(SIGKILL);
      CHECK(one(name).attached == 1);
    }
    user.end(SIGKILL);
    o = one(name);
    CHECK(o.attached == 0);
    CHECK(o.orphaned == 1);
    CHECK(o.lock.held == 1);
    CHECK(o.lock.alive == 0);
    CHECK(o.keys == 2);
  }
  REQUIRE(name.exists()); // looking removes nothing
  {
    Handle reader(name, [] {
      auto o = with(SHMD_UNLINK_LAST_CLOSES, SHMD_OPEN_ONLY);
      o.flags = SHMD_READ_ONLY;
      return o;
    }());
    const auto o = one(name);
    CHECK(o.attached == 0);
    CHECK(o.present == 1); // a reader is somebody
    CHECK(o.orphaned == 0);
  }
}

TEST_CASE("an object that is meant to stay is no orphan", "[list]") {
  Name name("list.never");
  Child([&] {
    Handle d(name, with(SHMD_UNLINK_NEVER));
    return 0;
  }).join();
  const auto o = one(name);
  CHECK(o.present == 0);
  CHECK(o.orphaned == 0);
}

// The mechanism: a look keeps no descriptor and takes no byte. Else the dict would outlive its last user.
TEST_CASE("listing keeps nothing alive and disturbs nobody who comes or goes", "[list]") {
  Name name("list.churn");
  Shared<std::atomic<int>> stop;
  Child churn([&] {
    for (int i = 0; i < 300; ++i) {
      Handle d(name, with(SHMD_UNLINK_LAST_CLOSES));
      must(put(d, "a", 1), "put");
    }
    *stop = 1;
    return 0;
  });
  while (*stop == 0) (void)all();
  REQUIRE(churn.join() == 0);
  REQUIRE_FALSE(name.exists());
}

TEST_CASE("what cannot be read is listed with the reason", "[list]") {
  Name foreign("list.foreign"), empty("list.empty"), truncated("list.truncated"), other("list.layout"),
      corrupt("list.corrupt"), pipe("list.pipe");
  write_at(foreign, 0, 0x1234);
  close(open(empty.path().c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
  for (const Name* n : {&truncated, &other, &corrupt}) Handle d(*n, with(SHMD_UNLINK_NEVER));
  REQUIRE(truncate(truncated.path().c_str(), 8192) == 0);
  write_at(other, 8, UINT64_C(0x4008040100000063)); // layout 99
  write_at(corrupt, 48, 4096);                      // a segment size that contradicts the rest
  REQUIRE(mkfifo(pipe.path().c_str(), 0600) == 0);
  const auto objects = all();
  CHECK(objects.at(foreign).result == SHMD_ERR_FOREIGN_OBJECT);
  CHECK(objects.at(empty).result == SHMD_ERR_INCOMPLETE_OBJECT);
  CHECK(objects.at(truncated).result == SHMD_ERR_INCOMPLETE_OBJECT);
  CHECK(objects.at(other).result == SHMD_ERR_LAYOUT_MISMATCH);
  CHECK(objects.at(other).layout_version == 99);
  CHECK(objects.at(corrupt).result == SHMD_ERR_CORRUPT);
  CHECK(objects.at(pipe).result == SHMD_ERR_FOREIGN_OBJECT);
  CHECK(objects.at(corrupt).orphaned == 0);
  std::remove(pipe.path().c_str());
}

// The mechanism: figures are read from the file, from offsets that the validation recomputed, and texts are ended. Garbage in
// all words but the superblock's gives figures, not faults.
TEST_CASE("hostile objects are listed without harm", "[list]") {
  Name name("list.hostile");
  { Handle d(name, with(SHMD_UNLINK_NEVER)); }
  const int fd = open(name.path().c_str(), O_RDWR | O_CLOEXEC);
  REQUIRE(fd >= 0);
  std::uint64_t x = 88172645463325252ull;
  for (int round = 0; round < 50; ++round) {
    for (off_t at = 4096; at < 65536; at += 8) {
      x ^= x << 13, x ^= x >> 7, x ^= x << 17;
      const std::uint64_t word = round % 3 == 0 ? UINT64_MAX : x;
      REQUIRE(pwrite(fd, &word, sizeof word, at) == sizeof word);
    }
    const auto o = one(name);
    CHECK(o.result == 0);
    CHECK(o.attached == 0);
    CHECK(std::strlen(o.lock.program) < sizeof o.lock.program);
  }
  close(fd);
}

TEST_CASE("a callback can end the list", "[list]") {
  Name a("list.end.a"), b("list.end.b");
  Handle x(a), y(b);
  int calls = 0;
  REQUIRE(shmd_list(
              [](void* context, const shmd_object_info*) {
                ++*static_cast<int*>(context);
                return -5;
              },
              &calls) == -5);
  REQUIRE(calls == 1);
}
