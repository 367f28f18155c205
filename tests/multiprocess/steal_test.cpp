// SPDX-License-Identifier: Apache-2.0
// Ways to wait for the dict's lock, taking it over by hand, and events.
#include <sys/resource.h>

#include <string>
#include <thread>
#include <vector>

#include "support/catch.hpp"
#include "support/process.hpp"
#include "support/rounds.hpp"

using namespace support;

namespace {

shmd_lock_options waiting(std::int64_t timeout) {
  shmd_lock_options o;
  shmd_lock_options_init(&o);
  o.timeout = timeout;
  return o;
}

struct Event {
  int kind, finished;
  std::int64_t pid;
  std::string name;
};
void collect(void* context, const shmd_event* e) {
  static_cast<std::vector<Event>*>(context)->push_back({e->kind, e->finished, e->pid, e->name});
}

// What the calling thread has used: processor time, and how often it went to sleep.
struct Usage {
  Usage() {
    rusage r;
    getrusage(RUSAGE_THREAD, &r);
    const auto ns = [](const timeval& t) { return std::int64_t{t.tv_sec} * 1'000'000'000 + t.tv_usec * 1'000; };
    processor = ns(r.ru_utime) + ns(r.ru_stime);
    sleeps = r.ru_nvcsw;
  }
  Usage since(const Usage& before) const {
    Usage u(*this);
    u.processor -= before.processor;
    u.sleeps -= before.sleeps;
    return u;
  }
  std::int64_t processor;
  long sleeps;
};

// A child that has locked the dict and waits to be killed.
struct Owner {
  explicit Owner(const std::string& name)
      : child([this, name] {
          Handle d(name);
          must(shmd_lock(d, SHMD_FOREVER), "lock");
          *locked = 1;
          for (;;) pause();
          return 0;
        }) {
    if (!eventually([this] { return *locked == 1; })) throw std::runtime_error("the owner did not lock");
  }
  Shared<std::atomic<int>> locked;
  Child child;
};

} // namespace

TEST_CASE("lock options: one try, a timeout, busy waiting, sleeping between tries", "[lock]") {
  Name name("lock.options");
  Handle d(name);
  Owner owner(name);
  auto how = waiting(SHMD_FOREVER);
  how.block = 0;
  CHECK(shmd_lock_with(d, &how) == SHMD_TIMED_OUT);
  for (const std::int64_t sleep : {std::int64_t{SHMD_UNTIL_WOKEN}, std::int64_t{0}, std::int64_t{1000000}}) {
    how = waiting(30'000'000);
    how.sleep_time = sleep;
    const auto start = now_ns();
    CHECK(shmd_lock_with(d, &how) == SHMD_TIMED_OUT);
    CHECK(now_ns() - start >= 30'000'000);
    CHECK(shmd_last_error()->pid == owner.child.pid());
    CHECK(shmd_last_error()->waited_ns >= 30'000'000);
    CHECK(shmd_last_error()->held_ns > 0);
  }
  owner.child.end(SIGKILL);
  how = waiting(60'000'000'000);
  how.sleep_time = 0;
  CHECK(shmd_lock_with(d, &how) == SHMD_RECOVERED); // busy waiting, too, notices a death
  CHECK(shmd_unlock(d) == 0);
}

// The mechanism: `sleep` of shmd_lock_wait in wait_once(). Of a wait of 0.2 s a spinning thread uses what it gets of the
// processor, here 150 ms, one that is woken 0.4 ms; in between the pauses are counted: 180, and 6 of one that is woken.
TEST_CASE("a busy wait takes the processor, a sleeping one does not, and sleep_time sleeps that often", "[lock]") {
  Name name("lock.sleep");
  Handle d(name);
  Owner owner(name);
  const auto use_of = [&](std::int64_t sleep) {
    auto how = waiting(200'000'000);
    how.sleep_time = sleep;
    const Usage before;
    CHECK(shmd_lock_with(d, &how) == SHMD_TIMED_OUT);
    return Usage().since(before);
  };
  std::string seen;
  const auto as_said = [&] {
    const auto woken = use_of(SHMD_UNTIL_WOKEN), busy = use_of(0), pausing = use_of(1'000'000);
    for (const auto& use : {woken, busy, pausing})
      seen += std::to_string(use.processor) + " ns, " + std::to_string(use.sleeps) + " sleeps; ";
    return busy.processor > 5 * woken.processor && busy.processor > 2 * pausing.processor &&
           pausing.sleeps > 2 * woken.sleeps && woken.sleeps > 0;
  };
  const bool shown = once_in(20, as_said);
  INFO("woken, busy, pausing: " << seen);
  CHECK(shown);
}

// The mechanism: the slice in wait_once() (lock_wait.c). Without it the waiter sleeps on beside the dead owner, or the free
// lock, as long as it likes to sleep.
TEST_CASE("a waiter that likes to sleep long notices a death within 100 ms, and an unlock", "[lock]") {
  Name name("lock.sleep");
  Handle d(name);
  Shared<std::atomic<int>> waiting_now;
  struct Result {
    std::atomic<int> result{-99};
    std::atomic<std::uint64_t> taken_at{0};
  };
  Shared<Result> r;
  const auto wait = [&] {
    Handle mine(name);
    auto how = waiting(60'000'000'000);
    how.sleep_time = 10'000'000'000;
    *waiting_now = 1;
    r->result = shmd_lock_with(mine, &how);
    r->taken_at = now_ns();
    return shmd_unlock(mine) == 0 ? 0 : 1;
  };
  const auto in_time = [&](const auto& release, int expected) {
    *waiting_now = 0;
    Child waiter(wait);
    REQUIRE(eventually([&] { return *waiting_now == 1; }));
    std::this_thread::sleep_for(60ms);
    const std::uint64_t before = now_ns();
    release();
    REQUIRE(waiter.join() == 0);
    CHECK(r->result == expected);
    return r->taken_at - before < 100'000'000;
  };
  SECTION("a death") {
    const auto after_death = [&] {
      Owner owner(name);
      return in_time([&] { owner.child.end(SIGKILL); }, SHMD_RECOVERED);
    };
    CHECK(once_in(10, after_death));
  }
  SECTION("an unlock") {
    const auto after_unlock = [&] {
      REQUIRE(shmd_lock(d, 0) == 0);
      return in_time([&] { REQUIRE(shmd_unlock(d) == 0); }, 0);
    };
    CHECK(once_in(10, after_unlock));
  }
}

// The mechanism: `steal` and `steal_last` of shmd_lock_wait in shmd_lock_wait_for().
TEST_CASE("who does not want to take over from the dead is told of them, or takes over at the end of the timeout",
          "[lock]") {
  Name name("lock.nosteal");
  Handle d(name);
  {
    Owner owner(name);
    owner.child.end(SIGKILL);
  }
  auto how = waiting(60'000'000);
  how.steal = how.steal_after_timeout = 0;
  CHECK(shmd_lock_with(d, &how) == SHMD_TIMED_OUT);
  shmd_lock_info info;
  REQUIRE(shmd_lock_status(d, &info) == 0);
  CHECK(info.held == 1);
  CHECK(info.alive == 0);
  CHECK(info.since > 0);
  how.steal_after_timeout = 1;
  const auto start = now_ns();
  CHECK(shmd_lock_with(d, &how) == SHMD_RECOVERED);
  CHECK(now_ns() - start >= 60'000'000);
  CHECK(shmd_unlock(d) == 0);
}

TEST_CASE("the lock is taken over by hand from a dead owner of that pid only", "[lock]") {
  Name name("lock.steal");
  Handle d(name);
  CHECK(shmd_lock_steal(d, getpid()) == SHMD_NOT_FOUND); // nobody holds it
  Owner owner(name);
  const std::int64_t pid = owner.child.pid();
  CHECK(shmd_lock_steal(d, pid + 1) == SHMD_NOT_FOUND);
  CHECK(shmd_lock_steal(d, pid) == SHMD_ERR_OWNER_ALIVE);
  CHECK(shmd_last_error()->pid == pid);
  CHECK_THAT(shmd_last_error()->message, contains("alive"));
  CHECK(shmd_lock_steal(d, 0) == SHMD_ERR_OWNER_ALIVE);
  shmd_lock_info info;
  REQUIRE(shmd_lock_status(d, &info) == 0);
  CHECK(info.pid == pid); // nothing was taken from it
  owner.child.end(SIGKILL);
  CHECK(shmd_lock_steal(d, pid + 1) == SHMD_NOT_FOUND);
  CHECK(shmd_lock_steal(d, pid) == SHMD_RECOVERED);
  REQUIRE(shmd_lock_status(d, &info) == 0);
  CHECK(info.by_this_thread == 1);
  CHECK(put(d, "k", 1) == 0);
  CHECK(shmd_unlock(d) == 0);
  CHECK(shmd_unlock(d) == SHMD_ERR_NOT_LOCKED);
}

TEST_CASE("of many who take over by hand one succeeds", "[lock]") {
  Name name("lock.race");
  for (int round = 0; round < 10; ++round) {
    Handle d(name);
    Owner owner(name);
    const std::int64_t pid = owner.child.pid();
    owner.child.end(SIGKILL);
    Shared<std::atomic<int>> go, won;
    const auto rob = [&] {
      Handle own(name);
      while (*go == 0) {
      }
      const int result = shmd_lock_steal(own, pid);
      if (result == SHMD_RECOVERED) {
        ++*won;
        must(shmd_unlock(own), "unlock");
      }
      return result == SHMD_RECOVERED || result == SHMD_NOT_FOUND || result == SHMD_ERR_OWNER_ALIVE ? 0 : 1;
    };
    Child a(rob), b(rob), c(rob);
    *go = 1;
    CHECK(a.join() == 0);
    CHECK(b.join() == 0);
    CHECK(c.join() == 0);
    CHECK(*won == 1);
  }
}

// The mechanism: shmd_hold_take_over() notes, shmd_lock_tell() tells when the lock is free.
TEST_CASE("hooks are told of take-overs once the lock is free, and may use the dict", "[event]") {
  Name name("event");
  Handle d(name), second(name);
  std::vector<Event> seen, also;
  struct Context {
    shmd_dict* d;
    std::vector<Event>* seen;
    int locked;
  } context{d, &seen, 0};
  REQUIRE(shmd_set_event_hook(
              d,
              [](void* c, const shmd_event* e) {
                auto* me = static_cast<Context*>(c);
                collect(me->seen, e);
                shmd_lock_info info;
                must(shmd_lock_status(me->d, &info), "status");
                me->locked += info.held;
                must(put(me->d, "hook", 1), "put");
              },
              &context) == 0);
  REQUIRE(shmd_set_event_hook(second, collect, &also) == 0);
  std::int64_t pid;
  {
    Owner owner(name);
    pid = owner.child.pid();
    owner.child.end(SIGKILL);
  }
  REQUIRE(shmd_lock(d, SHMD_FOREVER) == SHMD_RECOVERED);
  CHECK(put(d, "inside", 1) == 0);
  CHECK(seen.empty()); // not while it is held
  REQUIRE(shmd_unlock(d) == 0);
  REQUIRE(seen.size() == 2);
  CHECK(seen[0].kind == SHMD_EVENT_TOOK_OVER);
  CHECK(seen[0].pid == pid);
  CHECK(seen[1].kind == SHMD_EVENT_RECOVERED);
  CHECK(seen[1].finished == 0);
  CHECK(context.locked == 0);
  CHECK(also.size() == 2);
  CHECK(get(d, "hook") == 1);

  Shared<std::atomic<int>> held;
  {
    Child holder([&] {
      Handle own(name);
      must(shmd_named_lock(own, "nightly", 0), "named_lock");
      *held = 1;
      for (;;) pause();
      return 0;
    });
    REQUIRE(eventually([&] { return *held == 1; }));
    pid = holder.pid();
  }
  REQUIRE(shmd_set_event_hook(second, nullptr, nullptr) == 0);
  REQUIRE(shmd_named_lock(d, "nightly", 60'000'000'000) == SHMD_RECOVERED);
  REQUIRE(seen.size() == 3);
  CHECK(seen[2].kind == SHMD_EVENT_TOOK_OVER);
  CHECK(seen[2].pid == pid);
  CHECK(seen[2].name == "nightly");
  CHECK(also.size() == 2); // removed
  REQUIRE(shmd_set_event_hook(d, nullptr, nullptr) == 0);
}

TEST_CASE("a single write that takes over tells its event before it returns", "[event]") {
  Name name("event.put");
  Handle d(name);
  std::vector<Event> seen;
  REQUIRE(shmd_set_event_hook(d, collect, &seen) == 0);
  {
    Owner owner(name);
    owner.child.end(SIGKILL);
  }
  REQUIRE(put(d, "k", 1) == 0);
  CHECK(seen.size() == 2);
}
