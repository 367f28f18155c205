// A snapshot taken while a write stands still at one of its stores, at each of them in turn: not left to chance.
#include <atomic>
#include <chrono>
#include <thread>

#include "redo.h"
#include "support/catch.hpp"
#include "support/dict.hpp"

using support::Dict;
using namespace std::chrono_literals;

namespace {

thread_local std::uint64_t countdown = 0; // stores of this thread until it stands still; 0 = never
std::atomic<bool> standing{false}, go{false};

void stand_still(const void*) {
  if (countdown == 0 || --countdown != 0) return;
  standing = true;
  // no longer than the snapshot may have to wait for this write
  for (const auto end = std::chrono::steady_clock::now() + 20ms; !go && std::chrono::steady_clock::now() < end;)
    std::this_thread::sleep_for(100us);
}

void put(shmd_dict* d, std::uint64_t key, std::uint64_t value) {
  support::must(shmd_put(d, shmd_root(), &key, 8, &value, 8, 0), "put");
}

} // namespace

// Guard: shmd_lock_quiesce() in shmd_pin_take() (snapshot.c): a write that was under way when the pin was stored has not
// seen it, and keeps no older version.
TEST_CASE("a snapshot taken while a write stands at any of its stores sees the key before or after it") {
  Dict d(support::unique_name("quiesce"));
  put(d, 1, 0);
  shmd_crash_trace = stand_still;
  std::uint64_t stood = 0;
  for (std::uint64_t n = 1; n == stood + 1; ++n) {
    standing = false;
    go = false;
    std::atomic<bool> done{false};
    std::thread writer([&] {
      countdown = n;
      put(d, 1, n);
      countdown = 0;
      done = true;
    });
    while (!standing && !done) std::this_thread::yield();
    if (standing) stood = n;
    shmd_snapshot* s = nullptr;
    const int opened = shmd_snapshot_open(d, &s);
    go = true;
    writer.join();
    REQUIRE(opened == 0);
    const std::uint64_t key = 1;
    std::uint64_t value = 0;
    std::size_t size = 0;
    INFO("store " << n);
    const int found = shmd_snapshot_get(s, shmd_root(), &key, 8, &value, 8, &size);
    shmd_snapshot_close(s);
    REQUIRE(found == 0);
    REQUIRE((value == n || value == n - 1));
  }
  shmd_crash_trace = nullptr;
  REQUIRE(stood > 10);
  REQUIRE(d.check().empty());
}
