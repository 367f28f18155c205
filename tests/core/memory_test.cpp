// SPDX-License-Identifier: Apache-2.0
// Memory goes back: the bound of the design holds at every sample, whatever is done to the dict.
//   memory <= 1.5 * (live records + index) + buffer_size + 2 * the largest record + 4 MiB + what pins hold
// What guards it: pacing in reclaim.c (shmd_reclaim_step: bytes looked at per byte appended), the freed queue and
// punching in segment.c, trimming of closed segments in redo.c, sparse index segments in reclaim.c, sweeps of removed
// dicts, pins found dead or revoked in reclaim_pins.c (shmd_reclaim_look_at_pins).
#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <random>

#include "core.h"
#include "support/catch.hpp"
#include "support/process.hpp"

using support::Dict;

namespace {

constexpr std::uint64_t MiB = std::uint64_t{1} << 20;

// What instrumented builds divide the number of overwrites by: the cleaner is in its steady state after a few rounds.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr std::uint64_t slow = 4;
#else
constexpr std::uint64_t slow = 1;
#endif

// Values verify themselves: key, turn and size lead to every byte.
std::string value_of(std::uint64_t key, std::uint64_t turn, std::size_t size) {
  std::string v(size, '\0');
  std::uint64_t x = (key + 1) * 0x9e3779b97f4a7c15u ^ turn;
  const auto next = [&x] { return x = x * 6364136223846793005u + 1442695040888963407u; };
  char* p = v.data();
  for (; size >= 8; size -= 8, p += 8) {
    const std::uint64_t word = next();
    std::memcpy(p, &word, 8); // of constant size: one store, which ThreadSanitizer does not call a function for
  }
  const std::uint64_t word = next();
  std::memcpy(p, &word, size);
  return v;
}

shmd_options options_of(std::uint64_t segment = 0, std::uint64_t max_size = 1024 * MiB) {
  auto o = support::small_options(max_size);
  o.segment_size = segment;
  return o;
}

// Asks the file system, not the library, what the object uses, and compares.
class Meter {
 public:
  Meter(Dict& d, std::uint64_t largest) : d_(d), largest_(largest) {}

  std::uint64_t used() const {
    struct stat s;
    REQUIRE(stat(("/dev/shm/shmdict." + d_.name()).c_str(), &s) == 0);
    return static_cast<std::uint64_t>(s.st_blocks) * 512;
  }
  std::uint64_t bound(const shmd_stats& s) const {
    return (s.live_bytes + s.index_bytes) * 3 / 2 + s.buffer_size + 2 * largest_ + 4 * MiB;
  }
  // `pinned`: what pins hold.
  void sample(std::uint64_t pinned = 0) {
    const auto s = d_.stat();
    const auto memory = used(), limit = bound(s) + pinned;
    REQUIRE(memory == s.memory);
    const double part = static_cast<double>(memory) / static_cast<double>(limit);
    if (part > worst_) {
      worst_ = part;
      at_ = "memory " + std::to_string(memory >> 10) + " KiB of " + std::to_string(limit >> 10) + ", live " +
            std::to_string(s.live_bytes >> 10) + ", index " + std::to_string(s.index_bytes >> 10) + ", log " +
            std::to_string(s.log_bytes >> 10);
    }
    INFO(at_);
    REQUIRE(memory <= limit);
  }
  // The whole is sound, and how near the bound it came.
  void finish(const char* what) {
    REQUIRE(d_.check().empty());
    std::printf("%-44s worst %3.0f %% of the bound: %s\n", what, worst_ * 100, at_.c_str());
  }

 private:
  Dict& d_;
  std::uint64_t largest_;
  double worst_ = 0;
  std::string at_;
};

// What pins hold, from the segment table: segments freed under the oldest one, and what is dead in those that a record died
// in meanwhile.
std::uint64_t held_by_pins(Dict& d) {
  const shmd_dict* handle = d;
  const shmd_attachment* a = handle->attachment;
  const auto* table = reinterpret_cast<const shmd_segment*>(shmd_at(a, a->super->segments_offset));
  const std::uint64_t oldest = d.stat().oldest_pin;
  std::uint64_t held = 0;
  for (std::uint64_t id = 0; id < shmd_control_of(a)->frontier; ++id) {
    const auto& s = table[id];
    const auto kind = static_cast<std::uint32_t>(s.kind);
    if (kind == SHMD_SEG_FREED && s.position >= oldest) held += s.allocated;
    if ((kind == SHMD_SEG_CLOSED || kind == SHMD_SEG_VICTIM || kind == SHMD_SEG_RUN) && s.pinned > oldest)
      held += s.used - s.live;
  }
  return held;
}

struct Load {
  const char* what;
  std::uint64_t keys;
  std::uint64_t writes;
  std::function<std::size_t(std::uint64_t key, std::mt19937_64&)> size;
  double zipf = 0;
  std::uint64_t segment = 0;
};

int put_turn(shmd_dict* d, std::uint64_t key, const std::string& value) {
  return support::must(shmd_put(d, shmd_root(), &key, sizeof key, value.data(), value.size(), 0), "put");
}

std::string get_key(shmd_dict* d, std::uint64_t key, std::size_t longest) {
  std::string value(longest, '\0');
  std::size_t size = 0;
  REQUIRE(shmd_get(d, shmd_root(), &key, sizeof key, value.data(), value.size(), &size) == 0);
  value.resize(size);
  return value;
}

// Overwrites for many times the dict's size; samples all the way; compares every value at the end.
void overwrite(const Load& load) {
  Dict d(support::unique_name("memory"), options_of(load.segment));
  std::mt19937_64 rng(load.keys);
  std::vector<std::uint64_t> turn(load.keys);
  std::vector<std::size_t> sizes(load.keys);
  std::vector<double> shares;
  double sum = 0;
  for (std::uint64_t k = 0; k < load.keys && load.zipf > 0; ++k)
    shares.push_back(sum += 1 / std::pow(static_cast<double>(k + 1), load.zipf));
  std::size_t largest = 0;
  for (std::uint64_t k = 0; k < load.keys; ++k) {
    sizes[k] = load.size(k, rng);
    largest = std::max(largest, sizes[k]);
    put_turn(d, k, value_of(k, 0, sizes[k]));
  }
  Meter meter(d, largest + 48);
  meter.sample();
  const std::uint64_t step = std::max<std::uint64_t>(1, load.writes / slow / 400);
  for (std::uint64_t i = 0; i < load.writes / slow; ++i) {
    std::uint64_t k = rng() % load.keys;
    if (load.zipf > 0) {
      const double x = static_cast<double>(rng() >> 11) / 9007199254740992.0 * sum;
      k = static_cast<std::uint64_t>(std::lower_bound(shares.begin(), shares.end(), x) - shares.begin());
    }
    sizes[k] = load.size(k, rng);
    REQUIRE(sizes[k] <= largest + 8);
    put_turn(d, k, value_of(k, ++turn[k], sizes[k]));
    if (i % step == 0) meter.sample();
  }
  meter.sample();
  for (std::uint64_t k = 0; k < load.keys; ++k) REQUIRE(get_key(d, k, largest + 8) == value_of(k, turn[k], sizes[k]));
  meter.finish(load.what);
}

} // namespace

// Guard: SHMD_STEP_BYTES and the budget of shmd_reclaim_step (a fixed factor of the bytes appended).
TEST_CASE("overwriting small integers stays within the bound") {
  overwrite({"8-byte values", 200000, 3000000, [](auto, auto&) { return std::size_t{8}; }});
}
TEST_CASE("overwriting strings of 100 bytes stays within the bound") {
  overwrite({"100-byte values", 100000, 1500000, [](auto, auto&) { return std::size_t{100}; }});
}
TEST_CASE("overwriting values of 4 KiB stays within the bound") {
  overwrite({"4 KiB values", 8000, 120000, [](auto, auto&) { return std::size_t{4096}; }});
}
TEST_CASE("overwriting values of 100 KB stays within the bound") {
  overwrite({"100 KB values", 400, 6000, [](auto, auto&) { return std::size_t{100000}; }});
}
// Guard: the memory of a run ends with its last page (shmd_segment_memory_run).
TEST_CASE("overwriting values a little over half a segment stays within the bound") {
  overwrite({"133 KB values", 300, 4000, [](auto, auto&) { return std::size_t{133000}; }});
}
TEST_CASE("overwriting values of mixed sizes stays within the bound") {
  overwrite({"mixed values", 20000, 200000, [](auto, auto& rng) { return std::size_t{1} << (rng() % 14); }});
}
TEST_CASE("overwriting with a few hot keys stays within the bound") {
  overwrite({"Zipf, 200-byte values", 100000, 1000000, [](auto, auto&) { return std::size_t{200}; }, 0.99});
}
TEST_CASE("overwriting in small segments stays within the bound") {
  overwrite(
      {"100-byte values, 64 KiB segments", 100000, 1000000, [](auto, auto&) { return std::size_t{100}; }, 0, 65536});
}
TEST_CASE("overwriting in large segments stays within the bound") {
  overwrite({"1 KB values, 1 MiB segments", 100000, 600000, [](auto, auto&) { return std::size_t{1000}; }, 0, MiB});
}
// Guard: freed runs are punched as fast as new ones are filled (shmd_segment_settle steps per byte appended).
TEST_CASE("overwriting values of 1 MB stays within the bound") {
  overwrite({"1 MB values", 30, 600, [](auto, auto&) { return std::size_t{1000000}; }});
}
TEST_CASE("overwriting values of 12 MB stays within the bound") {
  overwrite({"12 MB values", 3, 60, [](auto, auto&) { return std::size_t{12000000}; }});
}
// Guard: make_run in log.c leaves the end of a run to the records that follow, and shmd_segment_bucket counts a segment that
// was closed early as half full: else each small value would keep a segment.
TEST_CASE("small values written between large ones stay within the bound") {
  Dict d(support::unique_name("memory"), options_of(0, 512 * MiB));
  Meter meter(d, 150000 + 48);
  const std::uint64_t count = 6000 / slow / 8 * 8;
  for (std::uint64_t i = 0; i < count; ++i) {
    put_turn(d, 1000000 + i, value_of(i, 1, 100));
    put_turn(d, i % 8, value_of(i % 8, i, 150000));
    if (i % 16 == 0) meter.sample();
  }
  for (std::uint64_t i = 0; i < count; ++i) REQUIRE(get_key(d, 1000000 + i, 100) == value_of(i, 1, 100));
  for (std::uint64_t k = 0; k < 8; ++k) REQUIRE(get_key(d, k, 150000) == value_of(k, count - 8 + k, 150000));
  meter.finish("small values between large ones");
}

// Guard: shmd_reclaim_step is called for every byte of a transaction, not once.
TEST_CASE("overwriting in large transactions stays within the bound") {
  Dict d(support::unique_name("memory"), options_of());
  Meter meter(d, 1000 + 48);
  std::mt19937_64 rng(5);
  std::vector<std::uint64_t> turn(20000);
  for (std::uint64_t round = 0; round < 200 / slow; ++round) {
    REQUIRE(shmd_begin(d, SHMD_FOREVER) == 0);
    for (int i = 0; i < 2000; ++i) {
      const std::uint64_t k = rng() % turn.size();
      put_turn(d, k, value_of(k, ++turn[k], 1000));
    }
    REQUIRE(shmd_commit(d) == 0);
    meter.sample(std::uint64_t{2000} * 1048);
  }
  for (std::uint64_t k = 0; k < turn.size(); ++k)
    if (turn[k] != 0) REQUIRE(get_key(d, k, 1000) == value_of(k, turn[k], 1000));
  meter.finish("transactions of 2 MB");
}

// Guard: the tails of all segments that a transaction closes go back (close_head in log.c).
TEST_CASE("large values written in one transaction leave no unused tails") {
  Dict d(support::unique_name("memory"), options_of());
  Meter meter(d, 140000 + 48);
  REQUIRE(shmd_begin(d, SHMD_FOREVER) == 0);
  for (std::uint64_t k = 0; k < 1000; ++k) put_turn(d, k, value_of(k, 0, 140000));
  REQUIRE(shmd_commit(d) == 0);
  meter.sample();
  const auto s = d.stat();
  REQUIRE(s.memory < s.live_bytes + s.live_bytes / 20 + 6 * MiB);
  meter.finish("140 KB values in one transaction");
}

// Guard: shmd_tx_abort gives back what was allocated for segments that go unused.
TEST_CASE("an aborted transaction gives its memory back") {
  Dict d(support::unique_name("memory"), options_of());
  Meter meter(d, 500000);
  put_turn(d, 1, "x");
  for (const std::size_t size : {std::size_t{1000}, std::size_t{100000}, std::size_t{480000}}) {
    REQUIRE(shmd_begin(d, SHMD_FOREVER) == 0);
    for (std::uint64_t k = 0; k < 100000000 / (size * 4); ++k) put_turn(d, k, value_of(k, 0, size));
    REQUIRE(shmd_abort(d) == 0);
    meter.sample();
  }
  REQUIRE(get_key(d, 1, 10) == "x");
  meter.finish("aborted transactions of 25 MB");
}

// Guard: the redo list gives memory beyond its first chunk back after a large commit (redo.c).
TEST_CASE("a transaction over many keys leaves no large redo list behind") {
  auto o = options_of();
  o.max_size = 4096 * MiB;
  Dict d(support::unique_name("memory"), o);
  Meter meter(d, 64);
  const auto before = d.stat().memory;
  REQUIRE(shmd_begin(d, SHMD_FOREVER) == 0);
  for (std::uint64_t round = 0; round < 100000; ++round) {
    const std::uint64_t k = round % 50000;
    put_turn(d, k, value_of(k, round / 50000, 8));
  }
  REQUIRE(shmd_commit(d) == 0);
  REQUIRE(shmd_clear(d, shmd_root(), nullptr) == 0);
  REQUIRE(shmd_compact(d) == 0);
  meter.sample();
  REQUIRE(meter.used() < before + 3 * MiB);
  meter.finish("a transaction over 50,000 keys");
}

// Guard: merges and shrinking of arrays (index.c), sparse index segments (reclaim.c blocks_step).
TEST_CASE("growing, and shrinking by erasing, stays within the bound") {
  for (const std::size_t size : {std::size_t{8}, std::size_t{300}}) {
    Dict d(support::unique_name("memory"), options_of());
    Meter meter(d, size + 48);
    const std::uint64_t keys = 200000 / slow;
    std::mt19937_64 rng(7);
    std::vector<std::uint64_t> order(keys);
    for (std::uint64_t k = 0; k < keys; ++k) order[k] = k;
    for (int round = 0; round < 2; ++round) {
      for (std::uint64_t k = 0; k < keys; ++k) {
        put_turn(d, k, value_of(k, 1, size));
        if (k % 1000 == 0) meter.sample();
      }
      std::shuffle(order.begin(), order.end(), rng);
      for (std::uint64_t i = 0; i < keys; ++i) { // to a tenth, then to nothing
        if (i == keys / 10 * 9) {
          for (std::uint64_t n = i; n < keys; n += 7)
            REQUIRE(get_key(d, order[n], size) == value_of(order[n], 1, size));
        }
        REQUIRE(shmd_erase(d, shmd_root(), &order[i], 8) == 0);
        if (i % 500 == 0) meter.sample();
      }
      meter.sample();
      REQUIRE(d.count() == 0);
    }
    meter.finish("grown and shrunk");
    REQUIRE(d.stat().index_bytes < 65536);
  }
}

// Guard: shmd_dict_drain: clear() itself gives memory back, with other processes attached and idle.
TEST_CASE("clear gives memory back while another process sits idle") {
  Dict d(support::unique_name("memory"), options_of());
  support::Shared<std::atomic<int>> state;
  support::Child idle([&] {
    support::Handle h(d.name(), options_of());
    std::uint64_t key = 1, value = 0;
    std::size_t size;
    *state = 1;
    while (*state != 2) usleep(1000);
    (void)shmd_get(h, shmd_root(), &key, 8, &value, 8, &size); // has read, and has written
    support::must(support::put(h, "by the idle one", 1), "put");
    *state = 3;
    for (;;) pause();
    return 0;
  });
  REQUIRE(support::eventually([&] { return *state == 1; }));
  Meter meter(d, 1048);
  for (std::uint64_t k = 0; k < 40000; ++k) put_turn(d, k, value_of(k, 0, 1000));
  *state = 2;
  REQUIRE(support::eventually([&] { return *state == 3; }));
  REQUIRE(meter.used() > 40 * MiB);
  const auto moved = d.stat().cleaned_bytes;
  REQUIRE(shmd_clear(d, shmd_root(), nullptr) == 0);
  meter.sample();                                // at once, without a further write
  REQUIRE(d.stat().cleaned_bytes - moved < MiB); // nothing was moved that was about to die (shmd_reclaim_removed)
  REQUIRE(meter.used() < 6 * MiB);
  for (std::uint64_t k = 0; k < 1000; ++k) put_turn(d, k, value_of(k, 1, 1000));
  meter.sample();
  meter.finish("cleared");
}

// Guard: shmd_segment_return_memory punches every free segment, whatever `allocated` says.
TEST_CASE("what goes back to the system is counted") {
  Dict d(support::unique_name("memory"), options_of());
  CHECK(d.stat().punched_bytes == 0);
  for (std::uint64_t k = 0; k < 20000; ++k) put_turn(d, k, value_of(k, 0, 1000));
  const auto full = d.stat();
  support::must(shmd_clear(d, shmd_root(), nullptr), "clear");
  support::must(shmd_compact(d), "compact");
  const auto empty = d.stat();
  REQUIRE(full.memory > empty.memory + 15 * MiB);
  const auto returned = empty.punched_bytes - full.punched_bytes;
  CHECK(returned >= full.memory - empty.memory - 64 * 1024);
  CHECK(returned <= full.memory + MiB); // and what compacting took for itself
}

TEST_CASE("compact takes back the pages that late readers have faulted in") {
  Dict d(support::unique_name("memory"), options_of(65536, 64 * MiB));
  Meter meter(d, 1048);
  for (std::uint64_t k = 0; k < 40000; ++k) put_turn(d, k, value_of(k, 0, 1000));
  for (std::uint64_t k = 0; k < 40000; ++k)
    if (k % 4000 != 0) support::must(shmd_erase(d, shmd_root(), &k, 8), "erase");
  REQUIRE(shmd_compact(d) == 0);
  const auto before = meter.used();
  REQUIRE(before < 4 * MiB);
  const auto* base = static_cast<const shmd_dict*>(d)->attachment->reader.base;
  for (std::uint64_t at = 20 * MiB; at < 60 * MiB; at += 4096) // as one that was stopped before its next load
    static_cast<void>(*static_cast<const volatile unsigned char*>(base + at));
  REQUIRE(meter.used() > 20 * MiB);
  REQUIRE(shmd_compact(d) == 0);
  REQUIRE(meter.used() <= before + 65536);
  for (std::uint64_t k = 0; k < 40000; k += 4000) REQUIRE(get_key(d, k, 1000) == value_of(k, 0, 1000));
  meter.sample();
  meter.finish("after late readers");
}

// Guard: sweep_step and node reuse.
TEST_CASE("nested trees created and replaced stay within the bound") {
  Dict d(support::unique_name("memory"), options_of());
  Meter meter(d, 200);
  std::mt19937_64 rng(9);
  for (int round = 0; round < 20000; ++round) {
    const std::string name = "tree" + std::to_string(rng() % 100);
    const auto top = d.child(name, shmd_root(), SHMD_NODE_CREATE | SHMD_NODE_REPLACE);
    for (int b = 0; b < 3; ++b) {
      const auto branch = d.child("branch" + std::to_string(b), top);
      for (int i = 0; i < 4; ++i) d.put("leaf" + std::to_string(i), std::to_string(round), branch);
    }
    if (round % 50 == 0) meter.sample();
  }
  meter.sample();
  const auto s = d.stat();
  REQUIRE(s.nodes <= 100 * 4 + 200);
  REQUIRE(d.count() == 100);
  for (int t = 0; t < 100; ++t) {
    const auto top = d.child("tree" + std::to_string(t), shmd_root(), 0);
    REQUIRE(d.count(top) == 3);
    const auto round = d.get("leaf0", d.child("branch0", top, 0));
    for (int b = 0; b < 3; ++b)
      for (int i = 0; i < 4; ++i)
        REQUIRE(d.get("leaf" + std::to_string(i), d.child("branch" + std::to_string(b), top, 0)) == round);
  }
  meter.finish("trees replaced");
}

// Guard: SHMD_ARRAY_MIN_LOG2 and SHMD_BLOCK_MIN: a small dict's index is one small block.
TEST_CASE("a nested dict of three small keys costs less than 1 KiB") {
  Dict d(support::unique_name("memory"), options_of());
  const auto fill = [&](int from, int to) {
    for (int n = from; n < to; ++n) {
      const auto child = d.child("dict" + std::to_string(n));
      for (int i = 0; i < 3; ++i) d.put("key" + std::to_string(i), std::to_string(n + i), child);
    }
  };
  fill(0, 50);
  const auto before = d.stat();
  fill(50, 4050);
  const auto after = d.stat();
  const auto bytes =
      (after.live_bytes - before.live_bytes) + (after.index_bytes - before.index_bytes) + std::uint64_t{4000} * 64;
  std::printf("a nested dict of 3 keys: %llu bytes accounted, %llu of memory\n",
              static_cast<unsigned long long>(bytes / 4000),
              static_cast<unsigned long long>((after.memory - before.memory) / 4000));
  REQUIRE(bytes / 4000 < 1024);
  REQUIRE((after.memory - before.memory) / 4000 < 1024);
  REQUIRE(after.nodes - before.nodes == 4000);
  REQUIRE(d.check().empty());
}

// Guard: drop_pin (snapshot.c) raises pin_version, shmd_pin_oldest sees the pin gone, the cleaner goes on.
TEST_CASE("memory comes back after a snapshot held during heavy writing") {
  Dict d(support::unique_name("memory"), options_of());
  Meter meter(d, 248);
  const std::uint64_t keys = 20000;
  for (std::uint64_t k = 0; k < keys; ++k) put_turn(d, k, value_of(k, 0, 200));
  for (const bool compact : {false, true}) {
    std::uint64_t turn = compact ? 100 : 1;
    shmd_snapshot* s = nullptr;
    REQUIRE(shmd_snapshot_open(d, &s) == 0);
    const std::uint64_t first = compact ? 60 : 0;
    for (int round = 0; round < 10; ++round, ++turn)
      for (std::uint64_t k = 0; k < keys; ++k) put_turn(d, k, value_of(k, turn, 200));
    REQUIRE(meter.used() > 40 * MiB); // it does hold old versions back
    for (std::uint64_t k = 0; k < keys; k += 37) {
      std::string v(200, '\0');
      std::size_t size = 0;
      REQUIRE(shmd_snapshot_get(s, shmd_root(), &k, 8, v.data(), v.size(), &size) == 0);
      REQUIRE(v == value_of(k, first, 200));
    }
    shmd_snapshot_close(s);
    if (compact) {
      REQUIRE(shmd_compact(d) == 0);
    } else { // as many bytes as were held back
      for (turn = 51; turn < 61; ++turn)
        for (std::uint64_t k = 0; k < keys; ++k) put_turn(d, k, value_of(k, turn, 200));
    }
    meter.sample();
  }
  meter.finish("after a snapshot");
}

// Guard: choose_victim finds segments that no pin needs although others are pinned.
TEST_CASE("snapshots taken one after another do not hold the cleaner up") {
  Dict d(support::unique_name("memory"), options_of());
  Meter meter(d, 248);
  const std::uint64_t keys = 50000;
  std::mt19937_64 rng(11);
  for (std::uint64_t k = 0; k < keys; ++k) put_turn(d, k, value_of(k, 0, 200));
  shmd_snapshot* held = nullptr;
  REQUIRE(shmd_snapshot_open(d, &held) == 0);
  for (std::uint64_t turn = 1; turn <= 600 / slow; ++turn) {
    shmd_snapshot* next = nullptr; // there is always one, at most 4,000 writes old
    REQUIRE(shmd_snapshot_open(d, &next) == 0);
    shmd_snapshot_close(held);
    held = next;
    for (int i = 0; i < 2000; ++i) {
      const std::uint64_t k = rng() % keys;
      put_turn(d, k, value_of(k, turn, 200));
    }
    meter.sample(4000 * 248 + 256 * 1024 * 8);
  }
  shmd_snapshot_close(held);
  meter.finish("under successive snapshots");
}

// Guard: choose_victim goes on where it stopped (victim_from, reclaim.c), past segments that the pin keeps.
TEST_CASE("under an old snapshot, what no pin needs is cleaned, however many pinned segments stand before it") {
  auto o = options_of();
  o.buffer_size = 65536;
  Dict d(support::unique_name("memory"), o);
  Meter meter(d, 1048);
  const std::uint64_t kept = 130000, garbage = 15000, other = std::uint64_t{1} << 32;
  const auto erase = [&](std::uint64_t k) { support::must(shmd_erase(d, shmd_root(), &k, 8), "erase"); };
  for (std::uint64_t k = 0; k < kept; ++k) put_turn(d, k, value_of(k, 0, 1000));
  for (std::uint64_t k = 0; k < garbage; ++k) put_turn(d, other + k, value_of(k, 0, 1000));
  for (std::uint64_t k = 0; k < garbage; ++k) // dead before the snapshot, too little to be cleaned yet
    if (k % 20 != 0) erase(other + k);
  shmd_snapshot* s = nullptr;
  REQUIRE(shmd_snapshot_open(d, &s) == 0);
  for (std::uint64_t k = garbage - 2600; k < garbage; ++k) // the first ten of the sparsest list: pinned from here on
    if (k % 40 == 0) erase(other + k);
  for (std::uint64_t round = 0; round < 17500; ++round) put_turn(d, other, value_of(0, round, 1000)); // it grows old
  meter.sample(held_by_pins(d));
  for (std::uint64_t k = 0; k < kept; ++k) {
    if (k % 100 != 0) erase(k);
    if (k % 50 == 1) meter.sample(held_by_pins(d));
  }
  shmd_snapshot_close(s);
  REQUIRE(shmd_compact(d) == 0);
  meter.sample();
  meter.finish("under an old snapshot");
}

constexpr std::uint64_t erased = 100000 / slow; // keys of 1 KB

// Writes them; half stays if `half`.
void put_many(Dict& d) {
  for (std::uint64_t k = 0; k < erased; ++k) put_turn(d, k, value_of(k, 0, 1000));
}
void erase_many(Dict& d, bool half) {
  for (std::uint64_t k = 0; k < erased; ++k)
    if (!half || k % 2 == 0) support::must(shmd_erase(d, shmd_root(), &k, sizeof k), "erase");
}
void small_writes(Dict& d, std::uint64_t number) {
  for (std::uint64_t i = 0; i < number; ++i) put_turn(d, erased + i % 10, value_of(i, 1, 8));
}

// Guard: shmd_dict_catch_up in shmd_snapshot_close and shmd_view_close: nobody writes afterwards, and nobody compacts.
TEST_CASE("closing the last snapshot or view gives back what it kept, before anybody writes") {
  for (const bool half : {false, true}) {
    for (const bool view : {false, true}) {
      Dict d(support::unique_name("memory"), options_of());
      Meter meter(d, 1048);
      put_many(d);
      shmd_snapshot *older = nullptr, *younger = nullptr;
      shmd_view kept{};
      const std::uint64_t key = 1;
      if (view) REQUIRE(shmd_view_open(d, shmd_root(), &key, sizeof key, &kept) == 0);
      if (!view) REQUIRE(shmd_snapshot_open(d, &older) == 0);
      REQUIRE(shmd_snapshot_open(d, &younger) == 0);
      erase_many(d, half);
      const auto held = meter.used();
      shmd_snapshot_close(younger); // the older one keeps everything
      REQUIRE(meter.used() == held);
      if (view) shmd_view_close(d, &kept);
      shmd_snapshot_close(older);
      REQUIRE(d.stat().oldest_pin == UINT64_MAX);
      meter.sample();
      if (!half) REQUIRE(meter.used() < 12 * MiB);
      small_writes(d, 1000);
      meter.sample();
      for (std::uint64_t k = 1; half && k < erased; k += 2) REQUIRE(get_key(d, k, 1000) == value_of(k, 0, 1000));
      meter.finish(view ? "after a view was closed" : "after a snapshot was closed");
    }
  }
}

// Guard: the same; a removed dict counts as live until it is swept, which its remover could not do.
TEST_CASE("closing the last snapshot gives back the dicts that were removed under it") {
  Dict d(support::unique_name("memory"), options_of());
  Meter meter(d, 1048);
  const auto inner = d.child("inner");
  for (std::uint64_t k = 0; k < erased; ++k) {
    const auto value = value_of(k, 0, 1000);
    support::must(shmd_put(d, inner, &k, sizeof k, value.data(), value.size(), 0), "put");
  }
  shmd_snapshot* s = nullptr;
  REQUIRE(shmd_snapshot_open(d, &s) == 0);
  d.erase("inner");
  REQUIRE(meter.used() > erased * 1000);
  shmd_snapshot_close(s);
  REQUIRE(meter.used() < 12 * MiB);
  meter.sample();
  meter.finish("a dict removed under a snapshot");
}

// Guard: shmd_reclaim_behind, by which each write takes a step, however few bytes it appends.
TEST_CASE("after the holder of a snapshot was killed, writes give back what it kept") {
  Dict d(support::unique_name("memory"), options_of());
  Meter meter(d, 1048);
  put_many(d);
  support::Shared<std::atomic<int>> state;
  support::Child holder([&] {
    support::Handle h(d.name(), options_of());
    shmd_snapshot* s = nullptr;
    support::must(shmd_snapshot_open(h, &s), "snapshot");
    *state = 1;
    for (;;) pause();
    return 0;
  });
  REQUIRE(support::eventually([&] { return *state == 1; }));
  erase_many(d, false);
  REQUIRE(meter.used() > erased * 1000);
  holder.end(SIGKILL);
  small_writes(d, 8000); // until it is noticed a segment is written, 256 KiB
  meter.sample();
  REQUIRE(meter.used() < 12 * MiB);
  meter.finish("after a snapshot's holder was killed");
}

// Guard: the same, where closing cannot: shmd_dict_catch_up gives the lock away between its units, which a section must not.
TEST_CASE("after a snapshot was closed inside a section, writes give back what it kept") {
  Dict d(support::unique_name("memory"), options_of());
  Meter meter(d, 1048);
  put_many(d);
  shmd_snapshot* s = nullptr;
  REQUIRE(shmd_snapshot_open(d, &s) == 0);
  erase_many(d, false);
  REQUIRE(shmd_lock(d, SHMD_FOREVER) == 0);
  shmd_snapshot_close(s);
  REQUIRE(meter.used() > erased * 1000);
  REQUIRE(shmd_unlock(d) == 0);
  small_writes(d, 2000);
  meter.sample();
  REQUIRE(meter.used() < 12 * MiB);
  meter.finish("a snapshot closed inside a section");
}

// Guard: WAIT_FOR_UNIT in shmd_dict_catch_up: closing is no write, and waits for no section.
TEST_CASE("closing a snapshot does not wait for another process's section") {
  auto o = options_of();
  o.timeout = INT64_MAX; // a write would wait for ever
  Dict d(support::unique_name("memory"), o);
  put_many(d);
  shmd_snapshot* s = nullptr;
  REQUIRE(shmd_snapshot_open(d, &s) == 0);
  erase_many(d, false);
  support::Shared<std::atomic<int>> state;
  support::Child holder([&] {
    support::Handle h(d.name(), options_of());
    support::must(shmd_lock(h, SHMD_FOREVER), "lock");
    *state = 1;
    while (*state == 1) usleep(1000);
    return 0;
  });
  REQUIRE(support::eventually([&] { return *state == 1; }));
  shmd_snapshot_close(s);
  REQUIRE(*state == 1);
  *state = 2;
  REQUIRE(holder.join() == 0);
  small_writes(d, 2000);
  Meter meter(d, 1048);
  meter.sample();
  meter.finish("a snapshot closed beside a section");
}

// Guard: shmd_dict_drain goes on until what the removal left sparse is cleaned, too.
TEST_CASE("erasing one of two interleaved subtrees gives its memory back at once") {
  Dict d(support::unique_name("memory"), options_of());
  Meter meter(d, 348);
  const auto one = d.child("one"), two = d.child("two");
  for (std::uint64_t k = 0; k < 100000; ++k)
    for (const auto node : {one, two, two, two}) {
      const auto value = value_of(k, node.id, 300);
      const std::uint64_t key = k + (node.id == one.id ? 0 : (k % 3) << 32);
      support::must(shmd_put(d, node, &key, sizeof key, value.data(), value.size(), 0), "put");
    }
  meter.sample();
  d.erase("two");
  meter.sample();
  REQUIRE(d.count(one) == 100000);
  meter.finish("one of two subtrees erased");
}

// Guard: shmd_reclaim_blame names the holder of the oldest pin; pins do not stop writers before max_size.
TEST_CASE("a stopped process with a snapshot stops nobody's writes until max_size, and the error names it") {
  Dict d(support::unique_name("memory"), options_of(0, 48 * MiB));
  for (std::uint64_t k = 0; k < 1000; ++k) put_turn(d, k, value_of(k, 0, 1000));
  support::Shared<std::atomic<int>> state;
  support::Child holder([&] {
    support::Handle h(d.name(), options_of());
    shmd_snapshot* s = nullptr;
    support::must(shmd_snapshot_open(h, &s), "snapshot");
    *state = 1;
    for (;;) pause();
    return 0;
  });
  REQUIRE(support::eventually([&] { return *state == 1; }));
  holder.signal(SIGSTOP);
  std::uint64_t written = 0, turn = 1, last = 0;
  int result = 0;
  for (; result == 0 && turn < 200; ++turn) {
    for (std::uint64_t k = 0; k < 1000 && result == 0; ++k) {
      const auto value = value_of(k, turn, 1000);
      result = shmd_put(d, shmd_root(), &k, 8, value.data(), value.size(), 0);
      if (result == 0) written += value.size();
      if (result == 0) last = k;
    }
  }
  CAPTURE(written, turn);
  REQUIRE(result == SHMD_ERR_NO_SPACE);
  REQUIRE(shmd_last_error()->pid == holder.pid());
  REQUIRE_THAT(shmd_last_error()->message, support::contains(std::to_string(holder.pid())));
  REQUIRE(written > 30 * MiB); // most of max_size was used first
  for (std::uint64_t k = 0; k < 1000; ++k)
    REQUIRE(get_key(d, k, 1000) == value_of(k, k <= last ? turn - 1 : turn - 2, 1000));
  // Killed, it is noticed, and writing goes on.
  holder.end(SIGKILL);
  for (std::uint64_t k = 0; k < 1000; ++k) put_turn(d, k, value_of(k, 999, 1000));
  Meter meter(d, 1048);
  for (int round = 0; round < 40; ++round)
    for (std::uint64_t k = 0; k < 1000; ++k) put_turn(d, k, value_of(k, 1000, 1000));
  meter.sample();
  REQUIRE(d.stat().oldest_pin == UINT64_MAX);
  meter.finish("after a stopped process was killed");
}

// Guard: reads store nothing (read.h): wherever it stands, a stopped reader holds neither the lock nor old data, which pins
// (a snapshot instead of the get) would do. What it copied while its bytes were reused it throws away: `recycle`.
TEST_CASE("a process stopped anywhere in a get keeps nobody's writes waiting and no memory") {
  auto o = options_of();
  o.timeout = 2'000'000'000;
  Dict d(support::unique_name("memory"), o);
  Meter meter(d, 1048);
  for (std::uint64_t k = 0; k < 1000; ++k) put_turn(d, k, value_of(k, 0, 1000));
  support::Shared<std::atomic<std::uint64_t>> gets, end;
  support::Child reader([&] {
    support::Handle h(d.name(), options_of());
    std::string value(1000, '\0');
    for (std::uint64_t k = 0; *end == 0; k = (k + 1) % 1000) {
      std::size_t size = 0;
      if (shmd_get(h, shmd_root(), &k, sizeof k, value.data(), value.size(), &size) != 0 || size != 1000) return 1;
      std::uint64_t turn = 0; // its first bytes tell which it is
      for (std::uint64_t t = 0; t < 1000 && turn == 0; ++t)
        if (value_of(k, t, 8) == value.substr(0, 8)) turn = t + 1;
      if (turn == 0 || value_of(k, turn - 1, 1000) != value) return 2;
      ++*gets;
    }
    return 0;
  });
  std::mt19937_64 rng(7);
  std::uint64_t turn = 0;
  for (int round = 0; round < static_cast<int>(24 / slow); ++round) {
    const std::uint64_t before = *gets;
    REQUIRE(support::eventually([&] { return *gets > before; }));
    std::this_thread::sleep_for(std::chrono::microseconds(rng() % 3000));
    reader.signal(SIGSTOP);
    for (int i = 0; i < 10; ++i, ++turn)
      for (std::uint64_t k = 0; k < 1000; ++k) put_turn(d, k, value_of(k, turn, 1000));
    meter.sample();
    reader.signal(SIGCONT);
  }
  *end = 1;
  REQUIRE(reader.join() == 0);
  REQUIRE(d.stat().oldest_pin == UINT64_MAX);
  meter.finish("beside a reader stopped again and again");
}

// Guard: shmd_reclaim_look_at_pins (shmd_slot_alive): a dead process's pin does not stay.
TEST_CASE("the pin of a killed process is noticed by later writes") {
  Dict d(support::unique_name("memory"), options_of());
  Meter meter(d, 1048);
  support::Shared<std::atomic<int>> state;
  for (std::uint64_t k = 0; k < 1000; ++k) put_turn(d, k, value_of(k, 0, 1000));
  {
    support::Child holder([&] {
      support::Handle h(d.name(), options_of());
      shmd_snapshot* s = nullptr;
      support::must(shmd_snapshot_open(h, &s), "snapshot");
      *state = 1;
      for (;;) pause();
      return 0;
    });
    REQUIRE(support::eventually([&] { return *state == 1; }));
    put_turn(d, 1, value_of(1, 1, 1000));
    REQUIRE(d.stat().oldest_pin_pid == holder.pid());
  }
  for (int round = 0; round < 30; ++round)
    for (std::uint64_t k = 0; k < 1000; ++k) put_turn(d, k, value_of(k, 2, 1000));
  REQUIRE(d.stat().oldest_pin == UINT64_MAX);
  meter.sample();
  meter.finish("after a pin's holder was killed");
}

// Guard: control.floor, raised by shmd_reclaim_look_at_pins beyond max_pin_bytes, looked at by shmd_snapshot_valid.
TEST_CASE("a snapshot that holds back more than max_pin_bytes is revoked") {
  auto o = options_of();
  o.max_pin_bytes = 8 * MiB;
  Dict d(support::unique_name("memory"), o);
  Meter meter(d, 1048);
  for (std::uint64_t k = 0; k < 1000; ++k) put_turn(d, k, value_of(k, 0, 1000));
  shmd_snapshot* old = nullptr;
  shmd_snapshot* young = nullptr;
  REQUIRE(shmd_snapshot_open(d, &old) == 0);
  std::uint64_t turn = 1, written = 0, seen = 0;
  std::string v(1000, '\0');
  std::size_t size = 0;
  int result = 0;
  for (; result == 0 && turn < 40; ++turn) {
    for (std::uint64_t k = 0; k < 1000; ++k) put_turn(d, k, value_of(k, turn, 1000));
    written += std::uint64_t{1000} * 1048;
    meter.sample(9 * MiB);
    if (young == nullptr && written > 5 * MiB) {
      REQUIRE(shmd_snapshot_open(d, &young) == 0);
      seen = turn;
    }
    const std::uint64_t k = turn;
    result = shmd_snapshot_get(old, shmd_root(), &k, 8, v.data(), v.size(), &size);
    if (result == 0) REQUIRE(v == value_of(k, 0, 1000));
  }
  REQUIRE(result == SHMD_ERR_SNAPSHOT_TOO_OLD);
  REQUIRE_THAT(shmd_last_error()->message, support::contains("max_pin_bytes"));
  REQUIRE(written > 8 * MiB);
  // The same process's younger snapshot is not concerned until it is too old itself.
  for (int round = 0; round < 2; ++round, ++turn) {
    for (std::uint64_t k = 0; k < 1000; ++k) put_turn(d, k, value_of(k, turn, 1000));
    for (std::uint64_t k = 0; k < 1000; ++k) {
      REQUIRE(shmd_snapshot_get(young, shmd_root(), &k, 8, v.data(), v.size(), &size) == 0);
      REQUIRE(v == value_of(k, seen, 1000));
    }
  }
  for (int round = 0; round < 20; ++round, ++turn)
    for (std::uint64_t k = 0; k < 1000; ++k) put_turn(d, k, value_of(k, turn, 1000));
  const std::uint64_t k = 1;
  REQUIRE(shmd_snapshot_get(young, shmd_root(), &k, 8, v.data(), v.size(), &size) == SHMD_ERR_SNAPSHOT_TOO_OLD);
  shmd_iter* it = nullptr;
  shmd_entry e;
  REQUIRE(shmd_iter_open(young, shmd_root(), &it) == 0);
  REQUIRE(shmd_iter_next(it, &e) == SHMD_ERR_SNAPSHOT_TOO_OLD);
  shmd_iter_close(it);
  meter.sample(9 * MiB);
  shmd_snapshot_close(old);
  shmd_snapshot_close(young);
  for (int round = 0; round < 10; ++round, ++turn)
    for (std::uint64_t n = 0; n < 1000; ++n) put_turn(d, n, value_of(n, turn, 1000));
  meter.sample();
  meter.finish("after snapshots were revoked");
}

// Guard: the low bit of a pin (never revoked): views keep their bytes.
TEST_CASE("a view is never revoked, and its bytes stay") {
  auto o = options_of();
  o.max_pin_bytes = 2 * MiB;
  Dict d(support::unique_name("memory"), o);
  for (std::uint64_t k = 0; k < 1000; ++k) put_turn(d, k, value_of(k, 0, 1000));
  const std::uint64_t key = 17;
  shmd_view view;
  REQUIRE(shmd_view_open(d, shmd_root(), &key, 8, &view) == 0);
  for (std::uint64_t turn = 1; turn < 20; ++turn)
    for (std::uint64_t k = 0; k < 1000; ++k) put_turn(d, k, value_of(k, turn, 1000));
  REQUIRE(std::string(static_cast<const char*>(view.data), view.size) == value_of(17, 0, 1000));
  shmd_view_close(d, &view);
  for (std::uint64_t turn = 20; turn < 40; ++turn)
    for (std::uint64_t k = 0; k < 1000; ++k) put_turn(d, k, value_of(k, turn, 1000));
  Meter meter(d, 1048);
  meter.sample();
  meter.finish("after a view");
}
