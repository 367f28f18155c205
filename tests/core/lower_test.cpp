// SPDX-License-Identifier: Apache-2.0
// What only the inside shows: geometry, errors, a repair that fails, and the ways meant for lesser systems.
#include <pthread.h>
#include <stdbool.h>
#include <sys/mman.h>

#include <fstream>
#include <memory>
#include <vector>

#include "support/catch.hpp"
#include "support/process.hpp"

extern "C" {
#include "attach.h"
#include "error.h"
#include "lock.h"
#include "object.h"
#include "platform.h"
}

using namespace support;

namespace {

class Forced {
 public:
  explicit Forced(unsigned ways) { shmd_os_forced = ways; }
  ~Forced() { shmd_os_forced = 0; }
  Forced(const Forced&) = delete;
  Forced& operator=(const Forced&) = delete;
};

shmd_attachment* attachment_of(shmd_dict* d) { return d->attachment; }

} // namespace

// Guard: SHMD_ASSERT in shmd_copy_out and its like (atomics.h). Machines that cannot load a word from there would be killed,
// and users of x86 never knew; a copy that ends beyond the object reads what is not ours.
TEST_CASE("a test build refuses to copy shared bytes from an odd address, or beyond the object", "[copy]") {
#if defined(SHMD_ASSERTIONS)
  alignas(8) unsigned char from[64] = {1, 2, 3, 4, 5, 6, 7, 8, 9}, to[64] = {};
  Dict d(unique_name("lower"));
  const shmd_reader* reader = shmd_reader_of(d);
  const auto signal_of = [&](auto act) {
    Child child([&] {
      (void)::signal(SIGABRT, SIG_DFL);
      if (std::freopen("/dev/null", "w", stderr) == nullptr) return 1;
      act();
      return 0;
    });
    return child.join();
  };
  CHECK(signal_of([&] { shmd_copy_out(to, from, 9); }) == 0);
  CHECK(signal_of([&] { shmd_copy_out(to, from + 1, 9); }) == -SIGABRT);
  CHECK(signal_of([&] { shmd_copy_in(to + 4, from, 8); }) == -SIGABRT);
  CHECK(signal_of([&] { (void)shmd_bytes_equal(from + 2, to, 8); }) == -SIGABRT);
  CHECK(signal_of([&] { shmd_read_bytes(reader, to, reader->base + reader->max_size - 8, 8); }) == 0);
  CHECK(signal_of([&] { shmd_read_bytes(reader, to, reader->base + reader->max_size - 8, 9); }) == -SIGABRT);
  CHECK(signal_of([&] { shmd_read_bytes(reader, to, from, 8); }) == -SIGABRT);
  CHECK(signal_of([&] { (void)shmd_read_equal(reader, from, to, 8); }) == -SIGABRT);
#else
  SHMDICT_SKIP("this build checks no assertions: configure with SHMDICT_ASSERTIONS");
#endif
}

TEST_CASE("every result has a name and a sentence of its own, and an unknown one is no surprise", "[error]") {
  std::vector<std::string> names;
  for (int code = -200; code <= 200; ++code) {
    const std::string name = shmd_error_name(code);
    REQUIRE(shmd_error_message(code) != nullptr);
    if (name == "unknown") continue;
    for (const auto& other : names) REQUIRE(other != name);
    names.push_back(name);
  }
#define SHMD_X(code, name, text) +1
  REQUIRE(names.size() == SHMD_ERR_MAP(SHMD_X) SHMD_OUTCOME_MAP(SHMD_X) + 1);
#undef SHMD_X
  REQUIRE(std::string(shmd_error_name(SHMD_ERR_NO_SPACE)) == "no_space");
  REQUIRE(std::string(shmd_error_name(SHMD_RECOVERED)) == "recovered");
}

TEST_CASE("an error message that is too long is cut between characters", "[error]") {
  std::string text(478, 'a');
  REQUIRE(shmd_fail(SHMD_ERR_SYSTEM, "%s\xc3\xa9 and more", text.c_str()) == SHMD_ERR_SYSTEM);
  REQUIRE(std::string(shmd_last_error()->message) == text);
  // arguments may come from the last error
  REQUIRE(shmd_fail(SHMD_ERR_SYSTEM, "short") == SHMD_ERR_SYSTEM);
  shmd_fail(SHMD_ERR_BUSY, "again: %s", shmd_last_error()->message);
  REQUIRE(std::string(shmd_last_error()->message) == "again: short");
  shmd_fail_errno(SHMD_ERR_SYSTEM, -ENOENT, "file");
  REQUIRE(shmd_last_error()->system_error == ENOENT);
  REQUIRE_THAT(std::string(shmd_last_error()->message), contains("file (No such file"));
}

TEST_CASE("regions do not overlap, are aligned, and lie within the object, for all sizes", "[geometry]") {
  for (unsigned log2 = 22; log2 <= 46; ++log2) {
    for (unsigned shift = 16; shift <= 24; ++shift) {
      for (const std::uint32_t processes : {1u, 256u, 60000u}) {
        shmd_options o;
        shmd_options_init(&o);
        o.max_size = (std::uint64_t{1} << log2) + 4096 * (log2 % 3);
        if (o.max_size > std::uint64_t{1} << 46) o.max_size = std::uint64_t{1} << 46;
        o.segment_size = std::uint64_t{1} << shift;
        o.max_processes = processes;
        shmd_superblock s;
        const int result = shmd_object_geometry(&o, &s);
        if (result == SHMD_ERR_INVALID_ARGUMENT) continue; // too few segments, or too many
        REQUIRE(result == 0);
        INFO("max_size 2^" << log2 << " segment 2^" << shift);
        REQUIRE(s.max_size >= o.max_size);
        REQUIRE(s.max_size % s.segment_size == 0);
        REQUIRE(s.control_offset >= sizeof s);
        REQUIRE(s.attach_offset >= s.control_offset + s.control_stride);
        REQUIRE(s.pins_offset >= s.attach_offset + processes * sizeof(shmd_slot));
        REQUIRE(s.redo_offset >= s.pins_offset + processes * 8u);
        REQUIRE(s.nodes_offset >= s.redo_offset + s.redo_capacity * sizeof(shmd_redo_entry));
        REQUIRE(s.segments_offset >= s.nodes_offset + s.node_capacity * sizeof(shmd_node_entry));
        REQUIRE(s.data_offset >= s.segments_offset + s.segment_count * sizeof(shmd_segment));
        REQUIRE(s.data_offset % s.segment_size == 0);
        const std::uint64_t usable = s.max_size - SHMD_READ_SLACK; // what may be followed
        REQUIRE(s.data_offset + s.segment_count * s.segment_size <= usable);
        REQUIRE(s.data_offset + (s.segment_count + 1) * s.segment_size > usable);
        REQUIRE(s.segment_count >= 8);
        REQUIRE(s.segment_count < SHMD_NONE);
        REQUIRE(s.node_capacity < SHMD_NONE);
      }
    }
  }
}

// The mechanism: SHMD_LOCK_BROKEN in give_up() (lock.c).
TEST_CASE("a dead owner's write that cannot be repaired is corrupt for everybody, reads go on, nobody hangs",
          "[lock]") {
  Name name("broken");
  Handle d(name);
  must(put(d, "x", 1), "put");
  shmd_attachment* a = attachment_of(d);
  Shared<std::atomic<int>> stage;
  Child owner([&]() -> int {
    must(shmd_lock(d, SHMD_FOREVER), "lock");
    shmd_control_of(attachment_of(d))->redo_length = UINT64_MAX; // no list is that long
    *stage = 1;
    for (;;) pause();
  });
  REQUIRE(eventually([&] { return *stage == 1; }));
  owner.end(SIGKILL);
  for (int i = 0; i < 3; ++i) {
    REQUIRE(put(d, "x", 2) == SHMD_ERR_CORRUPT);
    REQUIRE(shmd_lock(d, SHMD_FOREVER) == SHMD_ERR_CORRUPT);
  }
  Child other([&] { return put(d, "x", 2) == SHMD_ERR_CORRUPT && get(d, "x") == 1 ? 0 : 1; });
  REQUIRE(other.join() == 0);
  REQUIRE(get(d, "x") == 1);
  // Whoever repairs the object by hand finds it usable again, and is told of the section that was cut short.
  shmd_control_of(a)->redo_length = 0;
  REQUIRE(shmd_lock(d, 0) == SHMD_RECOVERED);
  REQUIRE(shmd_unlock(d) == 0);
  REQUIRE(put(d, "x", 3) == 0);
}

TEST_CASE("a lock word that names no slot at all is taken over", "[lock][hostile]") {
  Name name("word");
  Handle d(name);
  shmd_control_of(attachment_of(d))->lock = (std::uint64_t{7} << 32) | 50000;
  REQUIRE(shmd_lock(d, SHMD_FOREVER) == SHMD_RECOVERED);
  REQUIRE(shmd_unlock(d) == 0);
}

// The mechanism: spin_then_sleep() in platform_linux.c; other ports wait like that.
TEST_CASE("the lock works with the portable wait, too", "[lock][portable]") {
  Forced forced(SHMD_OS_PORTABLE_WAIT);
  Name name("portable");
  Handle d(name);
  Shared<std::atomic<std::uint64_t>> count;
  const auto work = [&] {
    for (int i = 0; i < 300; ++i) {
      must(shmd_lock(d, SHMD_FOREVER), "lock");
      const std::uint64_t n = *count;
      if (i % 16 == 0) std::this_thread::sleep_for(100us);
      *count = n + 1;
      must(shmd_unlock(d), "unlock");
    }
    return 0;
  };
  {
    Child one(work), two(work);
    std::thread three(work);
    three.join();
    REQUIRE(one.join() == 0);
    REQUIRE(two.join() == 0);
  }
  REQUIRE(*count == 900);
  Shared<std::atomic<int>> stage;
  Child owner([&]() -> int {
    must(shmd_lock(d, SHMD_FOREVER), "lock");
    *stage = 1;
    for (;;) pause();
  });
  REQUIRE(eventually([&] { return *stage == 1; }));
  REQUIRE(shmd_lock(d, 50'000'000) == SHMD_TIMED_OUT);
  owner.end(SIGKILL);
  REQUIRE(shmd_lock(d, 60'000'000'000) == SHMD_RECOVERED);
  REQUIRE(shmd_unlock(d) == 0);
}

// The mechanism: create_temporary() in platform_linux.c.
TEST_CASE("without nameless files objects are made under a temporary name and linked", "[create]") {
  Forced forced(SHMD_OS_NO_UNNAMED);
  Name name("temporary");
  shmd_options options = with(SHMD_UNLINK_NEVER, SHMD_CREATE_ONLY);
  {
    Handle d(name, options);
    REQUIRE(put(d, "x", 1) == 0);
    REQUIRE(attachment_of(d)->super->ready == 1);
  }
  REQUIRE(name.exists());
  shmd_dict* d = nullptr;
  REQUIRE(shmd_open(name.c_str(), &options, &d) == SHMD_ERR_ALREADY_EXISTS);
  options.mode = SHMD_OPEN_OR_CREATE;
  REQUIRE(shmd_unlink(name.c_str()) == 0);
  options.init = [](shmd_dict*, void*) { return static_cast<int>(SHMD_ERR_ABORTED); };
  REQUIRE(shmd_open(name.c_str(), &options, &d) == SHMD_ERR_ABORTED);
  const std::string mine = "'.shmdict-*-" + std::to_string(getpid()) + "-*'";
  REQUIRE(std::system(("test -z \"$(find /dev/shm -maxdepth 1 -name " + mine + ")\"").c_str()) == 0);
}

// The mechanism: shmd_os_stay_unnamed(), and the rename in shmd_os_file_finish().
TEST_CASE("without nameless files anonymous dicts and backups leave no temporary name either", "[create]") {
  Forced forced(SHMD_OS_NO_UNNAMED);
  shmd_options o = small_options();
  o.flags = SHMD_ANONYMOUS;
  shmd_dict* d = nullptr;
  REQUIRE(shmd_open(nullptr, &o, &d) == SHMD_CREATED);
  REQUIRE(put(d, "x", 1) == 0);
  struct stat s;
  REQUIRE(fstat(shmd_native_fd(d), &s) == 0);
  CHECK(s.st_nlink == 0);
  std::string directory = "/tmp/shmdict.lower.XXXXXX";
  REQUIRE(mkdtemp(directory.data()) != nullptr);
  const std::string path = directory + "/b", below = directory + "/no such directory/b";
  REQUIRE(shmd_backup(d, path.c_str()) == 0);
  CHECK(shmd_backup(d, below.c_str()) < 0);
  REQUIRE(mkdir((directory + "/taken").c_str(), 0700) == 0);
  CHECK(shmd_backup(d, (directory + "/taken").c_str()) < 0); // a directory is not replaced
  REQUIRE(rmdir((directory + "/taken").c_str()) == 0);
  REQUIRE(shmd_close(d) == 0);
  REQUIRE(shmd_restore(path.c_str(), nullptr, nullptr, &d) == SHMD_CREATED);
  CHECK(get(d, "x") == 1);
  REQUIRE(shmd_close(d) == 0);
  std::remove(path.c_str());
  CHECK(rmdir(directory.c_str()) == 0); // nothing else in it
}

static std::uint64_t locked_kib() {
  std::ifstream status("/proc/self/status");
  std::uint64_t kib = 0;
  for (std::string word; status >> word;)
    if (word == "VmLck:") status >> kib;
  return kib;
}

// The mechanism: shmd_os_map() maps without access, unlocks, and then opens the mapping.
TEST_CASE("a process that locks all its memory does not allocate the reserve", "[map]") {
  Name name("mlock");
  Child locked([&] {
    if (mlockall(MCL_CURRENT | MCL_FUTURE) != 0 || locked_kib() == 0) return 77; // for sanitizers it does nothing
    Handle d(name, small_options(std::uint64_t{1} << 30));
    if (put(d, "x", 1) != 0) return 1;
    shmd_stats s;
    if (shmd_stat(d, &s) != 0) return 2;
    return s.memory < (std::uint64_t{64} << 20) ? 0 : 3;
  });
  const int result = locked.join();
  if (result == 77) SHMDICT_SKIP("this user may not lock memory");
  REQUIRE(result == 0);
}

// The mechanism: look_after_owner() in quiesce_slowly(), and the comparison of `inner`.
TEST_CASE("quiescing waits for the write under way, not for the section around it, and not for the dead",
          "[lock][quiesce]") {
  Name name("quiesce");
  shmd_options options = small_options();
  options.timeout = 300'000'000;
  Handle d(name, options);
  shmd_attachment* a = attachment_of(d);
  REQUIRE(shmd_lock_quiesce(a) == 0);
  Shared<std::atomic<int>> stage;
  const auto step = [&](int to, int then) {
    *stage = to;
    return eventually([&] { return *stage == then; });
  };
  Child owner([&]() -> int {
    shmd_attachment* mine = attachment_of(d);
    const auto until = [&](int n) {
      if (!eventually([&] { return *stage == n; })) throw std::runtime_error("the test does not go on");
    };
    must(shmd_lock(d, SHMD_FOREVER), "lock");
    until(1);
    *stage = 2; // in a section, no write
    until(3);
    must(shmd_call_enter_slowly(mine), "enter");
    *stage = 4; // in a write of the section
    until(5);
    shmd_call_leave_slowly(mine); // the section goes on
    until(6);
    must(shmd_unlock(d), "unlock");
    must(shmd_call_enter_slowly(mine), "enter");
    *stage = 8; // in a single write
    for (;;) pause();
  });
  REQUIRE(step(1, 2));
  REQUIRE(shmd_lock_quiesce(a) == 0);
  REQUIRE(step(3, 4));
  REQUIRE(shmd_lock_quiesce(a) == SHMD_ERR_LOCK_TIMEOUT);
  REQUIRE(shmd_last_error()->pid == owner.pid());
  std::thread soon([&] {
    std::this_thread::sleep_for(30ms);
    *stage = 5;
  });
  const auto timeout = std::exchange(a->timeout, 60'000'000'000);
  const int result = shmd_lock_quiesce(a); // ends when the write does
  a->timeout = timeout;
  soon.join();
  REQUIRE(result == 0);
  REQUIRE(step(6, 8));
  REQUIRE(shmd_lock_quiesce(a) == SHMD_ERR_LOCK_TIMEOUT);
  owner.end(SIGKILL);
  REQUIRE(shmd_lock_quiesce(a) == 0);
  REQUIRE(put(d, "x", 1) == 0);
}
