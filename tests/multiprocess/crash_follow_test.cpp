// SPDX-License-Identifier: Apache-2.0
// Kills writers at every store to shared memory beside watchers and replicas, and watchers and replicas at every store that
// they make themselves.
//
// Guards: `published` is stored last, so followers see whole commits or none (redo.c, overwrite.h); shmd_engine_recover() finishes what
// they had seen; the snapshot a replica loads from, its count among the followers and its sleep end with its process
// (snapshot.c, slot.c, watch.c).
#include <memory>
#include <vector>

#include "multiprocess/crash_every_store.hpp"
#include "multiprocess/mirror.hpp"
#include "support/catch.hpp"

using namespace std::chrono_literals;
using support::Accounts;
using support::Local;
using support::Mirror;
using support::Shared;

namespace {

using Replica = decltype(shm::replica{std::declval<const Accounts&>()});
using Step = std::function<void(Accounts&)>;

shm::options options() {
  return shm::options{}.max_size(std::uint64_t{16} << 20).segment_size(65536).buffer_size(65536);
}

void fill(Accounts& d) {
  d["de"] = {{1, 10}, {2, 20}, {3, 30}};
  d["fr"] = {{1, 11}};
  d["it"] = {{7, 70}, {8, 80}};
}

// Writes of every kind, one commit each.
const std::vector<Step>& steps() {
  static const std::vector<Step> all = {
      [](Accounts& d) { d["de"][1] = 12; },
      [](Accounts& d) { d["de"][4] = 40; },
      [](Accounts& d) { d["de"][2] += 5; },
      [](Accounts& d) { d["de"].erase(3); },
      [](Accounts& d) {
        d.transact([](auto& tx) {
          tx["de"][1] -= 7;
          tx["fr"][1] += 7;
          tx["es"][1] = 1;
          tx.erase("it");
        });
      },
      [](Accounts& d) {
        d["fr"] = {{5, 50}, {6, 60}};
      },
      [](Accounts& d) { d["de"].clear(); },
      [](Accounts& d) { d.erase("es"); },
      [](Accounts& d) { d["de"][9] = 90; },
      [](Accounts& d) { d.clear(); },
      [](Accounts& d) { d["pt"][1] = 1; },
  };
  return all;
}

// `before` writes of one value come first.
std::vector<Local> history_of(const std::vector<Step>& script, std::int64_t before) {
  const support::Name name("crash.model");
  Accounts d(name, options());
  fill(d);
  if (before != 0) d["de"][3] = before - 1;
  std::vector<Local> history{d.to_map()};
  for (const auto& step : script) {
    step(d);
    history.push_back(d.to_map());
  }
  return history;
}

// Which state of the history it is, not before `first`; the size of the history: none.
std::size_t place_in(const std::vector<Local>& history, const Local& data, std::size_t first) {
  while (first < history.size() && !(history[first] == data)) ++first;
  return first;
}

// Everything that followers of one dict must show once its writer is dead: `done` commits had returned.
void follow_death(const std::vector<Local>& history, Accounts& d, Replica& r, Mirror& mirror, std::size_t done) {
  const std::size_t last = std::min(done + 1, history.size() - 1);
  // before anybody has repaired
  r.sync();
  const std::size_t replica_at = place_in(history, r.data(), done);
  REQUIRE(replica_at <= last);
  mirror.catch_up();
  const std::size_t mirror_at = place_in(history, mirror.data, done);
  REQUIRE(mirror_at <= last);
  // after it
  crash::repair(d.native_handle(), crash::Repair::try_lock);
  r.sync();
  const std::size_t at = place_in(history, r.data(), std::max(replica_at, mirror_at));
  REQUIRE(at <= last);
  mirror.catch_up();
  REQUIRE(mirror.data == history[at]);
  REQUIRE(d.to_map() == history[at]);
  REQUIRE(shm::replica{d}.data() == history[at]);
  // and it goes on
  d["new"][1] = 1;
  REQUIRE(r.wait(60s));
  REQUIRE(r.sync() == 2); // the dict and the value in it
  mirror.catch_up();
  REQUIRE(r.data() == d.to_map());
  REQUIRE(mirror.data == r.data());
  REQUIRE(crash::findings(d.native_handle()) == crash::nothing);
}

struct Rig {
  support::Name name{"crash.follow"};
  Accounts d;
  std::unique_ptr<Replica> replica;
  std::unique_ptr<Mirror> mirror;
  Rig() : d(name, options()) {
    fill(d);
    replica = std::make_unique<Replica>(d);
    mirror = std::make_unique<Mirror>(d);
  }
};

// Returns how often the followers had to load anew.
std::uint64_t kill_writers(const std::vector<Step>& script, std::int64_t before, std::uint64_t most) {
  const auto history = history_of(script, before);
  std::unique_ptr<Rig> rig = std::make_unique<Rig>();
  Shared<std::atomic<std::size_t>> done;
  std::uint64_t resyncs = 0;
  crash::at_every_store(
      most,
      [&](auto start) {
        Accounts own(rig->name);
        for (std::int64_t i = 0; i < before; ++i) own["de"][3] = i;
        start();
        for (const auto& step : script) {
          step(own);
          ++*done;
        }
      },
      [&](std::uint64_t, bool) {
        follow_death(history, rig->d, *rig->replica, *rig->mirror, *done);
        resyncs += rig->replica->resyncs() + rig->mirror->resyncs;
        *done = 0;
        rig = std::make_unique<Rig>();
      });
  return resyncs;
}

} // namespace

TEST_CASE("killed anywhere in a write: replicas and watchers show whole commits, each once", "[crash]") {
  CHECK(kill_writers(steps(), 0, 2000) == 0);
}

TEST_CASE("killed anywhere in a write: replicas and watchers that had fallen behind load anew", "[crash]") {
  CHECK(kill_writers(steps(), 6000, 100) > (crash::sanitized ? 12 : 100)); // twice as much as the history holds
}

TEST_CASE("killed anywhere in the life of a watcher and a replica: nothing of theirs stays", "[crash]") {
  std::unique_ptr<Rig> rig = std::make_unique<Rig>();
  crash::at_every_store(
      2000,
      [&](auto start) {
        Accounts own(rig->name);
        start();
        auto w = own.watch();
        shm::replica r{own};
        own["de"][1] = 12;
        (void)w.next(1s);
        (void)r.sync();
        (void)w.next(1ms); // asleep
        (void)r.wait(1ms);
        r.reload();
        (void)own.snapshot().size();
      },
      [&](std::uint64_t, bool) {
        Accounts& d = rig->d;
        crash::repair(d.native_handle(), crash::Repair::try_lock);
        CHECK(d.status().shared.followers == 2); // the rig's own
        rig->replica->sync();
        rig->mirror->catch_up();
        const auto data = d.to_map();
        REQUIRE(rig->replica->data() == data);
        REQUIRE(rig->mirror->data == data);
        // what a dead one's snapshot kept is given back: a little history and live data are all that stays
        for (std::int64_t i = 0; i < 20000; ++i) d["de"][2] = i;
        d.compact();
        const auto s = d.status().shared;
        REQUIRE(s.pins == 0);
        REQUIRE(s.log_bytes <= 65536 * 8);
        REQUIRE(crash::findings(d.native_handle()) == crash::nothing);
        rig = std::make_unique<Rig>();
      });
}
