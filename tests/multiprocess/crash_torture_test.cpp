// SPDX-License-Identifier: Apache-2.0
// Workers write, and are killed at random times, thousands of them; readers watch all along.
//
// Each worker has keys of its own. Before a write it notes the version that it begins, after it the one that was
// acknowledged, in memory of the test's that outlives it; its successor goes on from there. What a reader finds must be a
// whole version, not older than acknowledged, not older than it has seen, not newer than begun; three keys of one
// transaction and the parts of a nested dict must be of one version; a counter shared by all must lie between what was
// acknowledged and what was begun. Every hundred kills everything is checked; at the end everything is read.
//
// Guards, at random instants, what crash_points_test.cpp does at each store, and what only time can show: the waiters'
// look_after_owner() (lock_wait.c), without which the first death in a locked section ends all progress; drop_pin() in
// shmd_slot_release() (slot.c), without which the snapshots of the dead hold memory until there is none.
#include <algorithm>
#include <array>
#include <chrono>
#include <iostream>
#include <random>
#include <thread>

#include "multiprocess/crash_support.hpp"
#include "multiprocess/crash_values.hpp"
#include "support/catch.hpp"
#include "support/process.hpp"

namespace {

using crash::Versions;
using support::Dict;
using support::must;
using clock_type = std::chrono::steady_clock;

constexpr std::size_t workers = 4, keys = 24;
constexpr std::size_t kills_wanted = crash::sanitized ? 200 : 3000, kills_at_most = 20000;
constexpr std::size_t held_wanted = crash::sanitized ? 20 : 300;
constexpr std::uint64_t counter_key = 1 << 20;

struct Worker {
  std::array<Versions, keys> plain;
  Versions triple; // three keys written by one transaction
  Versions nested; // a nested dict, replaced, filled and erased
  Versions counted;
};

struct Shared {
  std::array<Worker, workers> worker;
  std::atomic<bool> stop{false}, failed{false};
  std::atomic<std::uint64_t> reads{0}, snapshots{0};
  char message[512] = {};
  void fail(const std::string& text) {
    if (!failed.exchange(true)) std::snprintf(message, sizeof message, "%s", text.c_str());
  }
};

std::string plain_key(std::size_t w, std::size_t k) { return "w" + std::to_string(w) + "." + std::to_string(k); }
std::uint64_t plain_id(std::size_t w, std::size_t k) { return w * 1000 + k; }
std::string triple_key(std::size_t w, std::size_t i) { return "t" + std::to_string(w) + "." + std::to_string(i); }
std::uint64_t triple_id(std::size_t w) { return 100000 + w; }
std::string nested_key(std::size_t w) { return "n" + std::to_string(w); }
std::uint64_t nested_id(std::size_t w) { return 200000 + w; }

shmd_options options() {
  auto o = support::small_options(std::uint64_t{128} << 20);
  o.segment_size = 65536;
  o.buffer_size = 65536;
  o.unlink = SHMD_UNLINK_NEVER;
  o.mode = SHMD_CREATE_ONLY;
  o.timeout = UINT64_C(120000000000);
  return o;
}

// ---- a worker -----------------------------------------------------------------------------------------------------------

struct Begun {
  Versions& versions;
  std::uint64_t version;
  explicit Begun(Versions& v) : versions(v), version(v.started.load() + 1) { v.started = version; }
  void acknowledge() const { versions.acknowledged = version; }
};

void write_plain(Dict& d, Worker& me, std::size_t w, std::size_t k) {
  const Begun b(me.plain[k]);
  if (crash::version_absent(plain_id(w, k), b.version))
    d.erase(plain_key(w, k));
  else
    d.put(plain_key(w, k), crash::version_value(plain_id(w, k), b.version));
  b.acknowledge();
}

void write_triple(Dict& d, Worker& me, std::size_t w) {
  const Begun b(me.triple);
  must(shmd_begin(d, SHMD_DEFAULT_TIMEOUT), "begin");
  for (std::size_t i = 0; i < 3; ++i) d.put(triple_key(w, i), crash::version_value(triple_id(w), b.version));
  must(shmd_commit(d), "commit");
  b.acknowledge();
}

// Version v of the nested dict: absent, or a dict whose two keys, and those of a dict below, are all of version v.
void write_nested(Dict& d, Worker& me, std::size_t w) {
  const Begun b(me.nested);
  if (crash::version_absent(nested_id(w), b.version)) {
    d.erase(nested_key(w));
  } else {
    const auto value = crash::version_value(nested_id(w), b.version);
    must(shmd_begin(d, SHMD_DEFAULT_TIMEOUT), "begin");
    const auto n = d.child(nested_key(w), shmd_root(), b.version % 3 == 0 ? SHMD_NODE_REPLACE : SHMD_NODE_CREATE);
    d.put("x", value, n);
    d.put("filler" + std::to_string(b.version % 40), "f", n);
    const auto below = d.child("below", n, b.version % 2 == 0 ? SHMD_NODE_REPLACE : SHMD_NODE_CREATE);
    d.put("y", value, below);
    must(shmd_commit(d), "commit");
  }
  b.acknowledge();
}

void add_one(Dict& d, Worker& me) {
  me.counted.started.fetch_add(1);
  const std::uint64_t key = counter_key;
  std::uint64_t sum = 0;
  must(shmd_update(
           d, shmd_root(), &key, sizeof key,
           [](void* context, const void* old, std::size_t size, const void** value, std::size_t* value_size) {
             auto* n = static_cast<std::uint64_t*>(context);
             if (old != nullptr && size == 8) std::memcpy(n, old, 8);
             ++*n;
             *value = n;
             *value_size = 8;
             return static_cast<int>(SHMD_OK);
           },
           &sum),
       "update");
  me.counted.acknowledged.fetch_add(1); // not to `started`: one that was killed may not have counted
}

// Dies sooner or later with a snapshot held.
void look_back(Dict& d, Worker& me, std::size_t w) {
  shmd_snapshot* s = nullptr;
  must(shmd_snapshot_open(d, &s), "snapshot_open");
  const std::string key = triple_key(w, 0);
  std::string before(80000, '\0'), after(80000, '\0');
  std::size_t before_size = 0, after_size = 0;
  const int one = must(
      shmd_snapshot_get(s, shmd_root(), key.data(), key.size(), &before[0], before.size(), &before_size), "snapshot");
  for (std::size_t i = 0; i < 4; ++i) write_triple(d, me, w);
  const int two =
      must(shmd_snapshot_get(s, shmd_root(), key.data(), key.size(), &after[0], after.size(), &after_size), "snapshot");
  shmd_snapshot_close(s);
  if (one != two || before_size != after_size || before.compare(0, before_size, after, 0, after_size) != 0)
    throw std::runtime_error("a snapshot has changed");
}

void work(Shared& shared, shmd_dict* inherited, const std::string& name, std::size_t w, std::uint64_t seed) {
  Worker& me = shared.worker[w];
  auto o = options();
  o.mode = SHMD_OPEN_ONLY;
  if (seed % 4 == 0) shmd_close(inherited); // attaches anew then; else it goes on with what it inherited
  Dict d(name, o);
  d.leave_object();
  std::mt19937_64 random(seed);
  for (std::uint64_t step = 1; !shared.stop; ++step) {
    if (step % 1024 == 0) crash::wait_for_snapshots(d, shared.stop);
    switch (random() % 64) {
      case 0:
        look_back(d, me, w);
        break;
      case 1:
      case 2:
      case 3:
      case 4:
      case 5:
      case 6:
        write_nested(d, me, w);
        break;
      case 7:
      case 8:
      case 9:
      case 10:
      case 11:
      case 12:
      case 13:
        write_triple(d, me, w);
        break;
      case 14:
      case 15:
      case 16:
      case 17:
      case 18:
        add_one(d, me);
        break;
      default:
        write_plain(d, me, w, random() % keys);
        break;
    }
  }
}

// ---- a reader -----------------------------------------------------------------------------------------------------------

class Reader {
 public:
  Reader(Shared& shared, Dict& d) : shared_(shared), d_(d) {}

  void plain(std::size_t w, std::size_t k) {
    const crash::Expectation e(shared_.worker[w].plain[k], plain_[w][k]);
    judge(e, plain_id(w, k), d_.get(plain_key(w, k)), plain_[w][k], plain_key(w, k));
  }
  void triple(std::size_t w) {
    const crash::Expectation e(shared_.worker[w].triple, triple_[w]);
    std::optional<std::string> value[3];
    shmd_snapshot* s = open();
    for (std::size_t i = 0; i < 3; ++i) value[i] = get(s, shmd_root(), triple_key(w, i));
    shmd_snapshot_close(s);
    if (value[0] != value[1] || value[1] != value[2])
      throw std::runtime_error("a transaction is half there: " + triple_key(w, 0));
    if (!value[0]) {
      if (!e.allows_version(0)) throw std::runtime_error(triple_key(w, 0) + " has vanished");
      return;
    }
    const auto version = crash::version_of(triple_id(w), *value[0]);
    if (!version || !e.allows_version(*version))
      throw std::runtime_error(triple_key(w, 0) + " is torn or of a version that is not in " + e.range());
    triple_[w] = *version;
  }
  void nested(std::size_t w) {
    const crash::Expectation e(shared_.worker[w].nested, nested_[w]);
    const std::string key = nested_key(w);
    shmd_snapshot* s = open();
    shmd_node n, below;
    std::optional<std::string> x, y;
    const int found = must(shmd_snapshot_node(s, shmd_root(), key.data(), key.size(), &n), "snapshot_node");
    if (found == 0) {
      x = get(s, n, "x");
      if (must(shmd_snapshot_node(s, n, "below", 5, &below), "snapshot_node") == 0) y = get(s, below, "y");
    }
    shmd_snapshot_close(s);
    if (x != y || (found == 0 && !x)) throw std::runtime_error("a nested dict is half there: " + key);
    judge(e, nested_id(w), x, nested_[w], key);
  }
  void counter() {
    std::uint64_t least = 0, most = 0, sum = 0;
    const std::uint64_t key = counter_key;
    std::size_t size = 0;
    for (const auto& w : shared_.worker) least += w.counted.acknowledged;
    if (must(shmd_get(d_, shmd_root(), &key, sizeof key, &sum, sizeof sum, &size), "get") != 0) sum = 0;
    for (const auto& w : shared_.worker) most += w.counted.started;
    if (sum < least || sum < counted_ || sum > most)
      throw std::runtime_error("the counter is " + std::to_string(sum) + ", acknowledged " + std::to_string(least) +
                               ", seen " + std::to_string(counted_) + ", begun " + std::to_string(most));
    counted_ = sum;
  }
  void everything() {
    for (std::size_t w = 0; w < workers; ++w) {
      for (std::size_t k = 0; k < keys; ++k) plain(w, k);
      triple(w);
      nested(w);
    }
    counter();
  }

 private:
  shmd_snapshot* open() {
    shmd_snapshot* s = nullptr;
    must(shmd_snapshot_open(d_, &s), "snapshot_open");
    shared_.snapshots.fetch_add(1, std::memory_order_relaxed);
    return s;
  }
  std::optional<std::string> get(shmd_snapshot* s, shmd_node n, const std::string& key) {
    std::string value(80000, '\0');
    std::size_t size = 0;
    const int result =
        must(shmd_snapshot_get(s, n, key.data(), key.size(), &value[0], value.size(), &size), "snapshot_get");
    if (result == SHMD_NOT_FOUND) return std::nullopt;
    value.resize(size);
    return value;
  }
  void judge(const crash::Expectation& e, std::uint64_t id, const std::optional<std::string>& value,
             std::uint64_t& seen, const std::string& key) {
    shared_.reads.fetch_add(1, std::memory_order_relaxed);
    const auto version = value ? crash::version_of(id, *value) : e.absence(id);
    if (!version)
      throw std::runtime_error(key + (value
                                          ? " is torn: no version of it, of " + std::to_string(value->size()) + " bytes"
                                          : " has vanished: no absence in " + e.range()));
    if (value && (crash::version_absent(id, *version) || !e.allows_version(*version)))
      throw std::runtime_error(key + " is of version " + std::to_string(*version) + ", not in " + e.range());
    seen = std::max(seen, *version);
  }

  Shared& shared_;
  Dict& d_;
  std::uint64_t plain_[workers][keys] = {}, triple_[workers] = {}, nested_[workers] = {}, counted_ = 0;
};

void watch(Shared& shared, const std::string& name, std::uint64_t seed) {
  auto o = options();
  o.mode = SHMD_OPEN_ONLY;
  Dict d(name, o);
  d.leave_object();
  Reader reader(shared, d);
  std::mt19937_64 random(seed);
  while (!shared.stop) {
    for (int i = 0; i < 50; ++i) reader.plain(random() % workers, random() % keys);
    reader.triple(random() % workers);
    reader.nested(random() % workers);
    reader.counter();
  }
}

pid_t start(Shared& shared, const char* what, const std::function<void()>& body) {
  return crash::spawn([&shared, what, body] {
    ::alarm(300);
    try {
      body();
    } catch (const std::exception& e) {
      shared.fail(std::string(what) + ": " + e.what());
    }
    // not through exit: handlers of the test framework belong to the parent
  });
}

} // namespace

TEST_CASE("nothing is lost, torn or half done when writers are killed thousands of times") {
  crash::Page<Shared> shared;
  const std::string name = support::unique_name("torture");
  Dict d(name, options());
  const std::uint64_t seed = std::random_device{}();
  INFO("seed " << seed);
  std::mt19937_64 random(seed);

  std::array<pid_t, workers> pid{};
  const auto start_worker = [&](std::size_t w) {
    const std::uint64_t s = random();
    pid[w] = start(*shared, "worker", [&shared, &d, &name, w, s] { work(*shared, d, name, w, s); });
  };
  for (std::size_t w = 0; w < workers; ++w) start_worker(w);
  const pid_t reader = start(*shared, "reader", [&] { watch(*shared, name, seed + 1); });

  std::size_t kills = 0, held = 0, checks = 0;
  std::vector<double> waits; // for another worker to take the lock over from the dead, in s
  const auto began = clock_type::now();
  const auto kill_one = [&](std::size_t w) {
    ::kill(pid[w], SIGKILL);
    const int status = crash::wait_for(pid[w]);
    if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
      shared->fail("a worker ended by itself: " + crash::describe_end(status));
    shmd_lock_info lock;
    must(shmd_lock_status(d, &lock), "lock_status");
    const bool mine = lock.held && lock.pid == pid[w];
    ++kills;
    held += mine;
    return mine;
  };
  while ((kills < kills_wanted || held < held_wanted) && kills < kills_at_most && !shared->failed) {
    std::this_thread::sleep_for(std::chrono::microseconds(200 + random() % 1500));
    const std::size_t w = random() % workers;
    const auto recoveries = d.stat().recoveries;
    const bool with_lock = kill_one(w);
    if (with_lock) {
      const auto died = clock_type::now();
      if (random() % 4 == 0) { // about when another one takes over
        std::this_thread::sleep_for(std::chrono::microseconds(4500 + random() % 1500));
        const std::size_t rescuer = (w + 1 + random() % (workers - 1)) % workers;
        kill_one(rescuer);
        start_worker(rescuer);
      } else {
        if (!support::eventually([&] { return d.stat().recoveries != recoveries; }))
          shared->fail("nobody took over from a dead owner");
        waits.push_back(std::chrono::duration<double>(clock_type::now() - died).count());
      }
    }
    start_worker(w);
    if (kills / 100 > checks) {
      checks = kills / 100;
      const std::string findings = d.check();
      if (!findings.empty()) shared->fail("check after " + std::to_string(kills) + " kills: " + findings);
    }
  }
  shared->stop = true;
  for (const pid_t p : pid) CHECK(crash::wait_for(p) == 0);
  CHECK(crash::wait_for(reader) == 0);
  INFO(shared->message);
  INFO("check afterwards: " << (shared->failed ? d.check() : "not asked"));
  REQUIRE_FALSE(shared->failed);

  const shmd_stats stats = d.stat();
  Reader last(*shared, d);
  last.everything();
  REQUIRE(d.check() == crash::nothing);
  for (std::size_t i = 0; i < 300 && (i == 0 || d.stat().oldest_pin_pid != 0); ++i) REQUIRE(shmd_compact(d) == 0);
  REQUIRE(d.check() == crash::nothing);
  last.everything();
  std::sort(waits.begin(), waits.end());
  REQUIRE_FALSE(waits.empty());
  std::cout << kills << " kills in " << std::chrono::duration<double>(clock_type::now() - began).count() << " s, "
            << held << " found the lock held; " << stats.recoveries << " recoveries, " << stats.replays
            << " of them finished a committed write; wait for one " << waits[waits.size() / 2] * 1000 << " ms, "
            << waits[waits.size() * 3 / 4] * 1000 << ", at most " << waits.back() * 1000 << "; " << stats.commits
            << " commits, " << shared->reads << " reads, " << shared->snapshots << " snapshots, "
            << stats.cleaned_bytes / 1024 << " KiB cleaned\n";
  CHECK(kills >= kills_wanted);
  CHECK(held >= held_wanted);
  CHECK(stats.recoveries >= held_wanted / 2); // a rescuer that is killed before it counts itself leaves one for two
  CHECK(waits[waits.size() * 3 / 4] < 0.1);   // the promise; what a busy machine adds now and then is not ours
  CHECK(d.stat().oldest_pin_pid == 0);        // no dead process holds anything back
}
