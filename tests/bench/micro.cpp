// What a get and an overwriting put of an int key cost, beside std::unordered_map: shuffled keys, medians of interleaved
// rounds. Times are of this machine at this moment; compare within one run only.
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <random>
#include <unordered_map>
#include <vector>

#include <unistd.h>
#include <shm/dict.hpp>

namespace {

using key_list = std::vector<std::int64_t>;

template <class Function>
double nanoseconds_per_key(const key_list& keys, std::size_t operations, Function&& function) {
  const auto start = std::chrono::steady_clock::now();
  for (std::size_t i = 0, k = 0; i < operations; ++i) {
    function(keys[k]);
    if (++k == keys.size()) k = 0;
  }
  const std::chrono::duration<double, std::nano> took = std::chrono::steady_clock::now() - start;
  return took.count() / static_cast<double>(operations);
}

double median(std::vector<double> samples) {
  std::sort(samples.begin(), samples.end());
  return samples[samples.size() / 2];
}

void measure(std::size_t count) {
  key_list keys(count);
  for (std::size_t i = 0; i < count; ++i) keys[i] = static_cast<std::int64_t>(i * 2654435761U);
  std::mt19937_64 random(1);
  std::shuffle(keys.begin(), keys.end(), random);

  shm::dict<std::int64_t, std::int64_t> dict{shm::create_only, "bench.micro." + std::to_string(getpid())};
  std::unordered_map<std::int64_t, std::int64_t> map;
  for (const auto key : keys) {
    dict[key] = key;
    map[key] = key;
  }
  std::shuffle(keys.begin(), keys.end(), random);

  const std::size_t operations = std::max<std::size_t>(count, 1000000);
  std::vector<double> map_get, dict_get, map_put, dict_put;
  std::int64_t sum = 0, value = 0;
  for (int round = 0; round < 5; ++round) {
    map_get.push_back(nanoseconds_per_key(keys, operations, [&](std::int64_t key) { sum += map.find(key)->second; }));
    dict_get.push_back(nanoseconds_per_key(keys, operations, [&](std::int64_t key) { sum -= *dict.get(key); }));
    ++value;
    map_put.push_back(nanoseconds_per_key(keys, operations, [&](std::int64_t key) { map.find(key)->second = value; }));
    dict_put.push_back(nanoseconds_per_key(keys, operations, [&](std::int64_t key) { dict[key] = value; }));
  }
  if (sum != 0) std::puts("the two disagree");
  std::printf("%9zu keys   get %6.1f ns, std::unordered_map %6.1f ns, ratio %4.2f\n", count, median(dict_get),
              median(map_get), median(dict_get) / median(map_get));
  std::printf("%9s        put %6.1f ns, std::unordered_map %6.1f ns, ratio %4.2f\n", "", median(dict_put),
              median(map_put), median(dict_put) / median(map_put));
}

} // namespace

int main() {
  measure(10000);
  measure(1000000);
}
