// SPDX-License-Identifier: Apache-2.0
// What a get, a put, a new key, an entry of an iteration, and keys a thousand at a time (update(range), a transaction, and load:
// update(range) of new ones) cost in instructions, counted by Callgrind: each operation runs twice, for two lengths, and
// Callgrind writes its counts after each. The difference of both is free of everything but the operations; of new keys, which
// come once, the sum is taken. The dict is small enough for Valgrind, its keys are used in the same order each time, and its
// hash seed is the same each time.
// `count watchers`: puts of a dict that nobody watches, and of one with ten watchers awake, to be compared to the last
// instruction.
#include <unistd.h>
#include <valgrind/callgrind.h>

#include <cstdint>
#include <cstdio>
#include <cstring>
#include <shm/dict.hpp>
#include <shm/watch.hpp>
#include <string>
#include <utility>
#include <vector>

namespace {

constexpr std::size_t keys = 2000, shorter = 2000, longer = 6000, together = 1000;

template <class K>
K make_key(std::size_t i) {
  if constexpr (std::is_integral_v<K>) {
    return static_cast<K>(i * 2654435761U);
  } else {
    char text[32];
    std::snprintf(text, sizeof text, "user:%019zu", i * 2654435761U);
    return text;
  }
}

void dump(const char* label) {
  CALLGRIND_DUMP_STATS_AT(label); // and sets the counts to 0
}

template <class K, class Operation>
__attribute__((noinline)) void run(const std::vector<K>& all, std::size_t count, Operation operation) {
  for (std::size_t i = 0; i < count; ++i) operation(all[i % keys], static_cast<std::int64_t>(i));
}

template <class K>
bool measure(const std::string& type) {
  const auto options = shm::options{}.max_size(std::uint64_t{64} << 20U).unlink(shm::this_closes);
  shm::dict<K, std::int64_t> d{shm::create_only, "bench.count." + type + "." + std::to_string(getpid()), options};
  std::vector<K> all;
  for (std::size_t i = 0; i < keys; ++i) all.push_back(make_key<K>(i));
  for (const auto& key : all) d[key] = -1;

  std::int64_t sum = 0;
  const auto get = [&](const K& key, std::int64_t) { sum += *d.get(key); };
  const auto put = [&](const K& key, std::int64_t value) { d[key] = value; };
  run(all, keys, get); // whatever happens the first time only
  run(all, keys, put);
  dump("warm-up");
  run(all, shorter, get);
  dump((type + " get shorter").c_str());
  run(all, longer, get);
  dump((type + " get longer").c_str());
  run(all, shorter, put);
  dump((type + " put shorter").c_str());
  run(all, longer, put);
  dump((type + " put longer").c_str());

  const auto iterate = [&](std::size_t times) {
    for (std::size_t i = 0; i < times; ++i)
      for (const auto& [key, value] : d) sum += value;
  };
  iterate(1);
  dump("warm-up");
  iterate(shorter / keys);
  dump((type + " iterate shorter").c_str());
  iterate(longer / keys);
  dump((type + " iterate longer").c_str());

  all.clear(); // new ones, from one capacity of the index to another: what its growth costs is part of it
  for (std::size_t i = keys; i < keys + shorter + longer; ++i) all.push_back(make_key<K>(i));
  const auto insert = [&](std::size_t from, std::size_t until) {
    for (std::size_t i = from; i < until; ++i) d[all[i]] = 1;
  };
  dump("warm-up");
  insert(0, shorter);
  dump((type + " insert shorter").c_str());
  insert(shorter, shorter + longer);
  dump((type + " insert longer").c_str());
  return sum != 0;
}

// Keys of transactions and of ranges, a thousand at a time.
template <class K>
bool measure_batches(const std::string& type) {
  const auto options = shm::options{}.max_size(std::uint64_t{64} << 20U).unlink(shm::this_closes);
  shm::dict<K, std::int64_t> d{shm::create_only, "bench.batch." + type + "." + std::to_string(getpid()), options};
  std::vector<K> all;
  for (std::size_t i = 0; i < keys; ++i) all.push_back(make_key<K>(i));
  for (const auto& key : all) d[key] = -1;
  std::vector<std::vector<std::pair<K, std::int64_t>>> ranges(keys / together);
  for (std::size_t i = 0; i < keys; ++i) ranges[i / together].emplace_back(all[i], static_cast<std::int64_t>(i));
  const auto update = [&](std::size_t count) {
    for (std::size_t i = 0; i < count / together; ++i) d.update(ranges[i % ranges.size()]);
  };
  const auto transact = [&](std::size_t count) {
    for (std::size_t i = 0; i < count; i += together)
      d.transact([&](auto& tx) {
        for (std::size_t k = i; k < i + together; ++k) tx[all[k % keys]] = static_cast<std::int64_t>(k);
      });
  };
  update(keys);
  dump("warm-up");
  update(shorter);
  dump((type + " update shorter").c_str());
  update(longer);
  dump((type + " update longer").c_str());
  transact(keys);
  dump("warm-up");
  transact(shorter);
  dump((type + " transact shorter").c_str());
  transact(longer);
  dump((type + " transact longer").c_str());

  ranges.assign((shorter + longer) / together, {});
  for (std::size_t i = 0; i < ranges.size() * together; ++i)
    ranges[i / together].emplace_back(make_key<K>(keys + i), static_cast<std::int64_t>(i));
  dump("warm-up");
  for (std::size_t i = 0; i < shorter / together; ++i) d.update(ranges[i]);
  dump((type + " load shorter").c_str());
  for (std::size_t i = 0; i < longer / together; ++i) d.update(ranges[shorter / together + i]);
  dump((type + " load longer").c_str());
  return d.size() == keys + shorter + longer;
}

bool measure_watched(std::size_t watchers) {
  const auto options = shm::options{}.max_size(std::uint64_t{64} << 20U).unlink(shm::this_closes);
  shm::dict<std::int64_t, std::int64_t> d{
      shm::create_only, "bench.count." + std::to_string(10 + watchers) + "." + std::to_string(getpid()), options};
  std::vector<std::int64_t> all;
  for (std::size_t i = 0; i < keys; ++i) all.push_back(make_key<std::int64_t>(i));
  std::vector<decltype(d.watch())> open;
  for (std::size_t i = 0; i < watchers; ++i) open.push_back(d.watch());

  const auto put = [&](std::int64_t key, std::int64_t value) { d[key] = value; };
  std::size_t changes = 0;
  const auto keep_up = [&] {
    for (auto& w : open)
      while (w.poll() != nullptr) ++changes;
  };
  run(all, keys, put);
  keep_up();
  const auto label = std::to_string(watchers) + " watchers ";
  dump("warm-up");
  run(all, shorter, put);
  dump((label + "shorter").c_str());
  keep_up();
  dump("keeping up");
  run(all, longer, put);
  dump((label + "longer").c_str());
  keep_up();
  return changes == watchers * (keys + shorter + longer) && !d.status().shared.followed;
}

} // namespace

extern "C" int __wrap_shmd_os_random(void* buffer, std::size_t size) {
  std::memset(buffer, 0x5a, size);
  return 0;
}

int main(int count, char** arguments) {
  if (count == 2 && std::strcmp(arguments[1], "watchers") == 0) {
    std::printf("%zu %zu\n", shorter, longer);
    return measure_watched(0) && measure_watched(10) ? 0 : 1;
  }
  std::printf("%zu %zu\n", shorter, longer);
  return measure<std::int64_t>("int64") && measure<std::string>("string24") && measure_batches<std::int64_t>("int64") &&
                 measure_batches<std::string>("string24")
             ? 0
             : 1;
}
