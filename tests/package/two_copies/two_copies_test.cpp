// SPDX-License-Identifier: Apache-2.0
// A host with the shared library loads a plugin that was linked with the static one: two copies of the core in one
// process, two attachees of one dict. The host exports the symbols of its facade and the plugin hides none of its own:
// the dynamic linker has every chance to mix them up.
#include <dirent.h>
#include <dlfcn.h>
#include <shmdict/shmdict.h>

#include <atomic>
#include <shm/dict.hpp>
#include <shm/guard.hpp>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "plugin.hpp"
#include "support/catch.hpp"
#include "support/process.hpp"

using support::Child;
using support::eventually;

namespace {

class Plugin {
 public:
  explicit Plugin(const char* path) : library_(dlopen(path, RTLD_NOW | RTLD_LOCAL)) {
    if (library_ == nullptr) throw std::runtime_error(dlerror());
    open = function<decltype(&plugin_open)>("plugin_open");
    leak = function<decltype(&plugin_leak)>("plugin_leak");
    watch = function<decltype(&plugin_watch)>("plugin_watch");
    add = function<decltype(&plugin_add)>("plugin_add");
    hold = function<decltype(&plugin_hold)>("plugin_hold");
  }
  ~Plugin() { dlclose(library_); }
  Plugin(const Plugin&) = delete;
  Plugin& operator=(const Plugin&) = delete;

  decltype(&plugin_open) open;
  decltype(&plugin_leak) leak;
  decltype(&plugin_watch) watch;
  decltype(&plugin_add) add;
  decltype(&plugin_hold) hold;

 private:
  template <class F>
  F function(const char* symbol) {
    void* address = dlsym(library_, symbol);
    if (address == nullptr) throw std::runtime_error(dlerror());
    return reinterpret_cast<F>(address);
  }
  void* library_;
};

// How many attachees the dict has, by a handle of the host's copy.
unsigned attached(const std::string& name) {
  shmd_options options;
  shmd_options_init(&options);
  options.mode = SHMD_OPEN_ONLY;
  shmd_dict* d = nullptr;
  shmd_stats stats;
  support::must(shmd_open(name.c_str(), &options, &d), "open");
  const int result = shmd_stat(d, &stats);
  shmd_close(d);
  support::must(result, "stat");
  return stats.attached;
}

} // namespace

TEST_CASE("a plugin's static copy and the host's shared copy work on one dict, in forked children too", "[copies]") {
  const std::string name = support::unique_name("two_copies");
  shm::dict<std::string, int> d{shm::create_only, name, shm::options{}.max_size(64u << 20)};
  d["n"] = 0;
  REQUIRE(attached(name) == 1);
  Plugin plugin(GENERATE(as<const char*>{}, PLUGIN_OPEN, PLUGIN_HIDDEN));
  REQUIRE(plugin.open(name.c_str()) == 0);
  REQUIRE(attached(name) == 2);

  const auto work = [&] {
    std::atomic<int> errors{0};
    std::vector<std::thread> threads;
    for (int i = 0; i < 2; ++i) {
      threads.emplace_back([&] { errors += plugin.add("n", 2000) + plugin.hold("n"); });
      threads.emplace_back([&] {
        for (int j = 0; j < 2000; ++j) d["n"] += 1;
        shm::guard g{d};
        const int before = d["n"];
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
        d["n"] = before + 1;
      });
    }
    for (auto& t : threads) t.join();
    return errors.load();
  };
  Child child(work);
  REQUIRE(work() == 0);
  REQUIRE(child.join() == 0);
  const int n = d["n"];
  REQUIRE(n == 2 * 4 * 2001);
}

// The mechanisms: the library's exit function ends its attachments and its thread-exit key; the C library forgets fork
// handlers of what it unloads.
TEST_CASE("a plugin's copy that is unloaded leaves nothing behind in the host", "[copies]") {
  const std::string name = support::unique_name("unloaded");
  shm::dict<std::string, int> d{shm::create_only, name, shm::options{}.max_size(64u << 20)};
  d["n"] = 0;
  std::atomic<int> step{0};
  std::thread user; // uses both copies and ends after one of them is gone
  const auto finish = [&] {
    step = 2;
    if (user.joinable()) user.join();
  };
  for (int round = 1; round <= 3; ++round) {
    step = 0;
    {
      Plugin plugin(PLUGIN_HIDDEN);
      REQUIRE(plugin.open(name.c_str()) == 0);
      REQUIRE(plugin.leak(name.c_str()) == 0);
      user = std::thread([&] {
        if (plugin.add("n", 10) == 0) d["n"] += 10;
        step = 1;
        while (step != 2) std::this_thread::yield();
        d["n"] += 1;
      });
      const bool worked = eventually([&] { return step == 1; });
      if (!worked || attached(name) != 2) finish();
      REQUIRE(user.joinable());
    }
    const unsigned left = attached(name);
    void* still = dlopen(PLUGIN_HIDDEN, RTLD_NOW | RTLD_NOLOAD);
    finish();
    REQUIRE(still == nullptr);
    REQUIRE(left == 1);
    Child child([&] {
      d["n"] += 1;
      return 0;
    });
    REQUIRE(child.join() == 0);
    const int n = d["n"];
    REQUIRE(n == round * 22);
  }
}

// The mechanism: shmd_ready_end_all(), which the exit function calls first.
TEST_CASE("a plugin that is unloaded takes its followers' threads with it", "[copies]") {
  const std::string name = support::unique_name("unloaded");
  shm::dict<std::string, int> d{shm::create_only, name, shm::options{}.max_size(64u << 20)};
  const auto threads = [] {
    int count = 0;
    DIR* tasks = opendir("/proc/self/task");
    while (readdir(tasks) != nullptr) ++count;
    closedir(tasks);
    return count;
  };
  const int before = threads();
  {
    Plugin plugin(PLUGIN_HIDDEN);
    for (int i = 0; i < 3; ++i) REQUIRE(plugin.watch(name.c_str()) == 0);
    d["n"] = 1;
    REQUIRE(threads() == before + 3);
  }
  REQUIRE(dlopen(PLUGIN_HIDDEN, RTLD_NOW | RTLD_NOLOAD) == nullptr);
  for (int i = 0; i < 100; ++i) d["n"] = i;
  CHECK(eventually([&] { return threads() == before; }));
}
