// SPDX-License-Identifier: Apache-2.0
// Random operations against a model, with a whole check of the object after every round.
#include <algorithm>
#include <cstring>
#include <map>
#include <random>
#include <unordered_map>

#include "support/catch.hpp"
#include "support/dict.hpp"

using support::Dict;

namespace {

struct Model {
  std::unordered_map<std::string, std::string> values;
};

std::string random_value(std::mt19937_64& rng, std::size_t longest) {
  std::string value(rng() % (longest + 1), '\0');
  for (std::size_t i = 0; i < value.size(); i += 8) {
    const std::uint64_t word = rng();
    std::memcpy(&value[i], &word, std::min<std::size_t>(8, value.size() - i));
  }
  return value;
}

void compare(Dict& d, const Model& model) {
  REQUIRE(d.count() == model.values.size());
  for (const auto& [key, value] : model.values) REQUIRE(d.get(key) == value);
  shmd_snapshot* s = nullptr;
  REQUIRE(shmd_snapshot_open(d, &s) == 0);
  shmd_iter* it = nullptr;
  REQUIRE(shmd_iter_open(s, shmd_root(), &it) == 0);
  shmd_entry e;
  std::size_t seen = 0;
  int result;
  while ((result = shmd_iter_next(it, &e)) == 0) {
    const auto found = model.values.find(std::string(static_cast<const char*>(e.key), e.key_size));
    REQUIRE(found != model.values.end());
    REQUIRE(found->second == std::string(static_cast<const char*>(e.value), e.value_size));
    ++seen;
  }
  REQUIRE(result == SHMD_END);
  REQUIRE(seen == model.values.size());
  shmd_iter_close(it);
  shmd_snapshot_close(s);
}

void run(std::uint64_t seed, std::size_t keys, std::size_t longest, int rounds, int operations, std::uint64_t segment) {
  auto options = support::small_options(std::uint64_t{256} << 20);
  options.segment_size = segment;
  Dict d(support::unique_name("model"), options);
  Model model;
  std::mt19937_64 rng(seed);
  for (int round = 0; round < rounds; ++round) {
    const unsigned erase_share = round % 3 == 2 ? 70 : 20;
    for (int i = 0; i < operations; ++i) {
      const std::string key = "key" + std::to_string(rng() % keys);
      if (rng() % 100 < erase_share) {
        REQUIRE(d.erase(key) == (model.values.erase(key) ? 0 : SHMD_NOT_FOUND));
      } else {
        const auto value = random_value(rng, longest);
        d.put(key, value);
        model.values[key] = value;
      }
    }
    if (round % 5 == 4) {
      REQUIRE(shmd_clear(d, shmd_root(), nullptr) == 0);
      model.values.clear();
    }
    compare(d, model);
    REQUIRE(d.check() == "");
  }
  REQUIRE(shmd_compact(d) == 0);
  REQUIRE(d.check() == "");
  compare(d, model);
}

} // namespace

// Guard: arrays of a few hundred slots: tombstones, splits and merges (index.c); the cleaner moves records (log.c,
// reclaim.c).
TEST_CASE("random operations on small values leave what a model leaves") { run(1, 3000, 40, 12, 8000, 65536); }
// Guard: runs: records longer than half a segment, and the extents that they leave (segment.c).
TEST_CASE("random operations on large values leave what a model leaves") { run(2, 60, 200000, 10, 300, 65536); }
// Guard: directories that grow and shrink (index.c), index segments that are compacted (block.c, reclaim.c).
TEST_CASE("random operations on many keys leave what a model leaves") { run(3, 60000, 16, 8, 60000, 262144); }
