// SPDX-License-Identifier: Apache-2.0
// What stands round a dict, through the facade: status, list, locks, named locks, get_or_compute, scans, backups.
#include <shm/fmt.hpp>
#include <shm/json.hpp>

#include <atomic>
#include <fstream>
#include <istream>
#include <map>
#include <memory>
#include <mutex>
#include <sstream>
#include <thread>

#include "support/catch.hpp"
#include "support/process.hpp"

using namespace std::chrono_literals;

using Counts = shm::dict<std::string, int>;
using Nested = shm::dict<std::string, Counts>;

namespace {

shm::options small() { return shm::options{}.max_size(std::uint64_t{64} << 20); }

template <class D>
struct Own {
  explicit Own(const std::string& what) : name("cpp." + what), d(name, small()) {}
  support::Name name;
  D d;
};

template <class F>
int code_of(F&& f) {
  try {
    f();
  } catch (const shm::error& e) {
    return e.code().value();
  }
  return 0;
}

} // namespace

TEST_CASE("status tells shared and local figures apart, as struct, text, JSON and through fmt") {
  Own<Counts> o("status");
  Counts reader(shm::open_only, o.name, small().read_only());
  o.d["a"] = 1;
  o.d["b"] = 2;
  auto job = o.d.named_lock("nightly");
  job.lock();
  const auto held = o.d.snapshot();
  auto watcher = o.d.watch();
  const shm::replica replica(o.d);
  shm::guard g(o.d);
  const shm::status s = o.d.status();
  CHECK(s.shared.name == std::string(o.name));
  CHECK(s.shared.key_type == "str");
  CHECK(s.shared.value_type == "i32");
  CHECK(s.shared.keys == 2);
  CHECK(s.shared.dicts == 0);
  CHECK(s.shared.attached == 1);
  CHECK(s.shared.id.size() == 32);
  CHECK(s.shared.pins == 1);
  CHECK(s.shared.followers == 2);
  CHECK(s.shared.oldest_pin == held.position());
  CHECK_FALSE(s.shared.unlinked);
  CHECK(s.shared.commits >= 3);
  CHECK(s.local.pid == getpid());
  CHECK(s.local.handles == 1);
  CHECK(s.local.pins == 1);
  CHECK_FALSE(s.local.read_only);
  CHECK(reader.status().local.read_only);
  CHECK(s.lock.held);
  CHECK(s.lock.alive);
  CHECK(s.lock.by_this_thread);
  CHECK(s.lock.pid == getpid());
  CHECK(s.lock.since > 0ns);
  REQUIRE(s.processes.size() == 1);
  CHECK(s.processes[0].this_process);
  CHECK(s.processes[0].pid == getpid());
  CHECK(s.processes[0].pins);
  CHECK_FALSE(s.processes[0].program.empty());
  REQUIRE(s.named_locks.size() == 1);
  CHECK(s.named_locks[0].name == "nightly");
  CHECK(s.named_locks[0].by_this_dict);

  const nlohmann::json j = s;
  CHECK((j["shared"]["keys"] == 2));
  CHECK((j["shared"]["unlink"] == "last_closes"));
  CHECK(j["local"]["pid"] == getpid());
  CHECK((j["lock"]["held"] == true));
  CHECK(j["processes"][0]["pid"] == getpid());
  CHECK(j["named_locks"][0]["name"] == "nightly");
  CHECK(j.dump().size() > 500);
  const std::string text = fmt::format("{}", s);
  CHECK(text == to_string(s));
  CHECK_THAT(text, support::contains("  keys: 2\n"));
  CHECK_THAT(text, support::contains("nightly"));

  std::FILE* out = std::tmpfile();
  o.d.print_status(out);
  CHECK(std::ftell(out) > 500);
  std::fclose(out);
  o.d.unlink();
  CHECK(o.d.status().shared.unlinked);
  o.d.close();
  CHECK(code_of([&] { o.d.status(); }) == SHMD_ERR_CLOSED);
  CHECK(code_of([&] { o.d.lock_status(); }) == SHMD_ERR_CLOSED);
}

TEST_CASE("list finds the dict and what cannot be read") {
  Own<Counts> o("list");
  o.d["a"] = 1;
  const std::string foreign = support::unique_name("cpp.foreign");
  std::FILE* f = std::fopen(("/dev/shm/shmdict." + foreign).c_str(), "w");
  REQUIRE(f != nullptr);
  std::fputs("not ours", f);
  std::fclose(f);
  std::map<std::string, shm::object_info> found;
  for (auto& info : shm::list()) found[info.name] = info;
  std::remove(("/dev/shm/shmdict." + foreign).c_str());
  const auto& mine = found.at(std::string(o.name));
  CHECK_FALSE(mine.error);
  CHECK(mine.keys == 1);
  CHECK(mine.attached == 1);
  CHECK_FALSE(mine.orphaned);
  CHECK(mine.value_type == "i32");
  CHECK(found.at(foreign).error == shm::errc::foreign_object);
  const nlohmann::json j = mine;
  CHECK((j["keys"] == 1));
  CHECK((j["lock"]["held"] == false));
  CHECK(nlohmann::json(found.at(foreign)).contains("error"));
  CHECK_THAT(fmt::format("{}", mine), support::contains("  keys: 1\n"));
}

TEST_CASE("figures of any bytes make valid text and JSON") {
  CHECK(shm::detail::printable("d\xc3\xa9j\xc3\xa0 vu") == "d\xc3\xa9j\xc3\xa0 vu");
  CHECK(shm::detail::printable("\x01\xff\xc3(\xe0\x80\x80\xed\xa0\x80") ==
        "???"
        "("
        "??????");
  Own<Counts> o("bytes");
  std::thread other; // a key lock whose key is no text
  std::string key = "\xff\xfe";
  o.d.get_or_compute(key, [&] {
    const nlohmann::json j = o.d.status();
    CHECK(j["named_locks"][0]["name"] == "??");
    CHECK(j["named_locks"][0]["is_key"] == true);
    CHECK_NOTHROW(j.dump());
    return 1;
  });
}

TEST_CASE("lock options throw what they say") {
  Own<Counts> o("lockoptions");
  Counts other(o.name, small());
  std::unique_lock<Counts> held(o.d);
  std::thread waiter([&] {
    try {
      shm::guard g(other, shm::lock_options{}.timeout(20ms).spin());
      FAIL_CHECK("locked");
    } catch (const shm::lock_timeout& e) {
      CHECK(e.blocking_pid() == getpid());
      CHECK(e.waited() >= 20ms);
      CHECK(e.thread() != 0);
    }
    CHECK_THROWS_AS(other.lock(shm::lock_options{}.block(false)), shm::lock_busy);
    CHECK_THROWS_AS(other.lock(shm::lock_options{}.timeout(5ms).sleep_time(1ms)), shm::lock_timeout);
    try {
      other.steal_lock(getpid());
      FAIL_CHECK("stolen");
    } catch (const shm::lock_busy& e) {
      CHECK(e.code() == shm::errc::owner_alive);
      CHECK(e.blocking_pid() == getpid());
    }
  });
  waiter.join();
  held.unlock();
  CHECK_FALSE(o.d.steal_lock(getpid()));
  CHECK_FALSE(o.d.lock(shm::lock_options{}));
  o.d.unlock();
}

TEST_CASE("manual recovery: the dead owner's lock is left alone, shown, and stolen") {
  Own<Counts> o("manual");
  std::int64_t pid = 0;
  {
    support::Child owner([&]() -> int {
      Counts d(o.name, small());
      d.lock();
      d["half"] = 1;
      raise(SIGKILL);
      return 0;
    });
    pid = owner.pid();
    owner.join();
  }
  const auto patient = shm::lock_options{}.timeout(20ms).steal(false).steal_after_timeout(false);
  CHECK_THROWS_AS(o.d.lock(patient), shm::lock_timeout);
  const auto s = o.d.lock_status();
  CHECK(s.held);
  CHECK_FALSE(s.alive);
  CHECK(s.pid == pid);
  CHECK_FALSE(o.d.steal_lock(pid + 1));
  REQUIRE(o.d.steal_lock(pid));
  CHECK((o.d["half"] == 1));
  o.d.unlock();
}

TEST_CASE("named locks work with the standard's guards and end with their scope") {
  Own<Counts> o("named");
  Counts other(o.name, small());
  auto job = o.d.named_lock("job");
  auto same = other.named_lock("job");
  {
    std::unique_lock<shm::named_lock> hold(job);
    CHECK(job.owns_lock());
    CHECK_FALSE(same.try_lock());
    CHECK_FALSE(same.try_lock_for(2ms));
    try {
      Counts impatient(o.name, small());
      std::thread t([&] {
        auto third = impatient.named_lock("job");
        CHECK_FALSE(third.try_lock_until(std::chrono::steady_clock::now() + 5ms));
      });
      t.join();
    } catch (const shm::error& e) {
      FAIL_CHECK(e.what());
    }
    o.d["a"] = 1; // nobody is blocked
  }
  CHECK(same.try_lock());
  CHECK_FALSE(same.recovered());
  {
    auto scoped = o.d.named_lock("another");
    scoped.lock();
    CHECK(o.d.named_locks().size() == 2);
    CHECK(code_of([&] { scoped.lock(); }) == SHMD_ERR_WOULD_DEADLOCK);
  }
  CHECK(o.d.named_locks().size() == 1);
  auto moved = std::move(same);
  CHECK(moved.owns_lock());
  moved.unlock();
  CHECK(o.d.named_locks().empty());
  auto next = other.named_lock("next");
  std::scoped_lock both(job, next);
  CHECK_THROWS_AS(Counts().named_lock("x"), shm::closed);
}

TEST_CASE("named locks: a timeout names the holder") {
  support::Name name("cpp.named.timeout");
  Counts other(name, small().timeout(10ms));
  auto job = other.named_lock("job");
  job.lock();
  std::thread([&] {
    try {
      Counts third(name, small());
      auto l = third.named_lock("job");
      CHECK_FALSE(l.try_lock_for(5ms));
      auto own = other.named_lock("job");
      own.lock();
      FAIL_CHECK("locked");
    } catch (const shm::lock_timeout& e) {
      CHECK(e.blocking_pid() == getpid());
      CHECK_THAT(e.what(), support::contains("'job'"));
    }
  }).join();
}

// The mechanism: the lock on the key. Without it each of them computes.
TEST_CASE("get_or_compute computes once across threads and processes") {
  Own<Counts> o("compute");
  support::Shared<std::atomic<int>> computed, go;
  const auto ask = [&] {
    Counts d(o.name, small());
    while (*go == 0) std::this_thread::yield();
    return d.get_or_compute("answer", [&] {
      ++*computed;
      std::this_thread::sleep_for(30ms);
      d["meanwhile"] = 1; // the dict's lock is free
      return 42;
    });
  };
  support::Child a([&] { return ask() == 42 ? 0 : 1; }), b([&] { return ask() == 42 ? 0 : 1; });
  std::thread t([&] { CHECK(ask() == 42); });
  *go = 1;
  CHECK(ask() == 42);
  t.join();
  CHECK(a.join() == 0);
  CHECK(b.join() == 0);
  CHECK(*computed == 1);
  CHECK(o.d.named_locks().empty());
}

TEST_CASE("get_or_compute: who dies or throws while computing leaves it to the next") {
  Own<Counts> o("compute.death");
  support::Shared<std::atomic<int>> started;
  support::Child dying([&]() -> int {
    Counts d(o.name, small());
    return d.get_or_compute("k", [&] {
      *started = 1;
      for (;;) pause();
      return 0;
    });
  });
  REQUIRE(support::eventually([&] { return *started == 1; }));
  try {
    o.d.get_or_compute(
        "k", [] { return 1; }, 5ms);
    FAIL_CHECK("computed twice");
  } catch (const shm::lock_timeout& e) {
    CHECK(e.blocking_pid() == dying.pid());
  }
  std::thread killer([&] {
    std::this_thread::sleep_for(20ms);
    dying.end(SIGKILL);
  });
  CHECK(o.d.get_or_compute("k", [] { return 7; }) == 7);
  killer.join();
  CHECK((o.d["k"] == 7));
  CHECK_THROWS_AS(o.d.get_or_compute("other", []() -> int { throw std::runtime_error("no"); }), std::runtime_error);
  CHECK_FALSE(o.d.contains("other"));
  CHECK(o.d.get_or_compute("other", [] { return 8; }) == 8);
  CHECK(code_of([&] { o.d.get_or_compute("x", [&] { return o.d.get_or_compute("x", [] { return 1; }); }); }) ==
        SHMD_ERR_WOULD_DEADLOCK);
  CHECK(o.d.get_or_compute("x", [&] { return o.d.get_or_compute("y", [] { return 1; }) + 1; }) == 2);
  CHECK(code_of([&] { o.d.transact([](auto& tx) { tx.get_or_compute("z", [] { return 1; }); }); }) ==
        SHMD_ERR_IN_TRANSACTION);
  CHECK(o.d.named_locks().empty());
}

TEST_CASE("get_or_compute, replace, get_many and scan in nested dicts") {
  Own<Nested> o("nested");
  CHECK(o.d["de"].get_or_compute("berlin", [] { return 3; }) == 3);
  CHECK(o.d["de"].get_or_compute("berlin", [] { return 4; }) == 3);
  CHECK(o.d.get_or_compute("fr", [] { return shm::local_t<Counts>{{"paris", 1}}; }).at("paris") == 1);
  CHECK(o.d.get_or_compute("fr", [] { return shm::local_t<Counts>{}; }).size() == 1);
  CHECK_FALSE(o.d.replace("it", {{"rome", 1}}));
  CHECK(o.d.replace("fr", {{"lyon", 2}}));
  CHECK(o.d["fr"].to_map() == shm::local_t<Counts>{{"lyon", 2}});
  CHECK_FALSE(o.d["fr"].replace("nice", 1));
  CHECK_FALSE(o.d["none"].replace("x", 1));
  CHECK_FALSE(o.d.contains("none"));
  CHECK(o.d["fr"].replace("lyon", 5));
  auto de = o.d.at("de");
  CHECK(de.get_or_compute("bonn", [] { return 9; }) == 9);
  CHECK(de.replace("bonn", 10));
  const auto many = o.d.get_many({"de", "it"});
  REQUIRE(many.size() == 2);
  CHECK(many[0] == shm::local_t<Counts>{{"berlin", 3}, {"bonn", 10}});
  CHECK_FALSE(many[1]);
  CHECK(o.d["de"].get_many({"bonn", "x"}) == std::vector<std::optional<int>>{10, std::nullopt});
  const auto all = o.d.scan();
  CHECK(all.next == 0);
  CHECK(all.entries.size() == 2);
  CHECK(o.d["de"].scan("b").entries.size() == 2);
  CHECK(o.d["none"].scan("b").entries.empty());
  CHECK(o.d["none"].scan("b").next == 0);
}

// The mechanism: get_many reads one snapshot. Two gets would see two moments.
TEST_CASE("get_many is of one moment, replace never adds") {
  Own<Counts> o("many");
  o.d.update({{"a", 0}, {"b", 0}});
  std::atomic<bool> stop{false};
  std::atomic<int> written{0}, allowed{1000}; // no more than there is space for while the other side stands still
  std::thread writer([&] {
    for (int i = 1; !stop; written = i++) {
      while (i > allowed && !stop) std::this_thread::sleep_for(100us);
      o.d.update({{"a", i}, {"b", i}});
    }
  });
  for (int i = 0; i < 2000; ++i) {
    allowed = written + 1000;
    const auto v = o.d.get_many({"a", "b"});
    REQUIRE(v[0] == v[1]);
  }
  stop = true;
  writer.join();
  CHECK_FALSE(o.d.replace("c", 1));
  CHECK_FALSE(o.d.contains("c"));
  CHECK(o.d.replace("a", -1));
  CHECK((o.d["a"] == -1));
  CHECK(o.d.get_many(std::vector<std::string>{}).empty());
}

TEST_CASE("a scan by portions finds all that begin with the prefix, from any process") {
  Own<Counts> o("scan");
  for (int i = 0; i < 1000; ++i) o.d["user:" + std::to_string(i)] = i;
  for (int i = 0; i < 1000; ++i) o.d["item:" + std::to_string(i)] = i;
  std::map<std::string, int> seen;
  std::uint64_t cursor = 0;
  int portions = 0;
  do {
    Counts fresh(o.name, small());
    auto p = fresh.scan("user:", cursor, 100);
    for (auto& [key, value] : p.entries) seen[key] = value;
    cursor = p.next;
    ++portions;
  } while (cursor != 0);
  CHECK(seen.size() == 1000);
  CHECK(portions >= 19);
  shm::dict<int, int> numbers(support::unique_name("scan.int"), small());
  numbers[1] = 2;
  CHECK(numbers.scan(0, 10).entries.size() == 1);
  CHECK(code_of([&] { numbers.scan(UINT64_MAX); }) == SHMD_ERR_INVALID_ARGUMENT);
}

TEST_CASE("dicts without names: random, anonymous, by descriptor") {
  Counts random(shm::create_only, small());
  CHECK(random.name().size() == 20);
  CHECK(shm::random_name() != shm::random_name());
  Counts nameless(shm::anonymous, small());
  CHECK(nameless.name().empty());
  nameless["a"] = 1;
  CHECK(support::Child([&] {
          nameless["a"] += 1;
          return 0;
        }).join() == 0);
  CHECK((nameless["a"] == 2));
  Counts again(shm::options{}.fd(nameless.native_fd()));
  CHECK((again["a"] == 2));
  CHECK_THROWS_AS((shm::dict<int, int>(shm::options{}.fd(nameless.native_fd()))), shm::mismatch);
  CHECK(code_of([] { Counts c(shm::options{}.fd(12345)); }) == SHMD_ERR_INVALID_ARGUMENT);
  shm::json_dict j(shm::anonymous, small());
  j["a"]["b"] = 1;
  shm::json_dict k(shm::options{}.fd(j.native_fd()));
  CHECK(k["a"]["b"].get<int>() == 1);
  CHECK(shm::json_dict(shm::create_only, small()).name().size() == 20);
}

TEST_CASE("a dict is backed up and restored with its types") {
  Own<Nested> o("backup");
  support::Name again("cpp.restored");
  const std::string path = "/tmp/shmdict." + std::string(o.name);
  o.d["de"]["berlin"] = 1;
  o.d.backup(path);
  o.d["de"]["berlin"] = 2;
  shm::restore(path, again, small());
  CHECK_THROWS_AS(shm::restore(path, again), shm::already_exists);
  {
    CHECK_THROWS_AS(Counts(again), shm::mismatch);
    Nested copy(shm::open_only, again);
    CHECK((copy["de"]["berlin"] == 1));
  }
  {
    std::FILE* f = std::fopen(path.c_str(), "r+");
    std::fputs("damage", f);
    std::fclose(f);
  }
  CHECK(code_of([&] { shm::restore(path, again); }) == SHMD_ERR_FOREIGN_OBJECT);
  std::remove(path.c_str());
  CHECK(code_of([&] { shm::restore(path, again); }) == SHMD_ERR_SYSTEM);
}

// The mechanism: backup_stream::guarded(). An exception that ran through the library would end the program.
TEST_CASE("a dict is backed up into a stream and restored from one, and what the stream throws comes out") {
  Own<Nested> o("backup.stream");
  support::Name again("cpp.restored.stream"), never("cpp.never");
  o.d["de"]["berlin"] = 1;
  std::stringstream bytes;
  o.d.backup(bytes);
  bytes << "behind it";
  shm::restore(bytes, again, small());
  std::string rest;
  std::getline(bytes, rest);
  CHECK(rest == "behind it");
  CHECK((Nested(shm::open_only, again)["de"]["berlin"] == 1));

  const std::string whole = bytes.str();
  std::istringstream half(whole.substr(0, 200));
  CHECK(code_of([&] { shm::restore(half, never); }) == SHMD_ERR_INCOMPLETE_OBJECT);
  std::ofstream full("/dev/full", std::ios::binary);
  CHECK(code_of([&] { o.d.backup(full); }) == SHMD_ERR_SYSTEM);
  std::ofstream closed;
  closed.exceptions(std::ios::badbit | std::ios::failbit);
  CHECK_THROWS_AS(o.d.backup(closed), std::ios_base::failure);
  struct Buffer : std::streambuf {
    int_type underflow() override { throw std::runtime_error("of the stream"); }
  } throwing;
  std::istream in(&throwing);
  in.exceptions(std::ios::badbit);
  CHECK_THROWS_WITH(shm::restore(in, never), "of the stream");
  CHECK_FALSE(never.exists());
}
