// SPDX-License-Identifier: Apache-2.0
// What brought other shared dictionaries down: many opens, many writers, a busy nested dict, large values, many keys. Each
// case ends with nothing left over: descriptors, mappings, heap, attach slots, objects.
#include <dirent.h>
#include <malloc.h>
#include <sys/resource.h>

#include <fstream>
#include <memory>
#include <shm/dict.hpp>
#include <vector>

#include "support/catch.hpp"
#include "support/process.hpp"

using namespace support;

namespace {

// What instrumented builds divide the number of rounds by.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr int slow = 10;
#else
constexpr int slow = 1;
#endif

int count_entries(const char* directory, const std::string& prefix) {
  int n = 0;
  DIR* dir = opendir(directory);
  REQUIRE(dir != nullptr);
  while (const dirent* e = readdir(dir))
    if (std::string(e->d_name).compare(0, prefix.size(), prefix) == 0) ++n;
  closedir(dir);
  return n;
}

int count_mappings() { // of shared memory objects
  std::ifstream maps("/proc/self/maps");
  int n = 0;
  for (std::string line; std::getline(maps, line);)
    if (line.find("/dev/shm/") != std::string::npos) ++n;
  return n;
}

// Everything that this process holds, taken twice and compared.
struct Holdings {
  int descriptors = count_entries("/proc/self/fd", "");
  int mappings = count_mappings();
  std::size_t heap = mallinfo2().uordblks; // 0 under sanitizers: they look for leaks themselves
};

// `objects` are those whose names begin so.
void check_nothing_left(const Holdings& before, const std::string& objects) {
  const Holdings now;
  CHECK(now.descriptors == before.descriptors);
  CHECK(now.mappings == before.mappings);
  CHECK(now.heap <= before.heap + 16384); // the allocator's and the test's own
  CHECK(count_entries("/dev/shm", "shmdict." + objects) == 0);
}

shm::options room(std::uint64_t mebibytes) { return shm::options{}.max_size(mebibytes << 20); }

shmd_stats stats_of(const shm::detail::owner& d) {
  shmd_stats s;
  must(shmd_stat(d.native_handle(), &s), "stat");
  return s;
}
void check_clean(const shm::detail::owner& d) {
  CHECK(shmd_check(d.native_handle(), nullptr, nullptr) == 0);
  CHECK(stats_of(d).attached == 1);
  CHECK(stats_of(d).oldest_pin_pid == 0);
}

// A value that verifies itself.
std::string value_of(std::uint64_t seed, std::size_t size) {
  std::string v(size, '\0');
  for (std::size_t i = 0; i < size; ++i) v[i] = static_cast<char>(seed * 31 + i * 7 + (i >> 8));
  std::memcpy(v.data(), &seed, sizeof seed);
  return v;
}
bool is_whole(const std::string& v, std::size_t size) {
  std::uint64_t seed = 0;
  if (v.size() != size) return false;
  std::memcpy(&seed, v.data(), sizeof seed);
  return v == value_of(seed, size);
}

} // namespace

// The mechanism: detach() in attach.c unmaps, closes both descriptors and frees; the slot is given back.
TEST_CASE("opening and closing 5,000 times leaves nothing behind", "[stress][leak]") {
  const Name name("opens");
  using strings = shm::dict<std::string, std::string>;
  const auto cycle = [&](int i, const strings* keeper) {
    strings d{name, room(8)};
    if (keeper == nullptr) REQUIRE(d.empty()); // the last to close took the object with it
    d["a"] = std::to_string(i);
    const strings second{name, room(8)}; // shares the mapping
    const auto snapshot = second.snapshot();
    REQUIRE(snapshot.get("a", "") == std::to_string(i));
    if (i % 3 == 0) d.close(); // in either order
  };
  cycle(0, nullptr); // what is allocated once
  const Holdings before;
  for (int i = 0; i < 2'500 / slow; ++i) cycle(i, nullptr);
  check_nothing_left(before, name);
  {
    const strings keeper{name, room(8)};
    const Holdings with_keeper;
    for (int i = 0; i < 2'500 / slow; ++i) cycle(i, &keeper);
    CHECK(Holdings().descriptors == with_keeper.descriptors);
    CHECK(Holdings().mappings == with_keeper.mappings);
    check_clean(keeper);
  }
  check_nothing_left(before, name);
}

// The mechanism: slots of processes that ended are found by their free bytes (slot.c).
TEST_CASE("20 processes write different keys at once and none is lost", "[stress][leak]") {
  constexpr int processes = 20, keys = 500 / slow;
  const Name name("twenty");
  const Holdings before;
  {
    shm::dict<std::string, int> d{name, room(64)};
    Shared<std::atomic<int>> ready;
    std::vector<std::unique_ptr<Child>> children;
    for (int p = 0; p < processes; ++p) {
      children.push_back(std::make_unique<Child>([&, p] {
        shm::dict<std::string, int> mine{shm::open_only, name};
        ++*ready;
        while (*ready < processes) std::this_thread::yield();
        for (int i = 0; i < keys; ++i) mine[std::to_string(p) + "." + std::to_string(i)] = p * keys + i;
        if (p % 2 == 0) mine.close(); // the others end as if killed
        return 0;
      }));
    }
    for (const auto& c : children) REQUIRE(c->join() == 0);
    REQUIRE(d.size() == std::size_t{processes} * keys);
    for (int p = 0; p < processes; ++p)
      for (int i = 0; i < keys; ++i) REQUIRE(d.at(std::to_string(p) + "." + std::to_string(i)) == p * keys + i);
    check_clean(d);
  }
  check_nothing_left(before, name);
}

// Processor time of this process and of the children that it has waited for, in ms.
static std::int64_t processor_ms() {
  std::int64_t sum = 0;
  for (const auto who : {RUSAGE_SELF, RUSAGE_CHILDREN}) {
    rusage r;
    getrusage(who, &r);
    for (const auto& t : {r.ru_utime, r.ru_stime}) sum += t.tv_sec * 1000 + t.tv_usec / 1000;
  }
  return sum;
}

// The mechanism: none of these reads takes a lock; a path is looked up again when a level is replaced under it (place.hpp).
TEST_CASE("a nested dict updated 2,000 times a second serves 100,000 reads a second to 20 processes",
          "[stress][leak]") {
  using tree = shm::dict<std::string, shm::dict<std::string, int>>;
  constexpr int readers = 20, updates = 2'000 / slow, reads = 5'000 / slow, ticks = 100;
  const Name name("busy");
  const Holdings before;
  {
    tree d{name, {{"count", {{"n", 0}}}, {"pair", {{"n", 0}, {"twice", 0}}}}, room(64)};
    Shared<std::atomic<std::uint64_t>> start, served;
    // Runs step(i) `n` times, spread over a second.
    const auto paced = [&](int n, auto step) {
      while (*start == 0) std::this_thread::sleep_for(1ms);
      for (int i = 0; i < n; ++i) {
        const std::uint64_t due = *start + std::uint64_t{10'000'000} * static_cast<std::uint64_t>(i * ticks / n);
        while (now_ns() < due) std::this_thread::sleep_for(std::chrono::nanoseconds(due - now_ns()));
        step(i);
      }
    };
    std::vector<std::unique_ptr<Child>> children;
    for (int r = 0; r < readers; ++r) {
      children.push_back(std::make_unique<Child>([&] {
        const tree mine{shm::open_only, name};
        int last = 0, wrong = 0;
        paced(reads, [&](int i) {
          if (i % 8 == 0) { // replaced as a whole by each update
            const auto pair = mine.get("pair");
            if (!pair || pair->at("twice") != 2 * pair->at("n")) ++wrong;
          } else {
            const int n = mine["count"]["n"];
            if (n < last) ++wrong;
            last = n;
          }
          ++*served;
        });
        return wrong == 0 ? 0 : 1;
      }));
    }
    const std::int64_t used = processor_ms();
    *start = now_ns() + 20'000'000;
    paced(updates, [&](int i) {
      if (i == updates / 2) { // reads go on while the lock is held
        const shm::guard lock(d);
        const std::uint64_t enough = std::min<std::uint64_t>(*served + readers, std::uint64_t{readers} * reads);
        CHECK(eventually([&] { return *served >= enough; }));
      }
      if (i % 2 == 0)
        ++d["count"]["n"];
      else
        d["pair"] = {{"n", i}, {"twice", 2 * i}};
    });
    for (const auto& c : children) REQUIRE(c->join() == 0);
    std::cout << "2,000 updates and 100,000 reads: " << processor_ms() - used << " ms of processor time\n";
    CHECK(processor_ms() - used < (slow == 1 ? 1000 : 5000));
    CHECK(d.at("count").at("n") == updates / 2);
    check_clean(d);
  }
  check_nothing_left(before, name);
}

// The mechanism: runs (log.c), and readers that validate what they copied (read.h).
TEST_CASE("a value of 1 MB arrives whole while it is overwritten, whatever the buffer's size", "[stress][leak]") {
  constexpr std::size_t size = 1'000'000;
  const Name name("megabyte");
  const Holdings before;
  {
    shm::dict<std::string, std::string> d{name, room(64).buffer_size(65536)};
    d["big"] = value_of(1, size);
    Shared<std::atomic<int>> seen;
    Child reader([&] {
      const shm::dict<std::string, std::string> mine{shm::open_only, name};
      for (int i = 0; i < 100 / slow; ++i, ++*seen)
        if (!is_whole(mine["big"], size)) return 1;
      return 0;
    });
    for (std::uint64_t i = 2; i < 52 || (*seen < 100 / slow && i < 10'000); ++i) d["big"] = value_of(i, size);
    REQUIRE(reader.join() == 0);
    check_clean(d);
    const auto s = stats_of(d);
    CHECK(s.memory <= (s.live_bytes + s.index_bytes) * 3 / 2 + s.buffer_size + 2 * size + (4 << 20));
  }
  check_nothing_left(before, name);
}

// The mechanism: the cleaner and the punching of surplus (reclaim.c, segment.c).
TEST_CASE("100,000 keys of 1 KB come and go one by one, and the memory goes back", "[stress][leak]") {
  constexpr std::uint64_t keys = 100'000 / slow;
  const Name name("many");
  const Holdings before;
  {
    shm::dict<std::string, std::string> d{name, room(512)};
    const auto key_of = [](std::uint64_t i) { return "key " + std::to_string(i); };
    for (std::uint64_t i = 0; i < keys; ++i) d[key_of(i)] = value_of(i, 1024);
    REQUIRE(d.size() == keys);
    CHECK(stats_of(d).memory > keys * 1024);
    Child reader([&] {
      const shm::dict<std::string, std::string> mine{shm::open_only, name};
      for (std::uint64_t i = 0; i < keys; i += 7)
        if (mine[key_of(i)] != value_of(i, 1024)) return 1;
      return 0;
    });
    REQUIRE(reader.join() == 0);
    for (std::uint64_t i = 0; i < keys; ++i) REQUIRE(d.erase(key_of(i)) == 1);
    CHECK(d.empty());
    const auto s = stats_of(d);
    CHECK(s.memory <= (s.live_bytes + s.index_bytes) * 3 / 2 + s.buffer_size + 2 * 1100 + (4 << 20));
    check_clean(d);
  }
  check_nothing_left(before, name);
}
