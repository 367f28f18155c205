// SPDX-License-Identifier: Apache-2.0
// fork() in a function that the library calls, and in a transaction: the child comes back into a call that is its parent's.
#include <sys/syscall.h>

#include <fstream>
#include <memory>
#include <shm/shm.hpp>
#include <stdexcept>
#include <string>
#include <thread>

#include "support/catch.hpp"
#include "support/process.hpp"

using namespace support;

namespace {

// A process forked in the middle of something: the parent goes on; the child runs to the end of `Fork::child` or of the block.
struct Fork {
  pid_t pid = -1;
  bool child() const { return pid == 0; }
  void now() {
    std::fflush(nullptr);
    pid = fork();
    if (pid == 0) prctl(PR_SET_PDEATHSIG, SIGKILL);
  }
  int join() {
    int status = 0;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  }
};

// Runs `body(fork)`, which calls fork.now() somewhere. The child's answer is its exit code; the parent's is returned with it.
template <class Body>
std::pair<int, int> both(Body body) {
  Fork f;
  int code = 99;
  try {
    code = body(f);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "%s: %s\n", f.child() ? "child" : "parent", e.what());
  }
  if (f.child()) {
    std::fflush(nullptr);
    _exit(code);
  }
  return {code, f.join()};
}

struct Update {
  Fork* fork;
  std::uint64_t value = 7;
  int answer = SHMD_OK;
  bool raw = false;
  shmd_dict* writes = nullptr; // in the child, while it is in the callback
  int written = 0;
};

int fork_and_answer(void* context, const void*, std::size_t, const void** value, std::size_t* size) {
  auto& u = *static_cast<Update*>(context);
  if (u.raw)
    u.fork->pid = static_cast<pid_t>(syscall(SYS_clone, SIGCHLD, nullptr, nullptr, nullptr, nullptr));
  else
    u.fork->now();
  if (u.fork->child() && u.writes != nullptr) u.written = put(u.writes, "child", 1);
  *value = &u.value;
  *size = sizeof u.value;
  return u.answer;
}

int update(shmd_dict* d, const std::string& key, Update& u) {
  return shmd_update(d, shmd_root(), key.data(), key.size(), fork_and_answer, &u);
}

std::string findings(shmd_dict* d) {
  std::string out;
  (void)shmd_check(
      d, [](void* context, const char* text) { *static_cast<std::string*>(context) += std::string(text) + "\n"; },
      &out);
  return out;
}

// What a child that came back with `result` has to say of the dict: its library is in order, and writes under its own name.
int child_goes_on(shmd_dict* d, int result, const char* text) {
  if (result != SHMD_ERR_NOT_LOCKED) return 10;
  if (std::string(shmd_last_error()->message).find(text) == std::string::npos) return 11;
  shmd_lock_info lock;
  if (shmd_lock_status(d, &lock) != 0 || lock.by_this_thread != 0) return 12;
  if (shmd_unlock(d) != SHMD_ERR_NOT_LOCKED) return 13;
  if (put(d, "after", 1) != 0 || get(d, "after") != 1) return 14;
  if (shmd_lock(d, SHMD_FOREVER) != 0 || put(d, "after", 2) != 0 || shmd_unlock(d) != 0) return 15;
  const auto nothing = [](void*, const void*, std::size_t, const void**, std::size_t*) -> int { return SHMD_KEPT; };
  if (shmd_update(d, shmd_root(), "after", 5, nothing, nullptr) != SHMD_KEPT) return 16;
  if (shmd_lock_status(d, &lock) != 0 || lock.by_this_thread != 0) return 17;
  return shmd_close(d) == 0 ? 0 : 18;
}

} // namespace

// The mechanism: shmd_callback_end(), by the list of the thread's callbacks. Without it the child wrote beside its parent, each
// over the other's bytes and under the other's keys.
TEST_CASE("a child forked in an update's callback changes nothing when it comes back, whatever it answers", "[fork]") {
  for (const bool there : {true, false})
    for (const int answer : {0, static_cast<int>(SHMD_KEPT), static_cast<int>(SHMD_NOT_FOUND)}) {
      Name name("fork.update");
      Handle d(name);
      if (there) must(put(d, "k", 1), "put");
      const auto [parent, child] = both([&](Fork& f) {
        Update u{&f};
        u.value = 7;
        u.answer = answer;
        const int result = update(d, "k", u);
        if (f.child()) return child_goes_on(d, result, "forked inside the callback");
        return result < 0 ? 1 : 0;
      });
      CHECK(parent == 0);
      CHECK(child == 0);
      if (answer == SHMD_OK) CHECK(get(d, "k") == 7);
      if (answer == SHMD_KEPT && there) CHECK(get(d, "k") == 1);
      if (answer == SHMD_NOT_FOUND) CHECK(get(d, "k", 77) == 77);
      CHECK(get(d, "after") == 2);
      CHECK(findings(d).empty());
    }
}

TEST_CASE("parent and child that come back from one update's callback do not disturb each other", "[fork]") {
  Name name("fork.beside");
  Handle d(name);
  must(put(d, "p", 0), "put");
  int failed = 0;
  for (std::uint64_t round = 0; round < 20; ++round) {
    const auto [parent, child] = both([&](Fork& f) {
      Update u{&f};
      u.value = round;
      u.writes = round % 2 != 0 ? static_cast<shmd_dict*>(d) : nullptr;
      const int result = update(d, "k", u);
      if (f.child()) return result == SHMD_ERR_NOT_LOCKED && u.written == 0 ? 0 : 1;
      for (std::uint64_t i = 0; i < 2000; ++i) must(put(d, "p" + std::to_string(i % 7), i), "put");
      return result;
    });
    failed += parent != 0 || child != 0;
    CHECK(get(d, "k") == round);
  }
  CHECK(failed == 0);
  CHECK(findings(d).empty());
}

// The mechanism: `orphans` counts callbacks of each level; a->paused is 0 in the child, or it could not unlock what it locks.
TEST_CASE("a child forked in nested updates of two dicts gets the error at each level", "[fork]") {
  Name name("fork.outer"), other("fork.inner");
  Handle outer(name), inner(other);
  must(put(outer, "k", 1), "put");
  struct Outer {
    shmd_dict* inner;
    Update u;
    int result = 0;
    std::uint64_t value = 8;
  };
  const auto [parent, child] = both([&](Fork& f) {
    Outer o{inner, {&f}};
    const auto nested = [](void* context, const void*, std::size_t, const void** value, std::size_t* size) -> int {
      auto& me = *static_cast<Outer*>(context);
      me.result = update(me.inner, "k", me.u);
      *value = &me.value;
      *size = sizeof me.value;
      return SHMD_OK;
    };
    const int result = shmd_update(outer, shmd_root(), "k", 1, nested, &o);
    if (!f.child()) return result == 0 && o.result == 0 ? 0 : 1;
    if (result != SHMD_ERR_NOT_LOCKED || o.result != SHMD_ERR_NOT_LOCKED) return 2;
    if (put(outer, "after", 1) != 0) return 3;
    return put(inner, "after", 1) == 0 ? 0 : 4;
  });
  CHECK(parent == 0);
  CHECK(child == 0);
  CHECK(get(outer, "k") == 8);
  CHECK(get(inner, "k") == 7);
  CHECK(findings(outer).empty());
  CHECK(findings(inner).empty());
}

// The mechanism: shmd_close() waits while the thread is in a callback of the dict's, be it the parent's call.
TEST_CASE("a child may close the dict in the callback in which it was forked: done when the call is over", "[fork]") {
  const auto mapped = [] { // any dict
    std::ifstream maps("/proc/self/maps");
    for (std::string line; std::getline(maps, line);)
      if (line.find("/dev/shm/") != std::string::npos) return true;
    return false;
  };
  Name name("fork.close");
  auto* d = new Handle(name);
  must(put(*d, "k", 1), "put");
  struct Closing {
    Fork* fork;
    Handle* d;
    bool (*look)();
    std::uint64_t value = 9;
    int closed = -1;
    bool mapped = false;
  };
  const auto [parent, child] = both([&](Fork& f) {
    Closing c{&f, d, mapped};
    const auto callback = [](void* context, const void*, std::size_t, const void** value, std::size_t* size) -> int {
      auto& me = *static_cast<Closing*>(context);
      me.fork->now();
      if (me.fork->child()) me.closed = me.d->close();
      me.mapped = me.look();
      *value = &me.value;
      *size = sizeof me.value;
      return SHMD_OK;
    };
    shmd_dict* raw = *d;
    const int result = shmd_update(raw, shmd_root(), "k", 1, callback, &c);
    if (f.child() && (result != SHMD_ERR_NOT_LOCKED || c.closed != 0)) return 1;
    if (f.child()) return c.mapped && !mapped() ? 0 : 2;
    return result;
  });
  CHECK(parent == 0);
  CHECK(child == 0);
  CHECK(get(*d, "k") == 9);
  delete d;
}

TEST_CASE("a child made round the fork handlers in an update's callback changes nothing either", "[fork]") {
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
  SHMDICT_SKIP("sanitizers do not survive a raw clone");
#endif
  Name name("fork.raw");
  Handle d(name);
  for (const bool section : {false, true}) {
    must(put(d, "k", 1), "put");
    if (section) must(shmd_lock(d, SHMD_FOREVER), "lock");
    const auto [parent, child] = both([&](Fork& f) {
      Update u{&f};
      u.raw = true;
      const int result = update(d, "k", u);
      if (!f.child()) {
        if (section) must(shmd_unlock(d), "unlock");
        return result;
      }
      return child_goes_on(d, result, "forked inside the callback");
    });
    CHECK(parent == 0);
    CHECK(child == 0);
    CHECK(get(d, "k") == 7);
    CHECK(findings(d).empty());
  }
}

TEST_CASE("a callback of an update that throws in a forked child throws there, and the parent's goes on", "[fork]") {
  Name name("fork.throw");
  shm::dict<std::string, int> d{static_cast<const std::string&>(name)};
  d["k"] = 1;
  const auto [parent, child] = both([&](Fork& f) {
    try {
      d["k"].update([&](int v) {
        f.now();
        if (f.child()) throw std::runtime_error("child");
        return v + 1;
      });
    } catch (const std::runtime_error& e) {
      if (!f.child() || std::string(e.what()) != "child") return 1;
    }
    if (f.child()) d["after"] = 1;
    return 0;
  });
  CHECK(parent == 0);
  CHECK(child == 0);
  CHECK(d["k"].value() == 2);
  CHECK(d["after"].value() == 1);
}

// ---- transactions ----

// The mechanism: `inherited` of the attachment. Without it the child's writes went through one by one, and stayed.
TEST_CASE("a child forked in a transaction writes nothing until it has ended that for itself", "[fork][transaction]") {
  for (const bool commits : {false, true}) {
    Name name("fork.tx");
    Handle d(name), second(name);
    must(put(d, "there", 1), "put");
    const auto [parent, child] = both([&](Fork& f) {
      must(shmd_begin(d, SHMD_FOREVER), "begin");
      must(put(d, "a", 1), "put");
      f.now();
      if (!f.child()) {
        const int status = f.join(); // the child never waits for this transaction
        must(put(d, "b", 1), "put");
        must(shmd_abort(d), "abort");
        return status;
      }
      const std::uint64_t v = 2;
      shmd_node node;
      for (shmd_dict* h : {static_cast<shmd_dict*>(d), static_cast<shmd_dict*>(second)}) {
        if (put(h, "c", 2) != SHMD_ERR_NO_TRANSACTION) return 1;
        if (std::string(shmd_last_error()->message).find("abort the transaction") == std::string::npos) return 2;
        if (shmd_erase(h, shmd_root(), "there", 5) != SHMD_ERR_NO_TRANSACTION) return 3;
        if (shmd_node_open(h, shmd_root(), "n", 1, SHMD_NODE_CREATE, &node) != SHMD_ERR_NO_TRANSACTION) return 4;
        if (shmd_clear(h, shmd_root(), nullptr) != SHMD_ERR_NO_TRANSACTION) return 5;
        if (shmd_put(h, shmd_root(), "d", 1, &v, 8, SHMD_INSERT_ONLY) != SHMD_ERR_NO_TRANSACTION) return 6;
        if (shmd_lock(h, 0) != SHMD_ERR_NO_TRANSACTION) return 7;
        if (shmd_begin(h, 0) != SHMD_ERR_NO_TRANSACTION) return 8;
        if (shmd_named_lock(h, "job", 0) != SHMD_ERR_NO_TRANSACTION) return 9;
        if (get(h, "there") != 1 || get(h, "a", 77) != 77) return 10; // reads show what is committed
      }
      shmd_snapshot* s = nullptr;
      if (shmd_snapshot_open(d, &s) != 0) return 11;
      shmd_snapshot_close(s);
      Child grandchild([&] { return put(d, "c", 2) == SHMD_ERR_NO_TRANSACTION && shmd_abort(d) == 0 ? 0 : 1; });
      if (grandchild.join() != 0) return 12;
      if (shmd_in_transaction(d) != 0) return 13;
      if (commits ? shmd_commit(d) != SHMD_ERR_NO_TRANSACTION : shmd_abort(d) != 0) return 14;
      if (shmd_abort(d) != SHMD_ERR_NO_TRANSACTION) return 15;
      if (shmd_lock(d, 0) != SHMD_TIMED_OUT) return 16; // from here on it is anybody
      return 0;
    });
    CHECK(parent == 0);
    for (const char* key : {"a", "b", "c", "d", "n"}) CHECK(get(d, key, 77) == 77);
    CHECK(get(d, "there") == 1);
    CHECK(findings(d).empty());
  }
}

TEST_CASE("closing the handle that began it ends an inherited transaction in the child", "[fork][transaction]") {
  Name name("fork.tx.close");
  Handle keeper(name);
  auto d = std::make_unique<Handle>(name);
  const auto [parent, child] = both([&](Fork& f) {
    must(shmd_begin(*d, SHMD_FOREVER), "begin");
    must(put(*d, "a", 1), "put");
    f.now();
    if (!f.child()) {
      must(shmd_commit(*d), "commit");
      return 0;
    }
    if (put(keeper, "c", 2) != SHMD_ERR_NO_TRANSACTION) return 1;
    if (d->close() != 0) return 2;
    return put(keeper, "c", 3) == 0 ? 0 : 3;
  });
  CHECK(parent == 0);
  CHECK(child == 0);
  CHECK(get(keeper, "a") == 1);
  CHECK(get(keeper, "c") == 3);
}

TEST_CASE("a child forked by another thread than the one in a transaction is not in it",
          "[fork][transaction][thread]") {
  Name name("fork.tx.thread");
  Handle d(name);
  std::atomic<int> stage{0};
  std::thread writer([&] {
    must(shmd_begin(d, SHMD_FOREVER), "begin");
    must(put(d, "a", 1), "put");
    stage = 1;
    (void)eventually([&] { return stage == 2; });
    must(shmd_commit(d), "commit");
  });
  REQUIRE(eventually([&] { return stage == 1; }));
  {
    Child child([&] { return put(d, "c", 2) == 0 && get(d, "a") == 1 ? 0 : 1; }); // waits for the lock as anybody does
    stage = 2;
    CHECK(child.join() == 0);
  }
  writer.join();
  CHECK(get(d, "c") == 2);
}

TEST_CASE("a child made round the fork handlers in a transaction is refused, too", "[fork][transaction]") {
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
  SHMDICT_SKIP("sanitizers do not survive a raw clone");
#endif
  Name name("fork.tx.raw");
  Handle d(name);
  for (const int first : {0, 1, 2}) {
    must(shmd_begin(d, SHMD_FOREVER), "begin");
    must(put(d, "a", 1), "put");
    const auto pid = static_cast<pid_t>(syscall(SYS_clone, SIGCHLD, nullptr, nullptr, nullptr, nullptr));
    REQUIRE(pid >= 0);
    if (pid == 0) {
      int code = 0;
      if (get(d, "a", 77) != 77) code = 1;
      if (first == 0 && put(d, "c", 2) != SHMD_ERR_NO_TRANSACTION) code = 2;
      if (first == 1 && shmd_commit(d) != SHMD_ERR_NO_TRANSACTION) code = 3;
      if (first != 1 && shmd_abort(d) != 0) code = 4;
      if (shmd_lock(d, 0) != SHMD_TIMED_OUT) code = 5;
      _exit(code);
    }
    int status = 0;
    REQUIRE(waitpid(pid, &status, 0) == pid);
    CHECK(WIFEXITED(status));
    CHECK(WEXITSTATUS(status) == 0);
    REQUIRE(shmd_abort(d) == 0);
    CHECK(get(d, "a", 77) == 77);
    CHECK(get(d, "c", 77) == 77);
  }
}

TEST_CASE("transact() in a forked child stores nothing, and its own dict works afterwards", "[fork][transaction]") {
  Name name("fork.transact");
  shm::dict<std::string, int> d{static_cast<const std::string&>(name)};
  for (const bool throws : {true, false}) {
    const auto [parent, child] = both([&](Fork& f) {
      try {
        d.transact([&](auto& tx) {
          tx["before"] = 1;
          f.now();
          if (f.child() && !throws) return;
          tx["from"] = f.child() ? 2 : 1;
          tx["to"] = f.child() ? 2 : 1;
          if (!f.child()) throw std::runtime_error("parent");
        });
        return 1;
      } catch (const shm::error& e) {
        if (!f.child() || e.code() != shm::errc::no_transaction) return 2;
      } catch (const std::runtime_error&) {
        return 0;
      }
      d["after"] = throws ? 1 : 2; // waits until the parent's transaction is over
      return 0;
    });
    CHECK(parent == 0);
    CHECK(child == 0);
    CHECK(d.to_map() == std::unordered_map<std::string, int>{{"after", throws ? 1 : 2}});
  }
}

// Its missing levels are made in a transaction of the facade's, within which the function runs.
TEST_CASE("a child forked in an update of a nested dict that is not there yet changes nothing", "[fork]") {
  Name name("fork.lazy");
  shm::dict<std::string, shm::dict<std::string, int>> d{static_cast<const std::string&>(name)};
  const auto [parent, child] = both([&](Fork& f) {
    try {
      d["a"]["b"].update([&](int v) {
        f.now();
        return v + (f.child() ? 100 : 1);
      });
      return f.child() ? 1 : 0;
    } catch (const shm::error& e) {
      if (!f.child() || e.code() != shm::errc::no_transaction) return 2;
    }
    d["child"]["x"] = 1;
    return 0;
  });
  CHECK(parent == 0);
  CHECK(child == 0);
  CHECK(d["a"]["b"].value() == 1);
  CHECK(d["child"]["x"].value() == 1);
  CHECK(findings(d.native_handle()).empty());
}

// The mechanism: shmd_lock_quiesce() for a process whose `owner` is 0. A write of the parent's is under way again and again.
TEST_CASE("a child forked in a transaction takes snapshots and follows while its parent writes in it",
          "[fork][transaction]") {
  Name name("fork.tx.read");
  Handle d(name);
  must(put(d, "there", 1), "put");
  const auto [parent, child] = both([&](Fork& f) {
    must(shmd_begin(d, SHMD_FOREVER), "begin");
    f.now();
    if (!f.child()) {
      for (std::uint64_t i = 0; i < 20000; ++i) must(put(d, "k" + std::to_string(i % 100), i), "put");
      must(shmd_abort(d), "abort");
      return 0;
    }
    for (int i = 0; i < 300; ++i) {
      shmd_snapshot* s = nullptr;
      if (shmd_snapshot_open(d, &s) != 0) return 1;
      std::size_t size = 0;
      std::uint64_t value = 0;
      const int found = shmd_snapshot_get(s, shmd_root(), "there", 5, &value, sizeof value, &size);
      shmd_snapshot_close(s);
      if (found != 0 || value != 1) return 2;
    }
    return shmd_abort(d);
  });
  CHECK(parent == 0);
  CHECK(child == 0);
  CHECK(findings(d).empty());
}

// ---- a section ----

TEST_CASE("a child forked in a guard's scope waits for its parent like anybody, and its copy of the guard does nothing",
          "[fork]") {
  Name name("fork.guard");
  shm::dict<std::string, int> d{static_cast<const std::string&>(name)};
  const auto [parent, child] = both([&](Fork& f) {
    {
      shm::guard g{d};
      d["inside"] = 1;
      f.now();
      if (f.child()) {
        d["child"] = d["inside"] + 1; // takes the lock itself: when the parent has unlocked
      } else {
        std::this_thread::sleep_for(20ms);
        d["inside"] = 5;
      }
    }
    return !f.child() || d["child"].value() == 6 ? 0 : 1;
  });
  CHECK(parent == 0);
  CHECK(child >= 0);
  CHECK(d["inside"].value() == 5);
}

// The mechanism: a guard remembers the acquisition (guard.hpp). Without it the copy's end unlocked what the child had locked.
TEST_CASE("the copy of a guard in a forked child does not unlock what the child has locked itself", "[fork]") {
  Name name("fork.guard.copy");
  shm::dict<std::string, int> d{static_cast<const std::string&>(name)};
  const auto [parent, child] = both([&](Fork& f) {
    auto inherited = std::make_unique<shm::guard>(d);
    f.now();
    if (!f.child()) {
      inherited.reset();
      return d.lock_status().by_this_thread ? 1 : 0;
    }
    const shm::guard own{d, 60s};
    inherited.reset();
    if (!d.lock_status().by_this_thread) return 2;
    d["k"] = 1;
    return d.lock_status().by_this_thread ? 0 : 3;
  });
  CHECK(parent == 0);
  CHECK(child == 0);
  CHECK(d["k"].value() == 1);
  CHECK_FALSE(d.lock_status().held);
}

// ---- callbacks that hold no lock ----

// The mechanism: `forks` of the attachment, in run_init(). Without it each of the two published the one object, and whichever
// came second was told that it could not.
TEST_CASE("a child forked while a new dict is filled is told to open it again, and its parent makes it", "[fork]") {
  struct Context {
    Fork* fork;
    bool parent_first;
    Shared<std::atomic<int>> made;
  };
  for (const bool throws : {false, true})
    for (const bool parent_first : {false, true}) {
      Name name("fork.init");
      Context context{nullptr, parent_first, {}};
      const auto [parent, child] = both([&](Fork& f) {
        context.fork = &f;
        shmd_options o = small_options();
        o.unlink = SHMD_UNLINK_NEVER;
        o.init_context = &context;
        o.init = [](shmd_dict* d, void* self) -> int {
          auto& c = *static_cast<Context*>(self);
          must(put(d, "first", 1), "put");
          c.fork->now();
          if (c.fork->child() == c.parent_first) (void)eventually([&] { return *c.made == 1; });
          if (!c.fork->child()) must(put(d, "second", 2), "put");
          return 0;
        };
        if (throws)
          o.init = [](shmd_dict* d, void* self) -> int {
            auto& c = *static_cast<Context*>(self);
            must(put(d, "first", 1), "put");
            c.fork->now();
            if (c.fork->child() == c.parent_first) (void)eventually([&] { return *c.made == 1; });
            if (c.fork->child()) throw std::runtime_error("child");
            must(put(d, "second", 2), "put");
            return 0;
          };
        shmd_dict* d = nullptr;
        int result = 0;
        try {
          result = shmd_open(name.c_str(), &o, &d);
        } catch (const std::runtime_error&) {
          result = SHMD_ERR_ABORTED;
        }
        *context.made = 1;
        if (!f.child()) return result == SHMD_CREATED && put(d, "parent", 1) == 0 && shmd_close(d) == 0 ? 0 : 1;
        if (result != SHMD_ERR_ABORTED || d != nullptr) return 2;
        if (!throws && std::string(shmd_last_error()->message).find("open it again") == std::string::npos) return 3;
        if (!eventually([&] { return name.exists(); })) return 4;
        o.init = nullptr;
        if (shmd_open(name.c_str(), &o, &d) != 0 || put(d, "child", 1) != 0) return 5;
        return get(d, "first") == 1 && get(d, "second") == 2 && shmd_close(d) == 0 ? 0 : 6;
      });
      CHECK(parent == 0);
      CHECK(child == 0);
      Handle d(name);
      CHECK(get(d, "first") == 1);
      CHECK(get(d, "child") == 1);
      CHECK(get(d, "parent") == 1);
      CHECK(findings(d).empty());
    }
}

TEST_CASE("a child may be forked while a missing value is computed", "[fork]") {
  Name name("fork.compute");
  shm::dict<std::string, int> d{static_cast<const std::string&>(name)};
  const auto [parent, child] = both([&](Fork& f) {
    const int value = d.get_or_compute("k", [&] {
      f.now();
      return f.child() ? 2 : 1;
    });
    return value == 1 || value == 2 ? 0 : 1;
  });
  CHECK(parent == 0);
  CHECK(child == 0);
  CHECK((d["k"].value() == 1 || d["k"].value() == 2));
  CHECK(d.named_locks().empty());
}

TEST_CASE("a child may be forked while bytes are looked at in place, and in scans, lists, checks", "[fork]") {
  Name name("fork.look");
  shm::dict<std::string, std::string> d{static_cast<const std::string&>(name)};
  d["k"] = "value";
  shmd_dict* raw = d.native_handle();
  must(shmd_named_lock(raw, "job", 0), "named_lock");
  struct Context {
    Fork* fork;
    int times = 0;
    void once() {
      if (++times == 1) fork->now();
    }
  };
  const auto go_on = [&](Fork& f, int result, int expected) {
    if (result != expected) return 1;
    if (f.child()) d["child"] = "1";
    if (!f.child()) d["parent"] = "1";
    return 0;
  };
  for (int how = 0; how < 5; ++how) {
    const auto [parent, child] = both([&](Fork& f) {
      Context c{&f};
      int result = 0, expected = 0;
      if (how == 0) d.with("k", [&](std::string_view bytes) { (void)bytes, f.now(); });
      if (how == 1) {
        std::uint64_t cursor = 0;
        result = shmd_scan(
            raw, shmd_root(), &cursor, nullptr, 0, 100,
            [](void* context, shmd_snapshot*, const shmd_entry*) { return static_cast<Context*>(context)->once(), 0; },
            &c);
        expected = f.child() ? static_cast<int>(SHMD_ERR_SNAPSHOT_TOO_OLD) : static_cast<int>(SHMD_END);
        if (f.child() && result == SHMD_END) expected = result; // all entries had been fetched
      }
      if (how == 2)
        result = shmd_list(
            [](void* context, const shmd_object_info*) { return static_cast<Context*>(context)->once(), 0; }, &c);
      if (how == 3)
        result = shmd_processes(
            raw, [](void* context, const shmd_process_info*) { return static_cast<Context*>(context)->once(), 0; }, &c);
      if (how == 4) {
        result = shmd_named_locks(
            raw, [](void* context, const shmd_named_lock_info*) { return static_cast<Context*>(context)->once(), 0; },
            &c);
        if (f.child() && result == SHMD_ERR_SNAPSHOT_TOO_OLD) expected = result;
      }
      return go_on(f, result, expected);
    });
    INFO(how);
    CHECK(parent == 0);
    CHECK(child == 0);
  }
  must(shmd_named_unlock(raw, "job"), "named_unlock");
  CHECK(findings(raw).empty());
  shmd_stats s;
  REQUIRE(shmd_stat(raw, &s) == 0);
  CHECK(s.pins == 0);
}

TEST_CASE("a child may be forked in an event's hook", "[fork]") {
#if defined(__SANITIZE_THREAD__)
  SHMDICT_SKIP("the sanitizer takes the registry's mutex for held in the child, where it was made anew");
#endif
  Name name("fork.event");
  shm::dict<std::string, int> d{static_cast<const std::string&>(name)};
  d["k"] = 1;
  Child([&]() -> int {
    must(shmd_lock(d.native_handle(), SHMD_FOREVER), "lock");
    raise(SIGKILL);
    return 0;
  }).join();
  const auto [parent, child] = both([&](Fork& f) {
    int told = 0;
    d.on_event([&](const shm::event&) {
      if (++told == 1) f.now();
    });
    d["after"] = 1; // takes the lock over from the dead
    d[f.child() ? "child" : "parent"] = told;
    d.on_event(nullptr);
    return told >= 1 ? 0 : 1;
  });
  CHECK(parent == 0);
  CHECK(child == 0);
  CHECK(d["child"].value() >= 1);
  CHECK(d["parent"].value() == 2);
  CHECK(findings(d.native_handle()).empty());
}

TEST_CASE("a child may be forked while changes are watched", "[fork]") {
  Name name("fork.watch");
  shm::dict<std::string, int> d{static_cast<const std::string&>(name)};
  const auto [watching, watched] = both([&](Fork& f) {
    auto w = d.watch();
    d["seen"] = 3;
    for (const auto& change : w) {
      if (change.key != "seen") return 1;
      f.now();
      break;
    }
    d[f.child() ? "child" : "parent"] = 4;
    return 0;
  });
  CHECK(watching == 0);
  CHECK(watched == 0);
  CHECK(findings(d.native_handle()).empty());
}

// ---- another thread ----

// The mechanism: the lock is a thread's. It is an error, after the timeout, and nothing else.
TEST_CASE("a thread that an update's callback waits for gets lock_timeout if it writes", "[thread]") {
  Name name("fork.worker");
  shm::dict<std::string, int> d{static_cast<const std::string&>(name), shm::options{}.timeout(100ms)};
  d["k"] = 1;
  d["k"].update([&](int v) {
    std::thread worker([&] {
      CHECK(d["k"].value() == 1);
      CHECK_THROWS_AS(d["k"] = 7, shm::lock_timeout);
    });
    worker.join();
    return v + 1;
  });
  CHECK(d["k"].value() == 2);
  CHECK(findings(d.native_handle()).empty());
}
