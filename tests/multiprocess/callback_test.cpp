// SPDX-License-Identifier: Apache-2.0
// Callbacks that do not return: an exception, a cancelled thread, longjmp. Whatever the call held is free afterwards.
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <shmdict/layout.h>
#include <ucontext.h>

#include <memory>
#include <shm/shm.hpp>
#include <stdexcept>
#include <string>
#include <thread>

#include "support/catch.hpp"
#include "support/process.hpp"

using namespace support;

namespace {

struct Thrown {};

int throwing(void*, const void*, std::size_t, const void**, std::size_t*) { throw Thrown(); }

std::string findings(shmd_dict* d) {
  std::string out;
  (void)shmd_check(
      d, [](void* context, const char* text) { *static_cast<std::string*>(context) += std::string(text) + "\n"; },
      &out);
  return out;
}

bool held(shmd_dict* d) {
  shmd_lock_info info;
  must(shmd_lock_status(d, &info), "lock_status");
  return info.held != 0;
}

// Nothing is left behind: this thread, another one, and another process write and change what they like.
void in_order(shmd_dict* d, const std::string& name) {
  CHECK_FALSE(held(d));
  const auto works = [](shmd_dict* own) {
    if (shmd_lock(own, 0) != 0 || put(own, "x", 1) != 0 || shmd_unlock(own) != 0) return 1;
    if (shmd_begin(own, 0) != 0 || put(own, "x", 2) != 0 || shmd_commit(own) != 0) return 2;
    return shmd_unlock(own) == SHMD_ERR_NOT_LOCKED ? 0 : 3;
  };
  CHECK(works(d) == 0);
  int in_thread = -1;
  std::thread([&] { in_thread = works(d); }).join();
  CHECK(in_thread == 0);
  Child other([&] {
    Handle own(name);
    return works(own);
  });
  CHECK(other.join() == 0);
  shmd_stats s;
  REQUIRE(shmd_stat(d, &s) == 0);
  CHECK(s.pins == 0);
  CHECK(s.recoveries == 0); // nobody had to repair anything
  CHECK(findings(d).empty());
}

// ---- longjmp ----

jmp_buf back; // out of a callback

int jumping(void*, const void*, std::size_t, const void**, std::size_t*) { longjmp(back, 1); }

#define NOINLINE __attribute__((noinline))

NOINLINE bool jumped_out(void (*f)(void*), void* context) {
  if (setjmp(back) != 0) return true;
  f(context);
  return false;
}

// Stands deeper on the stack than what comes after the jump.
NOINLINE int update_deeper(shmd_dict* d, int levels) {
  volatile int result =
      levels != 0 ? update_deeper(d, levels - 1) : shmd_update(d, shmd_root(), "k", 1, jumping, nullptr);
  return result;
}
void update_and_jump(void* d) { (void)update_deeper(static_cast<shmd_dict*>(d), 50); }

// One more key in the root's count than there are.
void damage_count(const Name& name) {
  shmd_superblock super;
  shmd_control control;
  shmd_node_entry root;
  const int fd = open(name.path().c_str(), O_RDWR);
  REQUIRE(fd >= 0);
  REQUIRE(pread(fd, &super, sizeof super, 0) == sizeof super);
  REQUIRE(pread(fd, &control, sizeof control, static_cast<off_t>(super.control_offset)) == sizeof control);
  const auto at = static_cast<off_t>(super.nodes_offset + (control.root_node & 0xffffffffu) * sizeof root);
  REQUIRE(pread(fd, &root, sizeof root, at) == sizeof root);
  ++root.count;
  REQUIRE(pwrite(fd, &root, sizeof root, at) == sizeof root);
  close(fd);
}

// ---- other stacks ----

struct Coroutine {
  shmd_dict* d = nullptr;
  ucontext_t caller{}, own{};
  std::unique_ptr<char[]> stack = std::make_unique<char[]>(256 << 10);
  std::uint64_t value = 6;
  int result = -1;
} coroutine;

struct OnSignal {
  shmd_dict* d = nullptr;
  int result = -1;
} on_signal;

} // namespace

// The mechanism: the cleanup of ask() (shmd_callback_unwound), which the core's -fexceptions lets run.
TEST_CASE("an exception out of an update's callback ends the call, and nothing changed", "[callback]") {
  Name name("callback.throw");
  Handle d(name);
  for (const bool there : {true, false}) {
    if (there) must(put(d, "k", 1), "put");
    if (!there) must(shmd_erase(d, shmd_root(), "k", 1), "erase");
    for (int i = 0; i < 3; ++i) CHECK_THROWS_AS(shmd_update(d, shmd_root(), "k", 1, throwing, nullptr), Thrown);
    CHECK(get(d, "k", 77) == (there ? 1u : 77u));
    in_order(d, name);
  }
}

TEST_CASE("an exception through two updates of one dict and one of another ends all three", "[callback]") {
  Name name("callback.outer"), second("callback.inner");
  Handle outer(name), inner(second);
  must(put(outer, "k", 1), "put");
  struct Context {
    shmd_dict *outer, *inner;
  } context{outer, inner};
  const auto once = [](void* self, const void*, std::size_t, const void**, std::size_t*) -> int {
    auto& c = *static_cast<Context*>(self);
    const auto twice = [](void* again, const void*, std::size_t, const void**, std::size_t*) -> int {
      auto& c2 = *static_cast<Context*>(again);
      must(put(c2.outer, "inside", 5), "put");
      return shmd_update(c2.inner, shmd_root(), "k", 1, throwing, nullptr);
    };
    return shmd_update(c.outer, shmd_root(), "other", 5, twice, &c);
  };
  CHECK_THROWS_AS(shmd_update(outer, shmd_root(), "k", 1, once, &context), Thrown);
  CHECK(get(outer, "k") == 1);
  CHECK(get(outer, "inside") == 5); // a call of its own, which had returned
  in_order(outer, name);
  in_order(inner, second);
}

TEST_CASE("an exception out of an update within a section or transaction leaves that as it was", "[callback]") {
  Name name("callback.section");
  Handle d(name);
  must(put(d, "k", 1), "put");
  REQUIRE(shmd_lock(d, 0) == 0);
  CHECK_THROWS_AS(shmd_update(d, shmd_root(), "k", 1, throwing, nullptr), Thrown);
  CHECK(held(d));
  must(put(d, "k", 2), "put");
  REQUIRE(shmd_unlock(d) == 0);
  in_order(d, name);
  REQUIRE(shmd_begin(d, 0) == 0);
  must(put(d, "a", 3), "put");
  CHECK_THROWS_AS(shmd_update(d, shmd_root(), "k", 1, throwing, nullptr), Thrown);
  CHECK(shmd_in_transaction(d) == 1);
  must(put(d, "b", 3), "put");
  REQUIRE(shmd_commit(d) == 0);
  CHECK(get(d, "a") + get(d, "b") == 6);
  CHECK(get(d, "k") == 2);
  in_order(d, name);
}

TEST_CASE("a handle closed in a callback that throws is closed when the update has ended", "[callback]") {
  Name name("callback.close");
  Handle d(name);
  must(put(d, "k", 1), "put");
  auto closed = std::make_unique<Handle>(name);
  shmd_dict* raw = *closed;
  const auto callback = [](void* self, const void*, std::size_t, const void**, std::size_t*) -> int {
    must(static_cast<Handle*>(self)->close(), "close");
    throw Thrown();
  };
  CHECK_THROWS_AS(shmd_update(raw, shmd_root(), "k", 1, callback, closed.get()), Thrown);
  shmd_stats s;
  REQUIRE(shmd_stat(d, &s) == 0);
  CHECK(s.handles == 1);
  in_order(d, name);
}

TEST_CASE("an exception out of what fills a new dict leaves no dict, and other dicts go on", "[callback]") {
  Name name("callback.init");
  shmd_options o = small_options();
  o.init = [](shmd_dict* d, void*) -> int {
    must(put(d, "k", 1), "put");
    throw Thrown();
  };
  for (const std::uint32_t flags : {0u, static_cast<unsigned>(SHMD_ANONYMOUS)}) {
    shmd_dict* d = nullptr;
    o.flags = flags;
    const char* const called = flags == 0 ? name.c_str() : nullptr;
    for (int i = 0; i < 3; ++i) CHECK_THROWS_AS(shmd_open(called, &o, &d), Thrown);
    CHECK(d == nullptr);
    CHECK_FALSE(name.exists());
  }
  std::thread([&] { Handle d(name), again(name); }).join(); // the registry's mutex is free
  Handle d(name);
  in_order(d, name);
}

TEST_CASE("an exception out of scans, lists, checks and hooks leaves nothing held", "[callback]") {
  Name name("callback.look");
  Handle d(name);
  for (int i = 0; i < 20; ++i) must(put(d, "k" + std::to_string(i), 1), "put");
  must(shmd_named_lock(d, "job", 0), "named_lock");
  std::uint64_t cursor = 0;
  const auto throws_scan = [](void*, shmd_snapshot*, const shmd_entry*) -> int { throw Thrown(); };
  const auto throws_object = [](void*, const shmd_object_info*) -> int { throw Thrown(); };
  const auto throws_process = [](void*, const shmd_process_info*) -> int { throw Thrown(); };
  const auto throws_lock = [](void*, const shmd_named_lock_info*) -> int { throw Thrown(); };
  for (int i = 0; i < 3; ++i) {
    CHECK_THROWS_AS(shmd_scan(d, shmd_root(), &cursor, nullptr, 0, 100, throws_scan, nullptr), Thrown);
    CHECK_THROWS_AS(shmd_list(throws_object, nullptr), Thrown);
    CHECK_THROWS_AS(shmd_processes(d, throws_process, nullptr), Thrown);
    CHECK_THROWS_AS(shmd_named_locks(d, throws_lock, nullptr), Thrown);
  }
  must(shmd_named_unlock(d, "job"), "named_unlock");
  in_order(d, name);
}

// The mechanism: told() and delivered() in event.c: the mutex, the reference to the attachment, and the news that are left.
TEST_CASE("an exception out of an event's hook is thrown by the call, which is done, and other news follow",
          "[callback]") {
  Name name("callback.event");
  auto d = std::make_unique<Handle>(name);
  int told = 0;
  const auto hook = [](void* count, const shmd_event*) -> void {
    if (++*static_cast<int*>(count) == 1) throw Thrown();
  };
  must(shmd_set_event_hook(*d, hook, &told), "hook");
  Child([&]() -> int {
    Handle own(name);
    must(shmd_lock(own, SHMD_FOREVER), "lock");
    raise(SIGKILL);
    return 0;
  }).join();
  CHECK_THROWS_AS(put(*d, "k", 5), Thrown);
  CHECK(told == 1);
  CHECK(get(*d, "k") == 5);
  CHECK_FALSE(held(*d));
  must(shmd_lock(*d, 0), "lock");
  must(shmd_unlock(*d), "unlock"); // tells the rest
  CHECK(told == 2);
  std::thread([&] { must(shmd_set_event_hook(*d, nullptr, nullptr), "hook"); }).join();
  shmd_stats s;
  REQUIRE(shmd_stat(*d, &s) == 0);
  CHECK(s.handles == 1);
  REQUIRE(d->close() == 0);
  CHECK_FALSE(name.exists());
}

// A report runs when the lock is free: it may do what it likes, and comes from one look at the whole.
TEST_CASE("the report of a check may write, throw and fork", "[callback]") {
  Name name("callback.check");
  Handle d(name);
  must(put(d, "k", 1), "put");
  damage_count(name);
  struct Context {
    shmd_dict* d;
    int times, written;
  } context{d, 0, -1};
  const auto writes = [](void* self, const char*) -> void {
    auto& c = *static_cast<Context*>(self);
    if (c.times++ == 0) c.written = put(c.d, "report", 1);
  };
  CHECK(shmd_check(d, writes, &context) == SHMD_ERR_CORRUPT);
  CHECK(context.times > 0);
  CHECK(context.written == 0);
  CHECK_THROWS_AS(shmd_check(
                      d, [](void*, const char*) { throw Thrown(); }, nullptr),
                  Thrown);
  CHECK_FALSE(held(d));
}

// The mechanism: as with exceptions: a cancelled thread unwinds its stack. In the facade nothing may catch that for good.
TEST_CASE("a thread cancelled in a callback leaves nothing held", "[callback][thread]") {
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
  SHMDICT_SKIP("sanitizers do not survive a cancelled thread");
#endif
  Name name("callback.cancel");
  Handle d(name);
  must(put(d, "k", 1), "put");
  struct Context {
    const std::string& name;
    shmd_dict* d;
    int how;
    std::atomic<bool> inside{false}, cancelled{false};
    void wait_to_be_cancelled() {
      inside = true;
      while (!cancelled) usleep(1000); // a cancellation point
      usleep(1);
    }
  };
  for (int how = 0; how < 4; ++how) {
    Context context{name, d, how};
    const auto run = [](void* self) -> void* {
      auto& c = *static_cast<Context*>(self);
      const auto waits = [](void* again, const void*, std::size_t, const void**, std::size_t*) -> int {
        static_cast<Context*>(again)->wait_to_be_cancelled();
        return 0;
      };
      if (c.how == 0) (void)shmd_update(c.d, shmd_root(), "k", 1, waits, &c);
      if (c.how == 1) {
        std::uint64_t cursor = 0;
        (void)shmd_scan(
            c.d, shmd_root(), &cursor, nullptr, 0, 9,
            [](void* again, shmd_snapshot*, const shmd_entry*) -> int {
              static_cast<Context*>(again)->wait_to_be_cancelled();
              return 0;
            },
            &c);
      }
      if (c.how == 2) {
        shm::dict<std::string, std::string> typed{shm::anonymous};
        typed["k"] = "v";
        typed["k"].update([&](std::string v) {
          c.wait_to_be_cancelled();
          return v;
        });
      }
      if (c.how == 3) {
        shmd_options o = small_options();
        o.init = [](shmd_dict*, void* again) -> int {
          static_cast<Context*>(again)->wait_to_be_cancelled();
          return 0;
        };
        o.init_context = &c;
        o.flags = SHMD_ANONYMOUS;
        shmd_dict* fresh = nullptr;
        (void)shmd_open(nullptr, &o, &fresh);
      }
      pthread_testcancel();
      return nullptr;
    };
    pthread_t thread;
    REQUIRE(pthread_create(&thread, nullptr, run, &context) == 0);
    REQUIRE(eventually([&] { return context.inside.load(); }));
    REQUIRE(pthread_cancel(thread) == 0);
    context.cancelled = true;
    void* end = nullptr;
    REQUIRE(pthread_join(thread, &end) == 0);
    CHECK(end == PTHREAD_CANCELED);
    CHECK(get(d, "k") == 1);
    in_order(d, name);
  }
}

// The mechanism: shmd_callbacks_left_behind(). Without it the thread held the lock for as long as it lived.
TEST_CASE("a call that was left by longjmp ends with the thread's next call from further out", "[callback]") {
  Name name("callback.jump");
  Handle d(name);
  must(put(d, "k", 1), "put");
  const auto next_calls = [&](int which) {
    switch (which) {
      case 0:
        return put(d, "k", 2);
      case 1:
        return shmd_lock(d, 0) == 0 ? shmd_unlock(d) : 1;
      case 2:
        return shmd_begin(d, 0) == 0 ? shmd_commit(d) : 1;
      case 3:
        return shmd_unlock(d) == SHMD_ERR_NOT_LOCKED ? 0 : 1;
      case 4:
        return shmd_erase(d, shmd_root(), "nothing", 7) == SHMD_NOT_FOUND ? 0 : 1;
      default: {
        Handle other(name);
        return other.close() + put(d, "k", 4);
      }
    }
  };
  for (int which = 0; which < 6; ++which) {
    INFO(which);
    REQUIRE(jumped_out(update_and_jump, static_cast<shmd_dict*>(d)));
    REQUIRE(held(d));
    CHECK(next_calls(which) == 0);
    in_order(d, name);
  }
  // within a section, which goes on
  REQUIRE(shmd_lock(d, 0) == 0);
  REQUIRE(jumped_out(update_and_jump, static_cast<shmd_dict*>(d)));
  must(put(d, "k", 3), "put");
  CHECK(held(d));
  REQUIRE(shmd_unlock(d) == 0);
  in_order(d, name);
}

TEST_CASE("a call that was left by longjmp ends with its thread", "[callback][thread]") {
  Name name("callback.jump.thread");
  Handle d(name);
  must(put(d, "k", 1), "put");
  std::thread([&] { CHECK(jumped_out(update_and_jump, static_cast<shmd_dict*>(d))); }).join();
  CHECK_FALSE(held(d));
  must(put(d, "k", 2), "put");
  CHECK(findings(d).empty());
}

TEST_CASE("a callback that jumps out of an update within it still changes what it wants to", "[callback]") {
  Name name("callback.jump.outer"), second("callback.jump.inner");
  Handle outer(name), inner(second);
  must(put(outer, "k", 1), "put");
  must(put(inner, "k", 1), "put");
  struct Context {
    shmd_dict* inner;
    std::uint64_t value;
    bool calls;
  };
  for (const bool calls : {false, true}) {
    Context context{inner, calls ? 8u : 9u, calls};
    const auto callback = [](void* self, const void*, std::size_t, const void** value, std::size_t* size) -> int {
      auto& c = *static_cast<Context*>(self);
      if (!jumped_out(update_and_jump, c.inner)) return SHMD_ERR_ABORTED;
      if (c.calls) must(put(c.inner, "more", 1), "put");
      *value = &c.value;
      *size = sizeof c.value;
      return SHMD_OK;
    };
    CHECK(shmd_update(outer, shmd_root(), "k", 1, callback, &context) == 0);
    CHECK(get(outer, "k") == context.value);
    CHECK(get(inner, "k") == 1);
    in_order(outer, name);
    in_order(inner, second);
  }
}

// The mechanism: shmd_os_own_stack(): the handler's stack lies further out than the callback, but it is not where that was called.
TEST_CASE("a signal handler on a stack of its own does not end the call that it interrupts in a callback",
          "[callback]") {
  Name name("callback.signal");
  Handle d(name);
  must(put(d, "k", 1), "put");
  alignas(16) char other[64 << 10]; // on this stack, of all places
  stack_t stack{}, before{};
  stack.ss_sp = other;
  stack.ss_size = sizeof other;
  REQUIRE(sigaltstack(&stack, &before) == 0);
  struct sigaction action {
  }, old{};
  action.sa_handler = [](int) { on_signal.result = put(on_signal.d, "handler", 4); };
  action.sa_flags = SA_ONSTACK;
  REQUIRE(sigaction(SIGUSR1, &action, &old) == 0);
  on_signal.d = d;
  std::uint64_t five = 5;
  const auto callback = [](void* v, const void*, std::size_t, const void** value, std::size_t* size) -> int {
    raise(SIGUSR1);
    *value = v;
    *size = sizeof(std::uint64_t);
    return SHMD_OK;
  };
  CHECK(shmd_update(d, shmd_root(), "k", 1, callback, &five) == 0);
  REQUIRE(sigaction(SIGUSR1, &old, nullptr) == 0);
  REQUIRE(sigaltstack(&before, nullptr) == 0);
  CHECK(on_signal.result == 0);
  CHECK(get(d, "k") == 5);
  CHECK(get(d, "handler") == 4);
  in_order(d, name);
}

TEST_CASE("a coroutine that waits in a callback while its thread writes goes on with its update", "[callback]") {
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
  SHMDICT_SKIP("sanitizers do not follow a thread to another stack");
#endif
  Name name("callback.coroutine");
  Handle d(name);
  must(put(d, "k", 1), "put");
  coroutine.d = d;
  REQUIRE(getcontext(&coroutine.own) == 0);
  coroutine.own.uc_stack.ss_sp = coroutine.stack.get();
  coroutine.own.uc_stack.ss_size = 256 << 10;
  coroutine.own.uc_link = &coroutine.caller;
  makecontext(
      &coroutine.own,
      [] {
        const auto callback = [](void*, const void*, std::size_t, const void** value, std::size_t* size) -> int {
          swapcontext(&coroutine.own, &coroutine.caller); // and on when it is switched to again
          *value = &coroutine.value;
          *size = sizeof coroutine.value;
          return SHMD_OK;
        };
        coroutine.result = shmd_update(coroutine.d, shmd_root(), "k", 1, callback, nullptr);
      },
      0);
  REQUIRE(swapcontext(&coroutine.caller, &coroutine.own) == 0);
  REQUIRE(held(d));
  must(put(d, "meanwhile", 3), "put"); // the same thread: within the callback, as far as the lock goes
  REQUIRE(held(d));
  REQUIRE(swapcontext(&coroutine.caller, &coroutine.own) == 0);
  CHECK(coroutine.result == 0);
  CHECK(get(d, "k") == 6);
  CHECK(get(d, "meanwhile") == 3);
  in_order(d, name);
}

// The mechanism: the list of callbacks is the thread's.
TEST_CASE("a callback that returns in another thread changes nothing", "[callback][thread]") {
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
  SHMDICT_SKIP("sanitizers do not follow a thread to another stack");
#endif
  Name name("callback.moves");
  Handle d(name);
  must(put(d, "k", 1), "put");
  coroutine.d = d;
  coroutine.result = 0;
  REQUIRE(getcontext(&coroutine.own) == 0);
  coroutine.own.uc_stack.ss_sp = coroutine.stack.get();
  coroutine.own.uc_stack.ss_size = 256 << 10;
  coroutine.own.uc_link = &coroutine.caller;
  makecontext(
      &coroutine.own,
      [] {
        const auto callback = [](void*, const void*, std::size_t, const void** value, std::size_t* size) -> int {
          swapcontext(&coroutine.own, &coroutine.caller);
          *value = &coroutine.value;
          *size = sizeof coroutine.value;
          return SHMD_OK;
        };
        coroutine.result = shmd_update(coroutine.d, shmd_root(), "k", 1, callback, nullptr);
      },
      0);
  std::thread([&] { CHECK(swapcontext(&coroutine.caller, &coroutine.own) == 0); }).join(); // ends in the callback
  CHECK_FALSE(held(d));
  std::thread([&] { CHECK(swapcontext(&coroutine.caller, &coroutine.own) == 0); }).join();
  CHECK(coroutine.result == SHMD_ERR_NOT_LOCKED);
  CHECK(get(d, "k") == 1);
  must(put(d, "k", 2), "put");
  CHECK(findings(d).empty());
}
