// SPDX-License-Identifier: Apache-2.0
// Kills a process at every store to shared memory that taking, giving back and taking over of named locks, stealing the
// dict's lock, backups and restores make, and looks at what it left.
//
// Guards: the steps numbered in named_lock.h, lock.c (shmd_hold_take_over) and backup.c. Each of these, taken out, fails here: the
// commit of a taking (the record stored directly), lives() answering that the dead live, the file written in its place.
#include <dirent.h>

#include "multiprocess/brim.hpp"
#include "multiprocess/crash_every_store.hpp"
#include "support/catch.hpp"
#include "support/process.hpp"

using namespace support;

namespace {

std::size_t count_locks(shmd_dict* d) {
  std::size_t n = 0;
  must(shmd_named_locks(
           d,
           [](void* context, const shmd_named_lock_info*) {
             ++*static_cast<std::size_t*>(context);
             return 0;
           },
           &n),
       "named_locks");
  return n;
}

constexpr std::int64_t soon = 2'000'000'000;

} // namespace

TEST_CASE("killed anywhere in taking a named lock, the first one of all", "[crash]") {
  std::unique_ptr<Name> name = std::make_unique<Name>("crash.take");
  std::unique_ptr<Handle> survivor;
  const auto anew = [&] {
    survivor.reset();
    name = std::make_unique<Name>("crash.take");
    survivor = std::make_unique<Handle>(*name);
    must(put(*survivor, "k", 1), "put");
  };
  anew();
  crash::at_every_store(
      150,
      [&](auto start) {
        Handle& d = *new Handle(*name); // never closed
        start();
        must(shmd_named_lock(d, "job", 0), "named_lock");
      },
      [&](std::uint64_t, bool) {
        // the child has left without closing, killed or not: it is dead either way
        const int result = shmd_named_lock(*survivor, "job", soon);
        REQUIRE((result == 0 || result == SHMD_RECOVERED));
        REQUIRE(count_locks(*survivor) == 1);
        REQUIRE(crash::findings(*survivor) == crash::nothing);
        REQUIRE(shmd_named_unlock(*survivor, "job") == 0);
        REQUIRE(count_locks(*survivor) == 0);
        REQUIRE(get(*survivor, "k") == 1);
        anew();
      });
}

TEST_CASE("killed anywhere in giving a named lock back", "[crash]") {
  Name name("crash.give");
  Handle survivor(name);
  crash::at_every_store(
      150,
      [&](auto start) {
        Handle d(name);
        must(shmd_named_lock(d, "job", SHMD_FOREVER), "named_lock");
        start();
        must(shmd_named_unlock(d, "job"), "named_unlock");
      },
      [&](std::uint64_t, bool returned) {
        const int result = shmd_named_lock(survivor, "job", soon);
        REQUIRE((result == 0 || (result == SHMD_RECOVERED && !returned)));
        REQUIRE(crash::findings(survivor) == crash::nothing);
        REQUIRE(shmd_named_unlock(survivor, "job") == 0);
        REQUIRE(count_locks(survivor) == 0);
      });
}

TEST_CASE("killed anywhere in giving a named lock back to a dict that is full to the brim", "[crash]") {
  std::unique_ptr<Name> name;
  std::unique_ptr<Handle> survivor;
  const auto anew = [&] {
    survivor.reset();
    name = std::make_unique<Name>("crash.brim");
    survivor = std::make_unique<Handle>(*name, brim_options());
  };
  anew();
  crash::at_every_store(
      150,
      [&](auto start) {
        Handle d(*name);
        must(shmd_named_lock(d, "job", SHMD_FOREVER), "named_lock");
        must(shmd_named_lock(d, "other", SHMD_FOREVER), "named_lock");
        shmd_snapshot* pin = nullptr;
        must(shmd_snapshot_open(d, &pin), "snapshot");
        fill_to_the_brim(d);
        start();
        must(shmd_named_unlock(d, "job"), "named_unlock");
        must(d.close(), "close"); // gives the other one back
      },
      [&](std::uint64_t, bool returned) {
        make_room(*survivor);
        for (const char* lock : {"job", "other"}) {
          const int result = shmd_named_lock(*survivor, lock, soon);
          REQUIRE((result == 0 || (result == SHMD_RECOVERED && !returned)));
        }
        REQUIRE(crash::findings(*survivor) == crash::nothing);
        REQUIRE(count_locks(*survivor) == 2);
        anew();
      });
}

TEST_CASE("killed anywhere in taking a named lock over from a dead holder", "[crash]") {
  Name name("crash.over");
  Handle survivor(name);
  const auto leave_dead_holder = [&] {
    Child([&]() -> int {
      Handle d(name);
      must(shmd_named_lock(d, "job", SHMD_FOREVER), "named_lock");
      raise(SIGKILL);
      return 0;
    }).join();
  };
  leave_dead_holder();
  crash::at_every_store(
      150,
      [&](auto start) {
        Handle& d = *new Handle(name); // never closed: the child ends in possession
        start();
        if (must(shmd_named_lock(d, "job", soon), "named_lock") != SHMD_RECOVERED)
          throw std::runtime_error("not taken");
      },
      [&](std::uint64_t, bool) {
        REQUIRE(shmd_named_lock(survivor, "job", soon) == SHMD_RECOVERED);
        REQUIRE(crash::findings(survivor) == crash::nothing);
        REQUIRE(shmd_named_unlock(survivor, "job") == 0);
        REQUIRE(count_locks(survivor) == 0);
        leave_dead_holder();
      });
}

TEST_CASE("killed anywhere in taking the dict's lock over by hand", "[crash]") {
  Name name("crash.steal");
  Handle survivor(name);
  must(put(survivor, "k", 0), "put");
  std::int64_t owner = 0;
  std::uint64_t value = 0;
  const auto leave_dead_owner = [&] {
    Child child([&]() -> int {
      Handle d(name);
      must(shmd_lock(d, SHMD_FOREVER), "lock");
      must(put(d, "k", value + 1), "put");
      raise(SIGKILL);
      return 0;
    });
    owner = child.pid();
    child.join();
    ++value;
  };
  leave_dead_owner();
  crash::at_every_store(
      120,
      [&](auto start) {
        Handle d(name);
        start();
        if (must(shmd_lock_steal(d, owner), "steal") != SHMD_RECOVERED) throw std::runtime_error("not taken");
        must(put(d, "stolen", 1), "put");
        must(shmd_unlock(d), "unlock");
      },
      [&](std::uint64_t, bool returned) {
        const int result = shmd_lock(survivor, soon);
        REQUIRE((result == SHMD_RECOVERED || (returned && result == 0)));
        REQUIRE(get(survivor, "k") == value);
        REQUIRE(put(survivor, "k", value) == 0);
        REQUIRE(shmd_unlock(survivor) == 0);
        REQUIRE(crash::findings(survivor) == crash::nothing);
        leave_dead_owner();
      });
}

// The mechanism: shmd_os_file_begin() and shmd_os_file_finish(). Written in its place, a half backup would be seen.
TEST_CASE("killed anywhere in a backup: the file before stays, or the new one is whole", "[crash]") {
  Name name("crash.backup"), again("crash.backup.restored");
  std::string directory = "/tmp/shmdict.crash.XXXXXX";
  REQUIRE(mkdtemp(directory.data()) != nullptr);
  const std::string path = directory + "/b";
  Handle d(name);
  for (std::uint64_t i = 0; i < 40; ++i) must(put(d, "k" + std::to_string(i), 1), "put");
  REQUIRE(shmd_backup(d, path.c_str()) == 0);
  for (std::uint64_t i = 0; i < 40; ++i) must(put(d, "k" + std::to_string(i), 2), "put");
  crash::at_every_store(
      40,
      [&](auto start) {
        Handle own(name);
        start();
        must(shmd_backup(own, path.c_str()), "backup");
      },
      [&](std::uint64_t n, bool returned) {
        if (n == 0) return;
        shmd_dict* copy = nullptr;
        REQUIRE(shmd_restore(path.c_str(), again.c_str(), nullptr, &copy) == SHMD_CREATED);
        const std::uint64_t version = get(copy, "k0");
        CHECK((returned ? version == 2 : version == 1 || version == 2));
        for (std::uint64_t i = 0; i < 40; ++i) REQUIRE(get(copy, "k" + std::to_string(i)) == version);
        REQUIRE(shmd_close(copy) == 0);
        REQUIRE(crash::findings(d) == crash::nothing);
        for (std::uint64_t i = 0; i < 40; ++i) must(put(d, "k" + std::to_string(i), 1), "put");
        REQUIRE(shmd_backup(d, path.c_str()) == 0);
        for (std::uint64_t i = 0; i < 40; ++i) must(put(d, "k" + std::to_string(i), 2), "put");
      });
  DIR* dir = opendir(directory.c_str());
  while (const dirent* e = readdir(dir)) { // what a death between link and rename would leave
    const std::string entry = e->d_name;
    if (entry != "." && entry != "..") CHECK(entry == "b");
  }
  closedir(dir);
  std::remove(path.c_str());
  rmdir(directory.c_str());
}

TEST_CASE("killed anywhere in a restore: the dict is whole or not there", "[crash]") {
  Name name("crash.restore"), again("crash.restored");
  const std::string path = "/tmp/shmdict." + std::string(name);
  {
    Handle d(name);
    for (std::uint64_t i = 0; i < 40; ++i) must(put(d, "k" + std::to_string(i), i), "put");
    shmd_node child;
    must(shmd_node_open(d, shmd_root(), "nested", 6, SHMD_NODE_CREATE, &child), "node_open");
    REQUIRE(shmd_backup(d, path.c_str()) == 0);
  }
  crash::at_every_store(
      40,
      [&](auto start) {
        start();
        must(shmd_restore(path.c_str(), again.c_str(), nullptr, nullptr), "restore");
      },
      [&](std::uint64_t, bool returned) {
        if (returned) REQUIRE(again.exists());
        if (!again.exists()) return;
        Handle copy(again, with(SHMD_UNLINK_LAST_CLOSES, SHMD_OPEN_ONLY));
        for (std::uint64_t i = 0; i < 40; ++i) REQUIRE(get(copy, "k" + std::to_string(i)) == i);
        std::uint64_t count = 0;
        REQUIRE(shmd_count(copy, shmd_root(), &count) == 0);
        REQUIRE(count == 41);
        REQUIRE(crash::findings(copy) == crash::nothing);
      });
  std::remove(path.c_str());
}
