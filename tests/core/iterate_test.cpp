// SPDX-License-Identifier: Apache-2.0
// Iteration of a snapshot while its arrays split, merge and move under it.
// Guards: the recycle counter in holds() (iterate.c), without which what was looked at ahead for the next batch is read from
// memory that has become something else; the older versions that look() asks for.
#include <cstring>
#include <map>
#include <random>
#include <string>

#include "support/catch.hpp"
#include "support/dict.hpp"

using support::Dict;

namespace {

using Key = std::uint64_t;
using Model = std::map<Key, std::string>;

void put(shmd_dict* d, Key key, const std::string& value) {
  support::must(shmd_put(d, shmd_root(), &key, sizeof key, value.data(), value.size(), 0), "put");
}

// Most values are a word, some are longer, and now and then so long that a batch is not a whole array.
std::string value_of(std::uint64_t number, bool long_ones) {
  std::string value(8, '\0');
  std::memcpy(value.data(), &number, sizeof number);
  if (long_ones && number % 16 == 0) value.resize(number % 512 == 0 ? 20000 : 60, 'v');
  return value;
}

// Iterates over `keys` entries; between two of them some keys are written and erased, and at times memory is given back.
void run(Key keys, bool long_ones, unsigned writes, std::uint64_t seed) {
  CAPTURE(keys, long_ones, writes);
  auto options = support::small_options(std::uint64_t{512} << 20);
  options.segment_size = 65536;
  options.buffer_size = 65536;
  Dict d(support::unique_name("iterate"), options);
  std::mt19937_64 rng(seed);
  Model model;
  for (Key key = 0; key < keys; ++key) put(d, key, model[key] = value_of(rng() >> 8, long_ones));
  shmd_snapshot* s = nullptr;
  shmd_iter* it = nullptr;
  support::must(shmd_snapshot_open(d, &s), "snapshot_open");
  support::must(shmd_iter_open(s, shmd_root(), &it), "iter_open");
  shmd_entry e;
  std::uint64_t given = 0;
  int result;
  while ((result = support::must(shmd_iter_next(it, &e), "iter_next")) == SHMD_OK) {
    Key key = 0;
    REQUIRE(e.key_size == sizeof key);
    std::memcpy(&key, e.key, sizeof key);
    const auto found = model.find(key);
    REQUIRE(found != model.end());
    REQUIRE(std::string(static_cast<const char*>(e.value), e.value_size) == found->second);
    model.erase(found); // each once
    ++given;
    const bool grows = given % keys < keys / 2;
    for (unsigned i = 0; i < writes; ++i) {
      key = rng() % (4 * keys);
      if (grows)
        put(d, key, value_of(rng() >> 8, long_ones));
      else
        support::must(shmd_erase(d, shmd_root(), &key, sizeof key), "erase");
    }
    if (given % 512 == 0) support::must(shmd_compact(d), "compact");
  }
  CHECK(result == SHMD_END);
  CHECK(model.empty());
  shmd_iter_close(it);
  shmd_snapshot_close(s);
  CHECK(d.check().empty());
}

} // namespace

TEST_CASE("a snapshot's entries come once each, as they were, whatever is written between two of them") {
  for (const bool long_ones : {false, true}) {
    run(300, long_ones, 8, 1);
    run(5000, long_ones, 1, 2);
    run(5000, long_ones, 12, 3);
  }
}

TEST_CASE("an iteration that nobody disturbs gives all, of any size") {
  for (const Key keys : {0, 1, 2, 31, 32, 33, 63, 64, 65, 511, 512, 513, 4000}) run(keys, keys % 2 == 0, 0, keys);
}
