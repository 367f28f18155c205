// SPDX-License-Identifier: Apache-2.0
// Closing a handle while other threads use it: they are told so, nothing crashes, nothing of another dict is shown.
#include <dirent.h>
#include <pthread.h>
#include <shmdict/shmdict.h>
#include <unistd.h>

#include <functional>
#include <memory>
#include <set>
#include <thread>

#include "support/catch.hpp"
#include "support/dict.hpp"
#include "support/process.hpp"

using support::eventually;
using support::unique_name;

namespace {

constexpr std::uint64_t kKeys = 200;

shmd_dict* open_dict(const std::string& name, std::uint64_t max_size = std::uint64_t{64} << 20,
                     int mode = SHMD_OPEN_OR_CREATE) {
  shmd_options o = support::small_options(max_size);
  o.mode = mode;
  shmd_dict* d = nullptr;
  support::must(shmd_open(name.c_str(), &o, &d), "open");
  return d;
}

// Every value tells which dict it is of.
std::uint64_t value_of(std::uint64_t dict, std::uint64_t key) { return dict * 1000000 + key; }

void fill(shmd_dict* d, std::uint64_t dict) {
  for (std::uint64_t k = 0; k < kKeys; ++k) {
    const std::uint64_t v = value_of(dict, k);
    support::must(shmd_put(d, shmd_root(), &k, sizeof k, &v, sizeof v, 0), "put");
  }
}

int rewrite(void*, const void* old, std::size_t size, const void** value, std::size_t* value_size) {
  if (old == nullptr || size != sizeof(std::uint64_t)) return SHMD_KEPT;
  *value = old;
  *value_size = size;
  return SHMD_OK;
}

// One call on a handle that may be closed meanwhile: its result; something wrong is an exception.
struct User {
  const char* what;
  std::function<int(shmd_dict*, std::uint64_t dict, std::uint64_t key)> use;
};

void wrong(const char* what, long long seen) {
  throw std::runtime_error(std::string(what) + " saw " + std::to_string(seen));
}

int get(shmd_dict* d, std::uint64_t dict, std::uint64_t key) {
  std::uint64_t v = 0;
  std::size_t size = 0;
  const int result = shmd_get(d, shmd_root(), &key, sizeof key, &v, sizeof v, &size);
  if (result > 0) wrong("get", result);
  if (result == 0 && (size != sizeof v || v != value_of(dict, key))) wrong("get", static_cast<long long>(v));
  return result;
}

int put(shmd_dict* d, std::uint64_t dict, std::uint64_t key) {
  const std::uint64_t v = value_of(dict, key);
  return shmd_put(d, shmd_root(), &key, sizeof key, &v, sizeof v, 0);
}

int iterate(shmd_dict* d, std::uint64_t dict, std::uint64_t) {
  shmd_snapshot* s = nullptr;
  shmd_iter* it = nullptr;
  shmd_entry e;
  std::uint64_t count = 0;
  int result = shmd_snapshot_open(d, &s);
  if (result < 0) return result;
  result = shmd_iter_open(s, shmd_root(), &it);
  while (result == 0 && (result = shmd_iter_next(it, &e)) == 0) {
    std::uint64_t k = 0, v = 0;
    std::memcpy(&k, e.key, sizeof k);
    std::memcpy(&v, e.value, sizeof v);
    if (v != value_of(dict, k)) wrong("iterate", static_cast<long long>(v));
    ++count;
  }
  shmd_iter_close(it);
  shmd_snapshot_close(s);
  if (result == SHMD_END && count != kKeys) wrong("iterate", static_cast<long long>(count));
  return result == SHMD_END ? 0 : result;
}

int follow(shmd_dict* d, std::uint64_t, std::uint64_t) {
  shmd_follower* f = nullptr;
  shmd_change c;
  int result = shmd_follow_open(d, SHMD_NOW, &f);
  if (result < 0) return result;
  for (int i = 0; i < 20 && result >= 0; ++i) {
    result = shmd_follow_wait(f, 100000);
    if (result == 0) result = shmd_follow_next(f, &c);
  }
  shmd_follow_close(f);
  return result < 0 ? result : 0;
}

int section(shmd_dict* d, std::uint64_t dict, std::uint64_t key) {
  int result = shmd_lock(d, SHMD_DEFAULT_TIMEOUT);
  if (result < 0) return result;
  result = put(d, dict, key);
  const int unlocked = shmd_unlock(d);
  return result < 0 ? result : unlocked;
}

int transaction(shmd_dict* d, std::uint64_t dict, std::uint64_t key) {
  int result = shmd_begin(d, SHMD_DEFAULT_TIMEOUT);
  if (result < 0) return result;
  result = put(d, dict, key);
  if (result < 0) {
    shmd_abort(d);
    return result;
  }
  return shmd_commit(d);
}

int named(shmd_dict* d, std::uint64_t, std::uint64_t) {
  const int result = shmd_named_lock(d, "a", SHMD_DEFAULT_TIMEOUT);
  return result < 0 ? result : shmd_named_unlock(d, "a");
}

int stat(shmd_dict* d, std::uint64_t, std::uint64_t) {
  shmd_stats s;
  return shmd_stat(d, &s);
}

int view(shmd_dict* d, std::uint64_t dict, std::uint64_t key) {
  shmd_view v;
  const int result = shmd_view_open(d, shmd_root(), &key, sizeof key, &v);
  if (result != 0) return result;
  std::uint64_t seen = 0;
  std::memcpy(&seen, v.data, sizeof seen);
  shmd_view_close(d, &v);
  if (seen != value_of(dict, key)) wrong("view", static_cast<long long>(seen));
  return 0;
}

const std::vector<User> users = {
    {"get", get},
    {"put", put},
    {"update", [](shmd_dict* d, std::uint64_t,
                  std::uint64_t key) { return shmd_update(d, shmd_root(), &key, sizeof key, rewrite, nullptr); }},
    {"count",
     [](shmd_dict* d, std::uint64_t, std::uint64_t) {
       std::uint64_t n = 0;
       const int result = shmd_count(d, shmd_root(), &n);
       if (result == 0 && n != kKeys) wrong("count", static_cast<long long>(n));
       return result;
     }},
    {"iterate", iterate},
    {"follow", follow},
    {"section", section},
    {"transaction", transaction},
    {"named lock", named},
    {"stat", stat},
    {"view", view},
};

int open_descriptors() {
  int count = 0;
  DIR* directory = opendir("/proc/self/fd");
  while (readdir(directory) != nullptr) ++count;
  closedir(directory);
  return count;
}

// Uses a handle from a thread until it is told that it is closed.
class Hammer {
 public:
  Hammer(const User& user, shmd_dict* d, std::uint64_t dict)
      : thread_([this, &user, d, dict] {
          try {
            for (std::uint64_t i = 0; result_ != SHMD_ERR_CLOSED && (result_ == 0 || result_ > 0); ++i) {
              result_ = user.use(d, dict, i % kKeys);
              calls_.store(i + 1);
            }
            if (result_ != SHMD_ERR_CLOSED) error_ = std::string(user.what) + ": " + shmd_last_error()->message;
            // and so it stays, whatever the process opens meanwhile
            for (int i = 0; i < 200 && result_ == SHMD_ERR_CLOSED; ++i) result_ = user.use(d, dict, 0);
          } catch (const std::exception& e) {
            error_ = e.what();
          }
          ended_ = true;
        }) {}
  ~Hammer() { thread_.join(); }
  Hammer(const Hammer&) = delete;
  Hammer& operator=(const Hammer&) = delete;
  std::uint64_t calls() const { return calls_.load(); }
  bool ended() const { return ended_; }
  std::string error() const { return error_; }
  int result() const { return result_; }

 private:
  std::atomic<std::uint64_t> calls_{0};
  std::atomic<bool> ended_{false};
  std::atomic<int> result_{0};
  std::string error_;
  std::thread thread_;
};

} // namespace

TEST_CASE("closing beside every kind of call is told to the caller, and leaves nothing behind", "[closing]") {
  const User& user = users[GENERATE(range(std::size_t{0}, std::size_t{11}))];
  CAPTURE(user.what);
  const int descriptors = open_descriptors();
  for (std::uint64_t round = 0; round < 8; ++round) {
    const std::string name = unique_name("closing");
    shmd_dict* d = open_dict(name);
    fill(d, round);
    std::vector<std::unique_ptr<Hammer>> hammers;
    for (int i = 0; i < 3; ++i) hammers.push_back(std::make_unique<Hammer>(user, d, round));
    REQUIRE(eventually([&] {
      for (const auto& h : hammers)
        if (h->calls() < 10 && !h->ended()) return false;
      return true;
    }));
    REQUIRE(shmd_close(d) == 0);
    // others take the place: of the same size and of another one
    shmd_dict* same = open_dict(name);
    shmd_dict* other = open_dict(name + ".other", std::uint64_t{16 + round} << 20);
    fill(same, 1000 + round);
    fill(other, 2000 + round);
    REQUIRE(eventually([&] {
      for (const auto& h : hammers)
        if (!h->ended()) return false;
      return true;
    }));
    for (const auto& h : hammers) {
      CHECK(h->error() == "");
      CHECK(h->result() == SHMD_ERR_CLOSED);
    }
    CHECK(shmd_check(same, nullptr, nullptr) == 0);
    CHECK(shmd_close(same) == 0);
    CHECK(shmd_close(other) == 0);
    CHECK(shmd_close(d) == SHMD_ERR_CLOSED);
  }
  CHECK(open_descriptors() == descriptors);
}

TEST_CASE("closing one handle of two leaves the other its dict, and gives back a section of the closed one",
          "[closing]") {
  const std::string name = unique_name("closing");
  shmd_dict* kept = open_dict(name);
  shmd_dict* closed = open_dict(name);
  std::atomic<bool> inside{false}, leave{false};
  int put_result = 0, unlock_result = 0;
  std::thread holder([&] {
    shmd_lock(closed, SHMD_DEFAULT_TIMEOUT);
    inside = true;
    eventually([&] { return leave.load(); });
    put_result = put(closed, 1, 1);
    unlock_result = shmd_unlock(closed);
  });
  REQUIRE(eventually([&] { return inside.load(); }));
  REQUIRE(shmd_close(closed) == 0);
  leave = true;
  holder.join();
  CHECK(put_result == SHMD_ERR_CLOSED);
  CHECK(unlock_result == SHMD_ERR_CLOSED);
  CHECK(put(kept, 1, 1) == 0); // the lock is free
  shmd_lock_info info;
  CHECK(shmd_lock_status(kept, &info) == 0);
  CHECK(info.held == 0);
  shmd_close(kept);
}

TEST_CASE("a dict closed while an update's callback runs is over when that update is", "[closing]") {
  struct Callback {
    std::atomic<bool> inside{false}, leave{false};
    static int run(void* self, const void*, std::size_t, const void** value, std::size_t* size) {
      auto* c = static_cast<Callback*>(self);
      static const std::uint64_t seven = 7;
      c->inside = true;
      eventually([&] { return c->leave.load(); });
      *value = &seven;
      *size = sizeof seven;
      return SHMD_OK;
    }
  } callback;
  const std::string name = unique_name("closing");
  const int descriptors = open_descriptors();
  shmd_dict* d = open_dict(name);
  fill(d, 1);
  int result = 0;
  std::thread updater([&] {
    const std::uint64_t key = 3;
    result = shmd_update(d, shmd_root(), &key, sizeof key, Callback::run, &callback);
  });
  REQUIRE(eventually([&] { return callback.inside.load(); }));
  CHECK(shmd_close(d) == 0);
  CHECK(shmd_unlink(name.c_str()) == SHMD_ERR_NO_SUCH_DICT); // the name has gone with the last handle
  callback.leave = true;
  updater.join();
  CHECK((result == 0 || result == SHMD_ERR_CLOSED));
  CHECK(get(d, 1, 3) == SHMD_ERR_CLOSED);
  CHECK(open_descriptors() == descriptors);
}

TEST_CASE("a snapshot, a view and a follower outlive their handle", "[closing]") {
  const std::string name = unique_name("closing");
  const int descriptors = open_descriptors();
  shmd_dict* d = open_dict(name);
  fill(d, 5);
  shmd_snapshot* s = nullptr;
  shmd_follower* f = nullptr;
  shmd_iter* it = nullptr;
  shmd_view v;
  const std::uint64_t key = 9;
  REQUIRE(shmd_snapshot_open(d, &s) == 0);
  REQUIRE(shmd_iter_open(s, shmd_root(), &it) == 0);
  REQUIRE(shmd_view_open(d, shmd_root(), &key, sizeof key, &v) == 0);
  REQUIRE(shmd_follow_open(d, SHMD_NOW, &f) == 0);
  REQUIRE(put(d, 5, 1) == 0);
  const int readable = shmd_follow_fd(f);
  REQUIRE(readable >= 0);
  REQUIRE(shmd_close(d) == 0);
  std::uint64_t n = 0, seen = 0;
  shmd_entry e;
  while (shmd_iter_next(it, &e) == 0) ++n;
  CHECK(n == kKeys);
  std::memcpy(&seen, v.data, sizeof seen);
  CHECK(seen == value_of(5, 9));
  shmd_change c;
  CHECK(shmd_follow_next(f, &c) == 0);
  CHECK(shmd_follow_next(f, &c) == SHMD_END);
  shmd_iter_close(it);
  shmd_snapshot_close(s);
  shmd_view_close(d, &v);
  shmd_follow_close(f);
  CHECK(open_descriptors() == descriptors);
}

TEST_CASE("who waits for a lock through a handle that is closed is told at once", "[closing]") {
  const std::string name = unique_name("closing");
  shmd_dict* other = nullptr;
  shmd_options o = support::small_options();
  shmd_dict* d = open_dict(name);
  o.mode = SHMD_OPEN_ONLY;
  o.flags = SHMD_OBSERVER; /* an attachment of its own: as another process's */
  REQUIRE(shmd_open(name.c_str(), &o, &other) == 0);
  REQUIRE(shmd_lock(other, 0) == 0);
  std::atomic<int> started{0};
  int results[3] = {0, 0, 0};
  std::thread waiters[3];
  waiters[0] = std::thread([&] {
    ++started;
    results[0] = put(d, 1, 1);
  });
  waiters[1] = std::thread([&] {
    ++started;
    results[1] = shmd_lock(d, SHMD_FOREVER);
  });
  waiters[2] = std::thread([&] {
    ++started;
    results[2] = shmd_begin(d, SHMD_FOREVER);
  });
  REQUIRE(eventually([&] { return started == 3; }));
  std::this_thread::sleep_for(std::chrono::milliseconds(20)); // most are asleep by then; it is right if not
  CHECK(shmd_close(d) == 0);
  for (auto& w : waiters) w.join();
  for (const int result : results) CHECK(result == SHMD_ERR_CLOSED);
  shmd_lock_info info;
  CHECK(shmd_lock_status(other, &info) == 0);
  CHECK(info.by_this_thread == 1);
  CHECK(shmd_unlock(other) == 0);
  shmd_close(other);
}

TEST_CASE("the address of a handle is never given out again, and a closed handle stays closed", "[closing]") {
  const std::string name = unique_name("closing");
  shmd_dict* keeper = open_dict(name);
  fill(keeper, 4);
  std::set<shmd_dict*> seen{keeper};
  shmd_dict* first = nullptr;
  for (int i = 0; i < 20000; ++i) {
    shmd_dict* d = nullptr;
    REQUIRE(shmd_open(name.c_str(), nullptr, &d) == 0);
    if (first == nullptr) first = d;
    REQUIRE(seen.insert(d).second);
    REQUIRE(shmd_close(d) == 0);
    if (i % 1000 == 0) REQUIRE(get(first, 4, 1) == SHMD_ERR_CLOSED);
  }
  CHECK(get(first, 4, 1) == SHMD_ERR_CLOSED);
  CHECK(put(first, 4, 1) == SHMD_ERR_CLOSED);
  CHECK(shmd_lock(first, 0) == SHMD_ERR_CLOSED);
  CHECK(shmd_close(first) == SHMD_ERR_CLOSED);
  CHECK(get(keeper, 4, 1) == 0);
  shmd_close(keeper);
}

TEST_CASE("of many threads that close one handle one closes it", "[closing]") {
  for (int round = 0; round < 50; ++round) {
    shmd_dict* d = open_dict(unique_name("closing"));
    std::atomic<int> closed{0}, refused{0};
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; ++i)
      threads.emplace_back([&] {
        const int result = shmd_close(d);
        if (result == 0) ++closed;
        if (result == SHMD_ERR_CLOSED) ++refused;
      });
    for (auto& t : threads) t.join();
    CHECK(closed == 1);
    CHECK(refused == 3);
  }
}
