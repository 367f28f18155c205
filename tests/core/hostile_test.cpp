// SPDX-License-Identifier: Apache-2.0
// A corrupt or hostile object gives errors or values, never a crash, a read out of bounds, or an endless loop: through
// read-only and writable handles. Words of the superblock, control block, tables, index blocks, records and the redo list
// are spoiled, one to a few at a time; children with an alarm do the reading, so that a crash or hang is one of theirs.
// What guards it: shmd_tx_in_bounds and shmd_tx_astray (redo.h), the checks of read.h before each offset is followed,
// apply_pass's bounds (redo.c), check_block (check_tree.c), and the bound of every loop over shared links.
#include "hostile.hpp"

#include <functional>
#include <memory>

#include "support/catch.hpp"
#include "support/process.hpp"

namespace {

struct Progress {
  std::atomic<std::uint64_t> seed{0};
  std::atomic<std::uint64_t> guarded{0};
};

// A word that makes trouble: bits flipped, numbers near bounds, other words of the object.
std::uint64_t spoiled(const hostile::Object& object, std::uint64_t word, std::mt19937_64& rng) {
  const auto& words = object.words();
  switch (rng() % 10) {
    case 0:
    case 1:
      return word ^ std::uint64_t{1} << (rng() % 64);
    case 2:
      return word + (rng() % 65 - 32) * 8;
    case 3:
      return object.load(words[rng() % words.size()]);
    case 4:
      return (word & 0xffff000000000000u) | words[rng() % words.size()]; // the same reference, to elsewhere
    case 5:
      return std::uint64_t{1} << (rng() % 64);
    case 6:
      return 0 - (rng() % 3);
    case 7:
    case 8: // a value that ends beyond the object, if this is a record's word of sizes
      return (hostile::object_size - 8 * (rng() % 4)) << 32 | (word & 0xffff);
    default:
      return rng();
  }
}

void spoil(hostile::Object& object, std::uint64_t from, std::uint64_t to, std::mt19937_64& rng) {
  const auto& words = object.words();
  const auto first = std::lower_bound(words.begin(), words.end(), from);
  const auto last = std::lower_bound(words.begin(), words.end(), to);
  if (first == last) throw std::runtime_error("no words in that region");
  for (std::uint64_t n = rng() % 4 + 1; n > 0; --n) {
    const auto at = *(first + static_cast<std::ptrdiff_t>(rng() % static_cast<std::uint64_t>(last - first)));
    object.store(at, spoiled(object, object.load(at), rng));
  }
}

// ThreadSanitizer has nothing to find here, and is slow at mapping: a few rounds show that the test works.
#if defined(__SANITIZE_THREAD__)
constexpr double scale = 0.1;
#elif defined(__SANITIZE_ADDRESS__)
constexpr double scale = 1;
#else
constexpr double scale = 2;
#endif

// The rounds of one region, in children of which each takes a share.
void rounds(const char* region, bool write, std::uint64_t number,
            const std::function<std::pair<std::uint64_t, std::uint64_t>(const shmd_superblock&)>& range) {
  constexpr std::uint64_t share = 250;
  number = static_cast<std::uint64_t>(static_cast<double>(number) * scale);
  support::Shared<Progress> progress;
  for (std::uint64_t first = 0; first < number; first += share) {
    const std::string name = support::unique_name(std::string("hostile.") + region);
    const std::string backup = "/dev/shm/" + name + ".backup";
    support::Child child([&] {
      hostile::Object object(name);
      const auto [from, to] = range(object.super());
      hostile::Guards guards;
      for (std::uint64_t seed = first; seed < std::min(first + share, number); ++seed) {
        progress->seed = seed;
        alarm(120); // a hang is a failure
        std::mt19937_64 rng(seed * 2 + (write ? 1 : 0));
        object.reset();
        shmd_dict* d = nullptr;
        auto o = hostile::options_of(write ? 0 : SHMD_READ_ONLY);
        o.mode = SHMD_OPEN_ONLY;
        std::unique_ptr<hostile::Opened> before; // every other time it is open already
        if (seed % 2 == 1 && shmd_open(name.c_str(), &o, &d) == 0) before = std::make_unique<hostile::Opened>(d);
        spoil(object, from, to, rng);
        if (d == nullptr && shmd_open(name.c_str(), &o, &d) < 0) continue;
        progress->guarded += guards.hold(d);
        if (before) before->use();
        hostile::read_everything(d);
        if (write) {
          hostile::write_everything(d, rng);
          if (before) before->use();
          hostile::read_everything(d);
        }
        if (seed % 8 == 1 && shmd_backup(d, backup.c_str()) == 0) (void)unlink(backup.c_str());
        before.reset();
        (void)shmd_close(d);
      }
      alarm(0);
      return 0;
    });
    const int result = child.join();
    (void)unlink(("/dev/shm/shmdict." + name).c_str());
    INFO("region " << region << (write ? ", writing" : ", reading") << ", seed " << progress->seed.load()
                   << "; minus a signal number: SIGALRM is 14, a hang");
    REQUIRE(result == 0);
  }
  std::printf("%-12s %s: %llu rounds, %llu between guard pages\n", region, write ? "writing" : "reading",
              static_cast<unsigned long long>(number), static_cast<unsigned long long>(progress->guarded.load()));
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) // whose mappings come between
  CHECK(progress->guarded > 0);
#endif
}

using Range = std::pair<std::uint64_t, std::uint64_t>;

Range superblock(const shmd_superblock&) { return {0, 4096}; }
Range control(const shmd_superblock& s) { return {s.control_offset, s.attach_offset}; }
Range attach(const shmd_superblock& s) { return {s.attach_offset, s.redo_offset}; }
Range redo(const shmd_superblock& s) { return {s.redo_offset, s.nodes_offset}; }
Range nodes(const shmd_superblock& s) { return {s.nodes_offset, s.segments_offset}; }
Range segments(const shmd_superblock& s) { return {s.segments_offset, s.data_offset}; }
Range data(const shmd_superblock& s) { return {s.data_offset, s.max_size}; }
Range everything(const shmd_superblock& s) { return {4096, s.max_size}; }

} // namespace

TEST_CASE("reading with a spoiled superblock does no harm") { rounds("superblock", false, 250, superblock); }
TEST_CASE("reading with a spoiled control block does no harm") { rounds("control", false, 500, control); }
TEST_CASE("reading with a spoiled node table does no harm") { rounds("nodes", false, 250, nodes); }
TEST_CASE("reading with a spoiled segment table does no harm") { rounds("segments", false, 500, segments); }
TEST_CASE("reading spoiled index blocks and records does no harm") { rounds("data", false, 750, data); }
TEST_CASE("writing with a spoiled superblock does no harm") { rounds("superblock", true, 250, superblock); }
TEST_CASE("writing with a spoiled control block does no harm") { rounds("control", true, 500, control); }
TEST_CASE("writing with a spoiled attach table does no harm") { rounds("attach", true, 250, attach); }
TEST_CASE("writing with a spoiled redo list does no harm") { rounds("redo", true, 250, redo); }
TEST_CASE("writing with a spoiled node table does no harm") { rounds("nodes", true, 250, nodes); }
TEST_CASE("writing with a spoiled segment table does no harm") { rounds("segments", true, 500, segments); }
TEST_CASE("writing with spoiled index blocks and records does no harm") { rounds("data", true, 500, data); }
TEST_CASE("writing with words spoiled anywhere does no harm") { rounds("anywhere", true, 500, everything); }

// Guard: apply_pass checks every entry, shmd_engine_recover the length.
TEST_CASE("a hostile redo list of a dead owner is applied within bounds or refused") {
  const std::string name = support::unique_name("hostile.owner");
  support::Shared<Progress> progress;
  support::Child child([&] {
    hostile::Object object(name);
    const auto& super = object.super();
    for (std::uint64_t seed = 0; seed < static_cast<std::uint64_t>(150 * scale); ++seed) {
      progress->seed = seed;
      alarm(120);
      std::mt19937_64 rng(seed);
      object.reset();
      const std::uint64_t length = seed % 10 == 0 ? rng() : rng() % 40;
      for (std::uint64_t i = 0; i < std::min<std::uint64_t>(length, 40); ++i) {
        const std::uint64_t where = seed % 3 == 0 ? rng() : object.words()[rng() % object.words().size()] | (rng() & 1);
        object.store(super.redo_offset + 16 * i, where);
        object.store(super.redo_offset + 16 * i + 8, spoiled(object, 0, rng));
      }
      object.store(super.control_offset + offsetof(shmd_control, redo_length), length);
      object.store(super.control_offset,
                   (rng() << 32) | (rng() & 0x60000000u) | (rng() % 8 + 1)); // a slot nobody holds
      shmd_dict* d = nullptr;
      auto o = hostile::options_of();
      o.mode = SHMD_OPEN_ONLY;
      if (shmd_open(name.c_str(), &o, &d) < 0) continue;
      hostile::write_everything(d, rng);
      hostile::read_everything(d);
      (void)shmd_close(d);
    }
    return 0;
  });
  const int result = child.join();
  (void)unlink(("/dev/shm/shmdict." + name).c_str());
  INFO("seed " << progress->seed.load());
  REQUIRE(result == 0);
}

// Guard: freed_first, sweep_step and choose_victim follow a link only to a segment or node of the kind they expect, and
// shmd_dict_drain and shmd_dict_compact take a bounded number of rounds.
TEST_CASE("lists of the writer that lead in a circle do not hang it") {
  const std::string name = support::unique_name("hostile.circle");
  support::Shared<Progress> progress;
  support::Child child([&] {
    hostile::Object object(name);
    const auto& super = object.super();
    const auto control = [&](std::uint64_t field) { return super.control_offset + field; };
    const auto segment = [&](std::uint64_t id, std::uint64_t field) { return super.segments_offset + 64 * id + field; };
    const auto node = [&](std::uint64_t id, std::uint64_t field) { return super.nodes_offset + 64 * id + field; };
    for (std::uint64_t seed = 0; seed < static_cast<std::uint64_t>(100 * scale); ++seed) {
      progress->seed = seed;
      alarm(120);
      std::mt19937_64 rng(seed);
      object.reset();
      const std::uint64_t x = rng() % 12, y = rng() % 12, huge = rng() % 2 ? 1000000000 : UINT64_MAX;
      switch (seed % 5) {
        case 0: // freed queue
          object.store(control(offsetof(shmd_control, freed_head)), x);
          object.store(control(offsetof(shmd_control, freed_tail)), y);
          object.store(control(offsetof(shmd_control, freed_count)), huge);
          object.store(segment(x, offsetof(shmd_segment, next)), y);
          object.store(segment(y, offsetof(shmd_segment, next)), x);
          if (seed % 2) object.store(segment(x, 0), std::uint64_t{1} << 32 | SHMD_SEG_FREED);
          if (seed % 2) object.store(segment(y, 0), std::uint64_t{1} << 32 | SHMD_SEG_FREED);
          break;
        case 1: // sweep queue
          object.store(control(offsetof(shmd_control, sweep_head)), 2 + x % 4);
          object.store(control(offsetof(shmd_control, sweep_tail)), 2 + y % 4);
          object.store(control(offsetof(shmd_control, sweep_count)), huge);
          object.store(node(2 + x % 4, offsetof(shmd_node_entry, next)), 2 + y % 4);
          object.store(node(2 + y % 4, offsetof(shmd_node_entry, next)), 2 + x % 4);
          break;
        case 2: // ghosts
          object.store(control(offsetof(shmd_control, ghost_head)), super.data_offset + 8 * (rng() % 8192));
          object.store(control(offsetof(shmd_control, ghost_position)), 0);
          break;
        case 3: // liveness lists, extents, block lists
          object.store(control(offsetof(shmd_control, buckets) + 8 * (rng() % 8)), x);
          object.store(segment(x, offsetof(shmd_segment, links)), y << 32 | y);
          object.store(segment(y, offsetof(shmd_segment, links)), x << 32 | x);
          object.store(control(offsetof(shmd_control, extents) + 8 * (rng() % 4)), y);
          object.store(control(offsetof(shmd_control, block_lists) + 8 * (rng() % 22)), x);
          object.store(control(offsetof(shmd_control, compact_segment) + 8 * (rng() % 11)), y);
          break;
        default: // the log chain and the warm list
          object.store(control(offsetof(shmd_control, history_tail)), x);
          object.store(segment(x, offsetof(shmd_segment, next)), x);
          object.store(control(offsetof(shmd_control, warm_head)), y);
          object.store(control(offsetof(shmd_control, warm_count)), huge);
          object.store(segment(y, offsetof(shmd_segment, next)), y);
      }
      object.store(control(offsetof(shmd_control, work)), 63);
      shmd_dict* d = nullptr;
      auto o = hostile::options_of();
      o.mode = SHMD_OPEN_ONLY;
      if (shmd_open(name.c_str(), &o, &d) < 0) continue;
      hostile::write_everything(d, rng);
      (void)shmd_erase(d, shmd_root(), "a", 1);
      (void)shmd_clear(d, shmd_root(), nullptr);
      (void)shmd_compact(d);
      hostile::read_everything(d);
      (void)shmd_close(d);
    }
    return 0;
  });
  const int result = child.join();
  (void)unlink(("/dev/shm/shmdict." + name).c_str());
  INFO("seed " << progress->seed.load() << "; minus a signal number: SIGALRM is 14, a hang");
  REQUIRE(result == 0);
}
