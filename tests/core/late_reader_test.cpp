// SPDX-License-Identifier: Apache-2.0
// A reader that was stopped in the middle of a read looks at what was freed meanwhile. If its memory was given back, the look
// takes a page of the file system, and ends the process where there is none. So the memory of what was freed stays for a
// while, bounded in bytes and time, and serves the next segments.
// What guards it: in_grace() and freed_take() (segment.c), and shmd_reclaim_urgent(), which first goes without giving back.
// Time is the writer's process's, and set by the tests: nothing here depends on how long anything takes.
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/wait.h>

#include <random>

#include "core.h"
#include "support/catch.hpp"
#include "support/process.hpp"

extern "C" {
#include "redo.h"
#include "segment.h"
}

using support::Dict;

namespace {

constexpr std::uint64_t MiB = std::uint64_t{1} << 20;
constexpr std::size_t large = 300000; // a run of two segments

shmd_options options_of(std::uint64_t max_size = 256 * MiB) {
  auto o = support::small_options(max_size);
  o.buffer_size = 65536; // what is overwritten leaves history at once
  return o;
}

// As if everything was freed just now.
void stop_time(shmd_dict* d) {
  auto* e = d->attachment->engine;
  e->grace_head[0] = 0;
  e->grace_time[1] = support::now_ns() + std::uint64_t{3600} * 1000000000;
}
// As if everything was freed long ago.
void let_time_pass(shmd_dict* d) { d->attachment->engine->grace_head[0] = UINT64_MAX; }

std::uint64_t offset_of(shmd_dict* d, const std::string& key) {
  const shmd_reader* r = shmd_reader_of(d);
  shmd_found found{};
  std::uint64_t before = 0;
  const std::uint64_t hash = shmd_hash_key(r->hash_seed, key.data(), key.size());
  REQUIRE(shmd_read_locate(r, shmd_root(), hash, key.data(), key.size(), &found, &before) == 0);
  return found.slot & SHMD_WORD_MASK;
}

bool has_memory(shmd_dict* d, std::uint64_t offset, std::uint64_t size) {
  const int fd = d->attachment->object_fd;
  return lseek(fd, static_cast<off_t>(offset), SEEK_DATA) == static_cast<off_t>(offset) &&
         lseek(fd, static_cast<off_t>(offset), SEEK_HOLE) >= static_cast<off_t>(offset + size);
}

std::uint64_t kind_at(shmd_dict* d, std::uint64_t offset) {
  const auto* a = d->attachment;
  return SHMD_LOW(shmd_load_acquire(&a->segments[shmd_segment_of(a, offset)].kind));
}

} // namespace

TEST_CASE("what was freed keeps its memory for a while, and then gives it back") {
  Dict d(support::unique_name("late"), options_of());
  stop_time(d);
  d.put("key", std::string(large, 'a'));
  const auto offset = offset_of(d, "key");
  d.put("key", "small");
  for (int i = 0; i < 3000; ++i) d.put("other", std::string(100, 'x'));
  REQUIRE(kind_at(d, offset) == SHMD_SEG_FREED);
  CHECK(has_memory(d, offset, large));
  let_time_pass(d);
  for (int i = 0; i < 1000; ++i) d.put("other", std::string(100, 'x'));
  CHECK(kind_at(d, offset) != SHMD_SEG_FREED);
  CHECK_FALSE(has_memory(d, offset, large));
  REQUIRE(d.check().empty());
}

TEST_CASE("what was freed serves the next value of its size, whatever was freed before it") {
  Dict d(support::unique_name("late"), options_of());
  stop_time(d);
  d.put("longer", std::string(530000, 'l')); // three segments
  d.put("key", std::string(large, 'a'));
  const auto offset = offset_of(d, "key");
  for (const char* key : {"longer", "key"}) d.put(key, "small");
  for (int i = 0; i < 3000; ++i) d.put("other", std::string(100, 'x'));
  REQUIRE(kind_at(d, offset) == SHMD_SEG_FREED);
  d.put("next", std::string(large, 'n'));
  CHECK(offset_of(d, "next") == offset);
  REQUIRE(d.check().empty());
}

TEST_CASE("what keeps its memory for late readers is bounded, and goes at once when it is asked for") {
  Dict d(support::unique_name("late"), options_of());
  stop_time(d);
  const auto key_of = [](int i) { return "key" + std::to_string(i); };
  for (int i = 0; i < 60; ++i) d.put(key_of(i), std::string(large, 'a'));
  for (int i = 0; i < 60; ++i) d.put(key_of(i), "small");
  for (int i = 0; i < 3000; ++i) d.put("other", std::string(100, 'x'));
  const auto before = d.stat().memory;
  CHECK(before < 60 * large / 4);
  std::uint64_t freed = 0, held = 0;
  const auto* a = static_cast<shmd_dict*>(d)->attachment;
  for (std::uint64_t id = 0; id < shmd_control_of(a)->frontier; ++id) {
    if (SHMD_LOW(a->segments[id].kind) != SHMD_SEG_FREED) continue;
    ++freed;
    held += a->segments[id].allocated;
  }
  CHECK(freed > 0);
  // more, if this machine's file system is nearly full
  CHECK(held <= SHMD_GRACE_BYTES + SHMD_GRACE_BYTES_NEARLY_FULL + 3 * (large + 65536));
  REQUIRE(shmd_compact(d) == 0);
  CHECK(d.stat().memory <= before - held + SHMD_WARM_MAX * a->segment_size + 65536);
  CHECK(shmd_control_of(a)->freed_count == 0);
  REQUIRE(d.check().empty());
}

namespace {

struct Story {
  std::atomic<std::uint64_t> gets, stop;
  std::atomic<int> result;
};

bool ended(pid_t pid) {
  siginfo_t info{};
  return waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOHANG | WNOWAIT) != 0 || info.si_pid == pid;
}

// On a file system of its own, which somebody else fills to its last page again and again.
int on_a_full_file_system(Story& story) {
  constexpr int keys = 6, rounds = 150;
  if (unshare(CLONE_NEWNS) != 0 || mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
      mount("late", "/dev/shm", "tmpfs", 0, "size=24m") != 0)
    return 77;
  auto o = options_of(64 * MiB);
  o.unlink = SHMD_UNLINK_NEVER;
  support::Handle d("late", o);
  const auto key_of = [](int i) { return "key" + std::to_string(i); };
  const auto put = [&](int i, char c) {
    const auto key = key_of(i);
    const std::string value(large, c);
    return shmd_put(d, shmd_root(), key.data(), key.size(), value.data(), value.size(), 0);
  };
  for (int i = 0; i < keys; ++i)
    for (int n = 0; n < 2; ++n) support::must(put(i, 'a'), "put");
  support::Child reader([&] {
    support::Handle r("late", o);
    std::string value(large, '\0');
    std::size_t size = 0;
    for (std::uint64_t n = 0; story.stop == 0; ++n, ++story.gets) {
      const auto key = key_of(static_cast<int>(n % keys));
      if (shmd_get(r, shmd_root(), key.data(), key.size(), value.data(), value.size(), &size) != 0) return 1;
      if (size != large || value != std::string(large, value[0])) return 2;
    }
    return 0;
  });
  stop_time(d);
  const int filler = open("/dev/shm/filler", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  off_t filled = 0;
  const auto fill = [&] {
    for (off_t step = MiB; step >= 4096; step /= 2)
      while (fallocate(filler, 0, filled, step) == 0) filled += step;
  };
  std::mt19937_64 rng(1);
  for (int round = 0; round < rounds; ++round) {
    const auto before = story.gets.load();
    if (!support::eventually([&] { return story.gets > before || ended(reader.pid()); })) return 3;
    std::this_thread::sleep_for(std::chrono::microseconds(rng() % 500));
    reader.signal(SIGSTOP); // in the middle of a copy, more often than not
    for (int n = 0; n < 2; ++n)
      for (int i = 0; i < keys; ++i)
        if (put(i, static_cast<char>('a' + round % 26)) < 0 && shmd_last_error()->code != SHMD_ERR_NO_SPACE) return 4;
    fill();
    reader.signal(SIGCONT);
    const auto after = story.gets.load();
    const bool went_on = support::eventually([&] { return story.gets > after || ended(reader.pid()); });
    if (!went_on || story.gets <= after) return 5;
    filled = filled > off_t(MiB) ? filled - off_t(MiB) : 0;
    if (ftruncate(filler, filled) != 0) return 6;
  }
  story.stop = 1;
  return reader.join();
}

} // namespace

TEST_CASE("a reader stopped in the middle of large reads lives on while the file system is full") {
  support::Shared<Story> story;
  support::Child child([&] { return on_a_full_file_system(*story); });
  const int result = child.join();
  if (result == 77) SHMDICT_SKIP("the kernel does not let this user mount a file system");
  INFO("5: the reader ended, by SIGBUS; after " << story->gets.load() << " gets");
  REQUIRE(result == 0);
}
