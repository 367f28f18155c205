// SPDX-License-Identifier: Apache-2.0
#include <atomic>
#include <set>
#include <thread>

#include "support.hpp"

using support::Own;
using nested = shm::dict<std::string, shm::dict<int, int>>;
using namespace std::chrono_literals;

// Guard: read_whole (detail/tree.hpp). Without it a copy on a read-only handle is busy whenever a writer commits meanwhile.
TEST_CASE("copies of whole dicts on a read-only handle come through between the commits of a writer") {
  Own<nested> own("between");
  shm::local_t<shm::dict<int, int>> entries;
  for (int i = 0; i < 300; ++i) entries[i] = 0;
  own.d["x"] = entries;
  std::atomic<bool> stop{false};
  std::atomic<int> pauses{0};
  std::thread writer([&] {
    for (int turn = 1; !stop; ++turn) {
      const auto pause = std::chrono::steady_clock::now() + 3ms;
      while (std::chrono::steady_clock::now() < pause) { // each commit changes all entries
        for (auto& e : entries) e.second = turn;
        own.d["x"] = entries;
      }
      ++pauses;
      std::this_thread::sleep_for(12ms);
    }
  });
  const nested r{shm::open_only, own.name, shm::options{}.read_only()};
  std::size_t mixed = 0, missing = 0, busy = 0;
  std::set<int> seen;
  const auto end = std::chrono::steady_clock::now() + 60s;
  for (int i = 0; i < 2000 || (seen.size() < 2 && std::chrono::steady_clock::now() < end); ++i) {
    const auto began = std::chrono::steady_clock::now();
    const int before = pauses;
    try {
      const auto x = i % 2 == 0 ? r.get("x") : r.to_map().at("x");
      if (!x || x->size() != 300) {
        ++missing;
        continue;
      }
      seen.insert(x->begin()->second);
      for (const auto& e : *x) mixed += e.second != x->begin()->second;
    } catch (const shm::error& e) {
      if (e.code() != shm::errc::busy) throw;
      // It is right to say so if the writer was held up within a commit for as long as a copy is tried, 100 ms.
      busy += std::chrono::steady_clock::now() - began < 100ms || pauses > before + 2;
    }
  }
  stop = true;
  writer.join();
  CHECK(mixed == 0);
  CHECK(missing == 0);
  CHECK(seen.size() > 1);
  CHECK(busy == 0);
  CHECK_THROWS_AS(
      [&] {
        const auto s = r.snapshot();
        own.d["y"] = entries;
        s.to_map();
      }(),
      shm::error); // a snapshot does not move on by itself
}
