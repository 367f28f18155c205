// SPDX-License-Identifier: Apache-2.0
// Events through the facade: which there are, what each tells, when hooks are called, and when no more.
#include <memory>
#include <shm/shm.hpp>
#include <string>
#include <thread>
#include <vector>

#include "multiprocess/crash_every_store.hpp"
#include "support/catch.hpp"
#include "support/process.hpp"

using namespace std::chrono_literals;

using Counts = shm::dict<std::string, int>;

namespace {

shm::options small() { return shm::options{}.max_size(std::uint64_t{64} << 20); }

template <class D>
struct Own {
  explicit Own(const std::string& what) : name("cpp." + what), d(name, small()) {}
  support::Name name;
  D d;
};

// An event with texts of its own.
struct Told {
  explicit Told(const shm::event& e)
      : kind(e.kind), finished(e.finished), pid(e.pid), position(e.position), program(e.program), name(e.name) {}
  shm::event_kind kind;
  bool finished;
  std::int64_t pid;
  std::uint64_t position;
  std::string program, name;
};
struct Listener {
  explicit Listener(Counts& d) : program(d.status().processes.at(0).program) {
    d.on_event([this](const shm::event& e) { told.emplace_back(e); });
  }
  std::string program; // this one, and its forked children
  std::vector<Told> told;
};

// Runs body(dict) in a child that is killed at its end. Its pid.
template <class Body>
std::int64_t killed(const std::string& name, Body body) {
  support::Child child([&]() -> int {
    Counts d(name, small());
    body(d);
    raise(SIGKILL);
    return 0;
  });
  const std::int64_t pid = child.pid();
  child.join();
  return pid;
}

} // namespace

TEST_CASE("an event of a lock's take-over tells whose it was, and that nothing was left half done") {
  Own<Counts> o("event.lock");
  const Listener listener(o.d);
  const auto& told = listener.told;
  const auto pid = killed(o.name, [](Counts& d) {
    d.lock();
    d["a"] = 1;
  });
  const std::uint64_t position = o.d.status().shared.position;
  o.d["b"] = 2;
  REQUIRE(told.size() == 2);
  CHECK(told[0].kind == shm::event_kind::took_over);
  CHECK(told[1].kind == shm::event_kind::recovered);
  for (const auto& e : told) {
    CHECK_FALSE(e.finished);
    CHECK(e.pid == pid);
    CHECK(e.program == listener.program);
    CHECK(e.name.empty());
    CHECK(e.position == position); // before what took it over
  }
  CHECK(o.d.status().shared.position > position);
}

TEST_CASE("an event of a named lock's take-over tells its name") {
  Own<Counts> o("event.named");
  const Listener listener(o.d);
  const auto& told = listener.told;
  const auto pid = killed(o.name, [](Counts& d) {
    auto job = d.named_lock("nightly");
    job.lock();
    raise(SIGKILL);
  });
  const std::uint64_t position = o.d.status().shared.position;
  auto job = o.d.named_lock("nightly");
  job.lock();
  CHECK(job.recovered());
  REQUIRE(told.size() == 1);
  CHECK(told[0].kind == shm::event_kind::took_over);
  CHECK_FALSE(told[0].finished);
  CHECK(told[0].pid == pid);
  CHECK(told[0].program == listener.program);
  CHECK(told[0].name == "nightly");
  CHECK(told[0].position >= position);
  CHECK(told[0].position <= o.d.status().shared.position);
}

TEST_CASE("an event of a follower that fell behind tells where it was") {
  const support::Name name("cpp.event.behind");
  Counts d(name, small().buffer_size(64 << 10).segment_size(64 << 10));
  const Listener listener(d);
  const auto& told = listener.told;
  auto w = d.watch();
  d["first"] = 1;
  REQUIRE(w.poll() != nullptr);
  const std::uint64_t position = w.position();
  for (int i = 0; i < 20'000; ++i) d[std::to_string(i % 100)] = i;
  CHECK(told.empty()); // it is the follower's event, not the writer's
  REQUIRE(w.poll()->kind == shm::change_kind::resync);
  REQUIRE(told.size() == 1);
  CHECK(told[0].kind == shm::event_kind::resync);
  CHECK_FALSE(told[0].finished);
  CHECK(told[0].pid == 0);
  CHECK(told[0].program.empty());
  CHECK(told[0].name.empty());
  CHECK(told[0].position == position);
}

// The mechanism: `replays` before and after, in shmd_hold_take_over().
TEST_CASE("an event of a recovery tells whether a committed write was finished, wherever its owner died") {
  Own<Counts> o("event.finished");
  o.d["k"] = 0;
  Listener listener(o.d);
  auto& told = listener.told;
  int value = 0, finished = 0, forgotten = 0;
  std::uint64_t replays = 0;
  crash::at_every_store(
      100,
      [&](auto start) {
        Counts d(o.name, small());
        start();
        d["k"] = value + 1;
      },
      [&](std::uint64_t, bool) {
        o.d["other"] += 1;
        const auto now = o.d.status().shared;
        if (!told.empty()) { // its lock was held
          REQUIRE(told.size() == 2);
          REQUIRE(told[0].kind == shm::event_kind::took_over);
          REQUIRE_FALSE(told[0].finished);
          REQUIRE(told[1].kind == shm::event_kind::recovered);
          REQUIRE(told[1].finished == (now.replays > replays));
          if (told[1].finished) REQUIRE((o.d["k"] == value + 1));
          ++(told[1].finished ? finished : forgotten);
          REQUIRE(told[1].position < now.position);
          told.clear();
        }
        REQUIRE((now.replays - replays) <= 1);
        replays = now.replays;
        value = o.d["k"];
      });
  CHECK(finished > 0);
  CHECK(forgotten > 0);
}

TEST_CASE("hooks are told of take-overs, a replaced one no more, and one may replace itself") {
  Own<Counts> o("event");
  std::vector<shm::event_kind> kinds;
  std::int64_t pid = 0, told = 0;
  const auto die_locked = [&] {
    support::Child owner([&]() -> int {
      Counts d(o.name, small());
      d.lock();
      raise(SIGKILL);
      return 0;
    });
    pid = owner.pid();
    owner.join();
  };
  int replaced = 0;
  o.d.on_event([&](const shm::event& e) {
    kinds.push_back(e.kind);
    told = e.pid;
    o.d["hook"] += 1;
    o.d.on_event([&](const shm::event&) { ++replaced; });
  });
  die_locked();
  o.d["a"] = 1;
  REQUIRE(kinds.size() == 1);
  CHECK(kinds[0] == shm::event_kind::took_over);
  CHECK(told == pid);
  CHECK(replaced == 1); // recovered
  CHECK((o.d["hook"] == 1));
  die_locked();
  o.d["a"] = 2;
  CHECK(kinds.size() == 1);
  CHECK(replaced == 3);
  o.d.on_event(nullptr);
  die_locked();
  o.d["a"] = 3;
  CHECK(replaced == 3);
}

// The mechanism: take-overs set the waiters' bit, which leads to shmd_lock_tell(); that waits for the end of all holds; shmd_registry_hold() finds out what is gone by then.
TEST_CASE("hooks are told when no lock is held, unless their dict is closed") {
  Own<Counts> other("event.other");
  const support::Name name("cpp.event.kept");
  Counts keeper(name, small());
  const auto take_over = [&](Counts& d) {
    support::Child owner([&]() -> int {
      Counts mine(name, small());
      mine.lock();
      raise(SIGKILL);
      return 0;
    });
    owner.join();
    d["a"] = 1;
  };
  int told = 0;
  keeper.on_event([&](const shm::event&) { ++told; });
  other.d.lock();
  take_over(keeper);
  CHECK(told == 0);
  other.d.unlock();
  CHECK(told == 2); // took over, recovered
  keeper.on_event(nullptr);

  // nobody sleeps on this one's lock: the first look at it asks for the owner
  Counts quick(shm::anonymous, small().timeout(1ns));
  support::Child owner([&]() -> int {
    quick.lock();
    raise(SIGKILL);
    return 0;
  });
  owner.join();
  quick.on_event([&](const shm::event&) { ++told; });
  quick["a"] = 1;
  CHECK(told == 4);

  auto closed = std::make_unique<Counts>(shm::anonymous, small());
  const auto die_in_it = [&] {
    support::Child another([&]() -> int {
      closed->lock();
      raise(SIGKILL);
      return 0;
    });
    another.join();
  };
  closed->on_event([&](const shm::event&) { ++told; });
  die_in_it();
  other.d.lock();
  (*closed)["a"] = 1;
  std::thread([&] { closed.reset(); }).join();
  other.d.unlock();
  CHECK(told == 4);
}
