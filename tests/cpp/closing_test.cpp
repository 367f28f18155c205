// SPDX-License-Identifier: Apache-2.0
// A dict that one thread closes while others use it: they are done or throw shm::closed. And threads that are cancelled.
#include <pthread.h>

#include <atomic>
#include <functional>
#include <memory>
#include <shm/shm.hpp>
#include <string>
#include <thread>
#include <vector>

#include "support.hpp"
#include "support/catch.hpp"

using support::eventually;
using support::unique_name;

namespace {

using Numbers = shm::dict<std::string, int>;

struct Use {
  const char* what;
  std::function<void(Numbers&)> use;
};

void expect(bool right, const char* what) {
  if (!right) throw std::runtime_error(what);
}

const std::vector<Use> uses = {
    {"read", [](Numbers& d) { expect(d["a"] == 1, "read"); }},
    {"get", [](Numbers& d) { expect(d.get("a") == 1, "get"); }},
    {"write", [](Numbers& d) { d["b"] = 2; }},
    {"add", [](Numbers& d) { d["n"] += 1; }},
    {"iterate",
     [](Numbers& d) {
       bool there = false;
       for (const auto& [key, value] : d) there = there || (key == "a" && value == 1);
       expect(there, "iterate");
     }},
    {"guard",
     [](Numbers& d) {
       const shm::guard g{d};
       expect(d["a"] == 1, "guard");
     }},
    {"transact", [](Numbers& d) { d.transact([](auto& tx) { tx["b"] = 2; }); }},
    {"with",
     [](Numbers& d) { d.with("a", [](std::string_view bytes) { expect(bytes.size() == sizeof(int), "with"); }); }},
    {"watch",
     [](Numbers& d) {
       auto w = d.watch();
       static_cast<void>(w.poll());
     }},
};

} // namespace

TEST_CASE("threads that use a dict which another one closes are done or told so", "[closing]") {
  const Use& use = uses[GENERATE(range(std::size_t{0}, std::size_t{9}))];
  CAPTURE(use.what);
  for (int round = 0; round < 5; ++round) {
    const std::string name = unique_name("closing");
    Numbers d{shm::create_only, name, {{"a", 1}, {"n", 0}}, shm::options{}.max_size(16u << 20)};
    std::atomic<int> calls{0}, told{0}, wrong{0};
    std::vector<std::thread> threads;
    threads.reserve(3);
    for (int i = 0; i < 3; ++i)
      threads.emplace_back([&] {
        try {
          for (;;) {
            use.use(d);
            ++calls;
          }
        } catch (const shm::closed&) {
          ++told;
        } catch (const std::exception& e) {
          std::fprintf(stderr, "%s\n", e.what());
          ++wrong;
        }
      });
    const bool ran = eventually([&] { return calls > 20 || wrong != 0; });
    d.close();
    const Numbers another{shm::create_only, unique_name("closing"), {{"a", 7}}, shm::options{}.max_size(16u << 20)};
    for (auto& t : threads) t.join();
    CHECK(ran);
    CHECK(told == 3);
    CHECK(wrong == 0);
    CHECK(!d.is_open());
    CHECK(another.get("a") == 7);
  }
}

TEST_CASE("a guard whose dict another thread has closed gives its lock back", "[closing]") {
  const std::string name = unique_name("closing");
  Numbers kept{shm::create_only, name, {{"a", 1}}, shm::options{}.max_size(16u << 20)};
  Numbers closed{shm::open_only, name};
  std::atomic<bool> inside{false}, leave{false};
  std::thread holder([&] {
    const shm::guard g{closed};
    inside = true;
    eventually([&] { return leave.load(); });
  });
  REQUIRE(eventually([&] { return inside.load(); }));
  closed.close();
  leave = true;
  holder.join();
  CHECK(kept.try_lock());
  kept.unlock();
}

TEST_CASE("a thread cancelled in a function given to update() ends, changes nothing and gives the lock back",
          "[cancel]") {
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
  SHMDICT_SKIP("sanitizers do not survive a cancelled thread"); // what is caught then is a reference to nothing
#endif
  struct Unwound {
    std::atomic<bool>* flag;
    ~Unwound() { *flag = true; }
  };
  struct Context {
    Numbers d{shm::create_only, unique_name("cancel"), {{"a", 1}}, shm::options{}.max_size(16u << 20)};
    std::atomic<bool> unwound{false}, went_on{false};
  } context;
  const auto run = [](void* self) -> void* {
    auto* c = static_cast<Context*>(self);
    pthread_cancel(pthread_self());
    const Unwound here{&c->unwound};
    c->d["a"].update([](int v) {
      pthread_testcancel();
      return v + 1;
    });
    c->went_on = true;
    return nullptr;
  };
  pthread_t thread;
  void* result = nullptr;
  REQUIRE(pthread_create(&thread, nullptr, run, &context) == 0);
  REQUIRE(pthread_join(thread, &result) == 0);
  CHECK(result == PTHREAD_CANCELED);
  CHECK(context.unwound);
  CHECK(!context.went_on);
  CHECK(context.d.get("a") == 1);
  context.d["a"] += 1;
  CHECK(context.d.get("a") == 2);
}
