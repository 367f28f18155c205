// SPDX-License-Identifier: Apache-2.0
#include <atomic>
#include <chrono>
#include <memory>
#include <mutex>
#include <set>
#include <stdexcept>
#include <thread>

#include "support.hpp"

using namespace std::chrono_literals;
using support::Own;
using ints = shm::dict<std::string, int>;

namespace {

// Runs f while another thread holds the lock.
template <class F>
void while_locked(ints& d, F&& f) {
  std::atomic<bool> locked{false}, stop{false};
  std::thread holder([&] {
    shm::guard g{d};
    locked = true;
    while (!stop) std::this_thread::sleep_for(1ms);
  });
  while (!locked) std::this_thread::sleep_for(1ms);
  f();
  stop = true;
  holder.join();
}

} // namespace

// Guard: guard holds the lock until unlock(); mine() (lock.c) lets its own thread in; reads take no lock (read.h).
TEST_CASE("a guard makes other writers wait, its own thread writes on, readers read on") {
  Own<ints> own("guard");
  own.d["a"] = 1;
  std::thread writer;
  {
    shm::guard g{own.d, 1500ms};
    CHECK(g.owns_lock());
    CHECK_FALSE(g.recovered());
    writer = std::thread([&] { own.d["a"] += 10; });
    CHECK(support::eventually([&] { return own.d.lock_status().waited_for; }));
    std::thread([&] { CHECK((own.d["a"] < 10)); }).join();
    own.d["a"] = 2;
    shm::guard again{own.d};
    own.d["a"] = own.d["a"].value() + 1;
  }
  writer.join();
  CHECK((own.d["a"] == 13));
}

// Guard: timed_out() in lock_wait.c describes the holder; throw_as() (error.hpp) makes TIMED_OUT of a try lock_busy.
TEST_CASE("a timeout names the holder, a try-lock says busy") {
  Own<ints> own("timeout");
  while_locked(own.d, [&] {
    try {
      shm::guard g{own.d, 30ms};
      FAIL("locked twice");
    } catch (const shm::lock_timeout& e) {
      CHECK(e.blocking_pid() == getpid());
      CHECK(e.thread() != 0);
      CHECK(e.waited() >= 30ms);
      CHECK_FALSE(std::string(e.program()).empty());
      CHECK(e.code() == std::errc::timed_out);
    }
    try {
      shm::guard g{own.d, std::try_to_lock};
      FAIL("locked twice");
    } catch (const shm::lock_busy& e) {
      CHECK(e.blocking_pid() == getpid());
    }
    CHECK_FALSE(own.d.try_lock());
    CHECK_FALSE(own.d.try_lock_for(5ms));
    CHECK_FALSE(own.d.try_lock_until(std::chrono::steady_clock::now() + 5ms));
    CHECK_THROWS_AS(own.d.transact([](auto&) {}, 10ms), shm::lock_timeout);
    CHECK(own.d.get("a", 5) == 5);
  });
  CHECK(own.d.try_lock());
  own.d.unlock();
}

// Guard: the attachment's `timeout` in shmd_call_enter_slowly() and limit_of() (lock.c).
TEST_CASE("a write waits as long as the options say") {
  support::Name name("write_timeout");
  ints d{name, support::small().timeout(30ms)};
  while_locked(d, [&] {
    CHECK_THROWS_AS(d["a"] = 1, shm::lock_timeout);
    CHECK_THROWS_AS(d["a"] += 1, shm::lock_timeout);
    CHECK_THROWS_AS(d.update({{"a", 1}}), shm::lock_timeout);
    CHECK_THROWS_AS(d.lock(), shm::lock_timeout);
  });
  d["a"] = 1;
}

// Guard: lockable in dict.hpp.
TEST_CASE("a dict is lockable for the standard library") {
  Own<ints> a("lockable_a"), b("lockable_b");
  {
    std::scoped_lock both(a.d, b.d);
    a.d["x"] = 1;
    std::thread([&] { CHECK_FALSE(b.d.try_lock()); }).join();
  }
  std::unique_lock lock(a.d, 100ms);
  CHECK(lock.owns_lock());
  lock.unlock();
  Own<shm::dict<int, ints>> tree("lockable_tree");
  auto ref = tree.d[1].ref();
  std::lock_guard of_ref(ref);
  std::thread([&] { CHECK_FALSE(tree.d.try_lock()); }).join();
}

// Guard: unlock() asks the handle, which is closed; shmd_close() has given the lock back.
TEST_CASE("a guard that outlives the close of its dict unlocks nothing") {
  Own<ints> own("guard_close");
  shm::guard g{own.d};
  own.d.close();
  ints again{own.name, support::small()};
  CHECK(again.try_lock());
  again.unlock();
}

// Guard: goes_long_way() in api.c: its own thread reads what is staged; finish() in dict.c commits nothing of it
// meanwhile.
TEST_CASE("a transaction is seen as a whole, by its own thread at once") {
  Own<ints> own("transaction");
  auto& d = own.d;
  d["b"] = 1;
  const int result = d.transact([&](auto& tx) {
    tx["a"] = 1;
    tx.erase("b");
    d["c"] = 3;
    CHECK((tx["c"] == 3));
    CHECK((d["a"] == 1));
    CHECK(d.size() == 2);
    CHECK_FALSE(d.contains("b"));
    CHECK(d.to_map() == std::unordered_map<std::string, int>{{"a", 1}, {"c", 3}});
    CHECK((tx["a"] += 1) == 2);
    CHECK(tx.with("a", [](std::string_view bytes) { return bytes.size(); }) == 4u);
    std::thread([&] {
      CHECK_FALSE(d.contains("a"));
      CHECK((d["b"] == 1));
      CHECK(d.size() == 1);
    }).join();
    return 42;
  });
  CHECK(result == 42);
  CHECK(d.to_map() == std::unordered_map<std::string, int>{{"a", 2}, {"c", 3}});
}

// Guard: ~transaction() (transaction.hpp); `nested` in shmd_transaction_begin(), not_open() (transaction.c).
TEST_CASE("a throw aborts a transaction, and nothing of it is left") {
  Own<ints> own("abort");
  auto& d = own.d;
  d["a"] = 1;
  CHECK_THROWS_AS(d.transact([&](auto& tx) {
    tx["a"] = 2;
    tx["b"] = 2;
    d.update({{"c", 1}});
    throw std::runtime_error("no");
  }),
                  std::runtime_error);
  CHECK(d.to_map() == std::unordered_map<std::string, int>{{"a", 1}});
  {
    shm::transaction tx{d};
    tx["a"] = 3;
  }
  CHECK((d["a"] == 1));
  shm::transaction tx{d, 100ms};
  tx["a"] = 4;
  CHECK(support::code_of([&] { d.transact([](auto&) {}); }) == SHMD_ERR_IN_TRANSACTION);
  tx.commit();
  CHECK(support::code_of([&] { tx.commit(); }) == SHMD_ERR_NO_TRANSACTION);
  CHECK((d["a"] == 4));
  d.transact([&](auto& t) {
    t["a"] = 5;
    t.abort();
  });
  CHECK((d["a"] == 4));
}

// Guard: out_of_place() (transaction.hpp). What was written through it went to the dict by itself, and stayed.
TEST_CASE("a transaction that has ended, or is used in another thread, is no way round it") {
  Own<ints> own("elsewhere");
  auto& d = own.d;
  const auto refused = [](auto f) { return support::code_of(f) == SHMD_ERR_NO_TRANSACTION; };
  for (const bool commits : {true, false}) {
    shm::transaction tx{d};
    tx["a"] = 1;
    std::thread([&] { CHECK(refused([&] { tx["thread"] = 1; })); }).join();
    if (commits)
      tx.commit();
    else
      tx.abort();
    CHECK(refused([&] { tx["late"] = 1; }));
    CHECK(refused([&] { tx.erase("a"); }));
    CHECK(refused([&] { tx.update({{"late", 1}}); }));
    CHECK(refused([&] { static_cast<void>(tx.contains("a")); }));
    std::thread([&] { CHECK(refused([&] { tx["thread"] = 1; })); }).join();
  }
  CHECK_THROWS_AS(d.transact([](auto& tx) {
    tx.abort();
    tx["late"] = 1;
  }),
                  shm::error);
  CHECK(d.to_map() == std::unordered_map<std::string, int>{{"a", 1}});
}

// Guard: nodes are staged like records (stage_node in dict.c), and found by the overlay (shmd_tx_get).
TEST_CASE("a transaction creates, replaces and erases nested dicts") {
  using tree = shm::dict<std::string, ints>;
  Own<tree> own("nested_transaction");
  auto& d = own.d;
  d["de"]["berlin"] = 1;
  CHECK_THROWS(d.transact([](auto& tx) {
    tx["fr"]["paris"] = 1;
    tx["de"] = {{"bonn", 1}};
    CHECK((tx["de"]["bonn"] == 1));
    CHECK_FALSE(tx["de"].contains("berlin"));
    throw 1;
  }));
  CHECK(d.to_map() == shm::local_t<tree>{{"de", {{"berlin", 1}}}});
  d.transact([](auto& tx) {
    tx["fr"]["paris"] += 1;
    tx["fr"]["lyon"] += 2;
    CHECK(tx["fr"].size() == 2);
    CHECK(tx.to_map().size() == 2);
    CHECK(tx.pop("de").size() == 1);
    tx["it"] = {{"rome", 3}};
    tx.erase("it");
  });
  CHECK(d.to_map() == shm::local_t<tree>{{"fr", {{"paris", 1}, {"lyon", 2}}}});
  auto fr = d.at("fr");
  fr.transact([](auto& tx) {
    tx["nice"] = 3;
    tx.erase("lyon");
  });
  CHECK((d["fr"] == std::unordered_map<std::string, int>{{"paris", 1}, {"nice", 3}}));
}

// Guard: a commit is one redo list, published once; shmd_snapshot_version() goes back to what was below the position.
TEST_CASE("snapshots see transactions whole and stay as they are") {
  Own<ints> own("snapshot");
  auto& d = own.d;
  d.update({{"a", 0}, {"b", 0}});
  std::atomic<bool> stop{false};
  std::atomic<int> rounds{0};
  std::thread writer([&] {
    for (int i = 1; !stop; ++i) {
      while (i / 10'000 > rounds && !stop) std::this_thread::yield(); // a snapshot holds back what it cannot see
      d.transact([&](auto& tx) {
        tx["a"] = i;
        tx["b"] = -i;
      });
    }
  });
  std::set<int> seen;
  const auto end = std::chrono::steady_clock::now() + 60s;
  for (; rounds < 2000 || (seen.size() < 2 && std::chrono::steady_clock::now() < end); ++rounds) {
    const auto s = d.snapshot();
    const int a = s.at("a"), b = s.at("b");
    seen.insert(a);
    REQUIRE(a == -b);
    int sum = 0;
    for (auto [k, v] : s) sum += v;
    REQUIRE(sum == 0);
    REQUIRE(s.at("a") == a);
  }
  CHECK(seen.size() > 1);
  stop = true;
  writer.join();
}

// Guard: snapshot.hpp; shmd_snapshot_index() finds the root that clear() replaced.
TEST_CASE("a snapshot has the look-ups of a dict") {
  Own<ints> own("snapshot_interface");
  auto& d = own.d;
  d.update({{"a", 1}, {"b", 2}});
  const auto s = d.snapshot();
  d.clear();
  CHECK(s.get("a") == 1);
  CHECK(s.get("x") == std::nullopt);
  CHECK(s.get("x", 5) == 5);
  CHECK((s["b"] == 2));
  CHECK(s.find("b")->second == 2);
  CHECK(s.find("x") == s.end());
  CHECK(s.contains("a"));
  CHECK_FALSE(s.contains("x"));
  CHECK(s.size() == 2);
  CHECK_FALSE(s.empty());
  CHECK(s.keys().to_vector().size() == 2);
  CHECK(s.to_map() == std::unordered_map<std::string, int>{{"a", 1}, {"b", 2}});
  CHECK_THROWS_AS(s.at("x"), shm::key_not_found);
  CHECK(d.snapshot().position() > s.position());
  CHECK(d.snapshot().empty());
}

// Guard: snapshot_state holds the core's handle (tree.hpp).
TEST_CASE("snapshots and iterators outlive the close of their dict") {
  Own<ints> own("snapshot_close");
  own.d["a"] = 1;
  auto s = std::make_optional(own.d.snapshot());
  auto it = own.d.begin();
  own.d.close();
  CHECK(s->at("a") == 1);
  CHECK(it->second == 1);
  s.reset();
  CHECK(++it == decltype(it)());
  CHECK_FALSE(shm::unlink(own.name));
}

// Guard: node() in snapshot.hpp.
TEST_CASE("a moved-from snapshot throws closed, the one it was moved to goes on") {
  Own<ints> own("snapshot_move");
  own.d["a"] = 1;
  auto s = own.d.snapshot();
  const auto moved = std::move(s);
  // NOLINTBEGIN(bugprone-use-after-move)
  CHECK_THROWS_AS(s.get("a"), shm::closed);
  CHECK_THROWS_AS(s.at("a"), shm::closed);
  CHECK_THROWS_AS(s["a"], shm::closed);
  CHECK_THROWS_AS(s.contains("a"), shm::closed);
  CHECK_THROWS_AS(s.size(), shm::closed);
  CHECK_THROWS_AS(s.empty(), shm::closed);
  CHECK_THROWS_AS(s.begin(), shm::closed);
  CHECK_THROWS_AS(s.find("a"), shm::closed);
  CHECK_THROWS_AS(s.keys(), shm::closed);
  CHECK_THROWS_AS(s.to_map(), shm::closed);
  CHECK(s.position() == 0);
  CHECK_FALSE(s.exists());
  // NOLINTEND(bugprone-use-after-move)
  CHECK(moved.at("a") == 1);
  auto keys = moved.keys();
  const auto kept = std::move(keys);
  CHECK(keys.to_vector().empty()); // NOLINT(bugprone-use-after-move)
  CHECK(kept.to_vector().size() == 1);
}

// Guard: keep_open (handle.hpp), in update() and get_or_compute().
TEST_CASE("a function given to update() may close its dict, or destroy it, and the value is stored") {
  using nested = shm::dict<std::string, shm::dict<std::string, int>>;
  const support::Name name("close_within"), tree("close_within_tree");
  const bool destroy = GENERATE(false, true);
  const auto end = [destroy](auto& d) {
    if (destroy)
      d.reset();
    else
      d->close();
  };
  const auto options = support::small().unlink(shm::never);
  {
    auto d = std::make_unique<ints>(name, options);
    (*d)["a"] = 1;
    CHECK((*d)["a"].update([&](int v) { return end(d), v + 1; }) == 2);
    if (d) CHECK_THROWS_AS(d->get("a"), shm::closed);
  }
  {
    auto d = std::make_unique<ints>(name, options);
    CHECK(d->get("a") == 2);
    const auto fail = [&](int v) -> int {
      end(d);
      throw std::runtime_error(std::to_string(v));
    };
    CHECK_THROWS_AS((*d)["a"].update(fail), std::runtime_error);
  }
  {
    auto d = std::make_unique<nested>(tree, options);
    CHECK((*d)["x"]["y"].update([&](int v) { return end(d), v + 1; }) == 1); // a level is missing
  }
  {
    const ints d{shm::open_only, name};
    CHECK(d.get("a") == 2);
    CHECK(d.status().local.handles == 1); // what was closed has ended
  }
}
