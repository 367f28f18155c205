// SPDX-License-Identifier: Apache-2.0
// shmd_put_many, and transactions of many keys: what they leave, beside a model.
#include <algorithm>
#include <map>
#include <random>

#include "support/catch.hpp"
#include "support/dict.hpp"

using support::Dict;
using support::must;

namespace {

using Model = std::map<std::string, std::string>;
using Batch = std::vector<std::pair<std::string, std::string>>;

std::vector<shmd_pair> pairs_of(const Batch& batch) {
  std::vector<shmd_pair> pairs;
  for (const auto& [key, value] : batch) pairs.push_back({key.data(), key.size(), value.data(), value.size()});
  return pairs;
}

int put_many(Dict& d, const Batch& batch, std::uint32_t flags = 0, shmd_node node = shmd_root()) {
  const auto pairs = pairs_of(batch);
  return shmd_put_many(d, node, pairs.data(), pairs.size(), flags);
}

void take_over(Model& model, const Batch& batch, std::uint32_t flags = 0) {
  for (const auto& [key, value] : batch) {
    if ((flags & SHMD_INSERT_ONLY) && model.count(key) != 0) continue;
    if ((flags & SHMD_REPLACE_ONLY) && model.count(key) == 0) continue;
    model[key] = value;
  }
}

void require_same(Dict& d, const Model& model, shmd_node node = shmd_root()) {
  REQUIRE(d.count(node) == model.size());
  for (const auto& [key, value] : model)
    if (d.get(key, node) != value) FAIL("the value of " << key);
  if (!shmd_in_transaction(d)) REQUIRE(d.check() == "");
}

std::string eight(std::uint64_t n) { return std::string(reinterpret_cast<const char*>(&n), 8); }

// Keys and values of 8 bytes (numbers), and of all lengths; keys come twice now and then.
Batch random_batch(std::mt19937_64& rng, std::size_t count, std::uint64_t keys) {
  Batch batch;
  for (std::size_t i = 0; i < count; ++i) {
    const std::uint64_t k = rng() % keys;
    const std::string key = k % 3 != 0 ? eight(k) : "key of some length " + std::to_string(k);
    batch.emplace_back(key, rng() % 4 != 0 ? eight(rng()) : std::string(rng() % 300, static_cast<char>('a' + k % 26)));
  }
  return batch;
}

shmd_options narrow() {
  shmd_options o = support::small_options();
  o.segment_size = 65536;
  o.buffer_size = 65536;
  return o;
}

} // namespace

// Guards the search for staged slots in batch.c: of a key that comes twice, the first value's record counts as dead.
TEST_CASE("batches leave what the same puts leave, one after the other") {
  std::mt19937_64 rng(1);
  Dict d(support::unique_name("many"), narrow());
  Model model;
  shmd_snapshot* s = nullptr;
  Model seen;
  for (int round = 0; round < 300; ++round) {
    const Batch batch = random_batch(rng, rng() % 700, 4000);
    const std::uint32_t flags = round % 5 == 1 ? SHMD_INSERT_ONLY : round % 5 == 3 ? SHMD_REPLACE_ONLY : 0;
    const bool inside = round % 4 == 2;
    if (inside) must(shmd_begin(d, SHMD_FOREVER), "begin");
    must(put_many(d, batch, flags), "put_many");
    take_over(model, batch, flags);
    if (inside) {
      for (int i = 0; i < 30; ++i) { // among other writes
        const Batch one = random_batch(rng, 1, 4000);
        if (i % 3 == 0) {
          d.erase(one[0].first);
          model.erase(one[0].first);
        } else {
          d.put(one[0].first, one[0].second);
          take_over(model, one);
        }
      }
      must(put_many(d, batch), "put_many again");
      take_over(model, batch);
      if (round % 40 == 2) require_same(d, model); // as this thread sees it before the commit
      must(shmd_commit(d), "commit");
    }
    if (round % 50 == 20) {
      must(shmd_snapshot_open(d, &s), "snapshot");
      seen = model;
    }
    if (round % 50 == 29) { // old versions were kept meanwhile
      for (const auto& [key, value] : seen) {
        std::string buffer(400, '\0');
        std::size_t size = 0;
        must(shmd_snapshot_get(s, shmd_root(), key.data(), key.size(), buffer.data(), buffer.size(), &size), "old");
        if (buffer.substr(0, size) != value) FAIL("the snapshot's value of " << key);
      }
      shmd_snapshot_close(s);
    }
    if (round % 30 == 29) require_same(d, model);
    if (round % 7 == 6) { // room for tombstones
      for (int i = 0; i < 200 && !model.empty(); ++i) {
        d.erase(model.begin()->first);
        model.erase(model.begin());
      }
    }
  }
  require_same(d, model);
}

TEST_CASE("a batch into a nested dict, over nested dicts and with values larger than a segment") {
  Dict d(support::unique_name("many"), narrow());
  const shmd_node node = d.child("de");
  Model model;
  const auto check = [&](const Batch& batch) {
    must(put_many(d, batch, 0, node), "put_many");
    take_over(model, batch);
    require_same(d, model, node);
  };
  check({{"a", "1"}, {"b", std::string(100000, 'x')}, {"a", "2"}, {"", "the empty key"}, {"c", ""}});
  d.child("dict", node);
  d.put("inner", "1", d.child("inner", d.child("dict", node)));
  check(
      {{"dict", "no dict any more"}, {"b", "small"}, {"d", std::string(40000, 'y')}, {"e", std::string(200000, 'z')}});
  REQUIRE(put_many(d, {}, 0, node) == 0);
  d.erase("de");
  REQUIRE(put_many(d, {{"a", "1"}}, 0, node) == SHMD_ERR_REMOVED);
  REQUIRE(d.count() == 0);
}

TEST_CASE("flags say which pairs of a batch are left out") {
  Dict d(support::unique_name("many"));
  d.put("a", "1");
  CHECK(put_many(d, {{"a", "2"}, {"b", "2"}}, SHMD_INSERT_ONLY) == SHMD_EXISTS);
  CHECK(d.get("a") == "1");
  CHECK(d.get("b") == "2");
  CHECK(put_many(d, {{"c", "3"}, {"b", "3"}}, SHMD_REPLACE_ONLY) == SHMD_NOT_FOUND);
  CHECK(d.get("b") == "3");
  CHECK(d.count() == 2);
  CHECK(put_many(d, {{"d", "4"}, {"e", "4"}}, SHMD_INSERT_ONLY) == 0);
}

TEST_CASE("a batch with one pair that cannot be stored changes nothing and names it") {
  Dict d(support::unique_name("many"));
  d.put("a", "1");
  const std::string long_key(70000, 'k');
  CHECK(put_many(d, {{"a", "2"}, {"b", "2"}, {long_key, ""}}) == SHMD_ERR_KEY_TOO_LONG);
  CHECK(std::string(shmd_last_error()->message).find("pair 2 ") != std::string::npos);
  const shmd_pair wrong[] = {{"a", 1, "2", 1}, {nullptr, 3, "x", 1}, {"c", 1, nullptr, 4}};
  CHECK(shmd_put_many(d, shmd_root(), wrong, 2, 0) == SHMD_ERR_INVALID_ARGUMENT);
  CHECK(std::string(shmd_last_error()->message).find("the key of pair 1 ") != std::string::npos);
  CHECK(shmd_put_many(d, shmd_root(), wrong + 2, 1, 0) == SHMD_ERR_INVALID_ARGUMENT);
  CHECK(std::string(shmd_last_error()->message).find("the value of pair 0 ") != std::string::npos);
  const shmd_pair longer[] = {{"a", 1, "2", 1}, {"b", 1, "x", std::size_t{1} << 40}};
  CHECK(shmd_put_many(d, shmd_root(), longer, 2, 0) == SHMD_ERR_VALUE_TOO_LONG);
  CHECK(shmd_put_many(d, shmd_root(), nullptr, 1, 0) == SHMD_ERR_INVALID_ARGUMENT);
  CHECK(shmd_put_many(d, shmd_root(), wrong, 1, 4) == SHMD_ERR_INVALID_ARGUMENT);
  CHECK(shmd_put_many(nullptr, shmd_root(), wrong, 1, 0) == SHMD_ERR_CLOSED);
  CHECK(d.get("a") == "1");
  CHECK(d.count() == 1);
}

TEST_CASE("a batch for which there is no room changes nothing, and the next one finds it") {
  Dict d(support::unique_name("many"), support::small_options(std::uint64_t{8} << 20));
  Model model;
  Batch batch;
  for (std::uint64_t i = 0; i < 20000; ++i) batch.emplace_back(eight(i), std::string(40, 'a'));
  must(put_many(d, batch), "put_many");
  take_over(model, batch);
  Batch large;
  for (std::uint64_t i = 0; i < 30000; ++i) large.emplace_back(eight(100000 + i), std::string(400, 'b'));
  REQUIRE(put_many(d, large) == SHMD_ERR_NO_SPACE);
  require_same(d, model);
  for (auto& [key, value] : batch) value = std::string(50, 'c');
  must(put_many(d, batch), "put_many over what is there");
  take_over(model, batch);
  require_same(d, model);
}

// Guards list_trim and the memory of blocks that a commit allocated and freed again.
TEST_CASE("what a very large commit needed beside its data goes back") {
  const std::uint64_t keys = 300000;
  Dict d(support::unique_name("many"), support::small_options(std::uint64_t{256} << 20));
  std::vector<std::uint64_t> numbers(keys);
  std::vector<shmd_pair> pairs;
  for (std::uint64_t i = 0; i < keys; ++i) {
    numbers[i] = i;
    pairs.push_back({&numbers[i], 8, &numbers[i], 8});
  }
  must(shmd_put_many(d, shmd_root(), pairs.data(), pairs.size(), 0), "all new");
  must(shmd_put_many(d, shmd_root(), pairs.data(), pairs.size(), 0), "all over");
  must(shmd_put_many(d, shmd_root(), pairs.data(), pairs.size(), 0), "and again");
  must(shmd_begin(d, SHMD_FOREVER), "begin");
  for (const shmd_pair& p : pairs) must(shmd_put(d, shmd_root(), p.key, p.key_size, p.value, p.value_size, 0), "put");
  must(shmd_abort(d), "abort");
  const shmd_stats s = d.stat();
  const std::uint64_t data = s.live_bytes + s.index_bytes;
  INFO("live " << s.live_bytes << ", index " << s.index_bytes << ", memory " << s.memory);
  CHECK(s.memory <= data * 3 / 2 + s.buffer_size + (std::uint64_t{4} << 20));
  CHECK(d.count() == keys);
  CHECK(d.check() == "");
}
