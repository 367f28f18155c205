// SPDX-License-Identifier: Apache-2.0
#include "plugin.hpp"

#include <shm/dict.hpp>
#include <shm/guard.hpp>
#include <shm/watch.hpp>

#include <chrono>
#include <cstdio>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>

namespace {

std::optional<shm::dict<std::string, int>> dict;

template <class Body>
int guarded(Body body) {
  try {
    body();
    return 0;
  } catch (const std::exception& e) {
    std::fprintf(stderr, "plugin: %s\n", e.what());
    return 1;
  }
}

} // namespace

int plugin_open(const char* name) {
  return guarded([&] { dict.emplace(shm::open_only, name); });
}

int plugin_leak(const char* name) {
  return guarded([&] { new shm::dict<std::string, int>(shm::open_only, name); });
}

int plugin_watch(const char* name) {
  return guarded([&] {
    auto* d = new shm::dict<std::string, int>(shm::open_only, name);
    auto* w = new auto(d->watch());
    if (w->fd() < 0) throw std::runtime_error("no descriptor");
  });
}

int plugin_add(const char* key, int rounds) {
  return guarded([&] {
    for (int i = 0; i < rounds; ++i) (*dict)[key] += 1;
  });
}

int plugin_hold(const char* key) {
  return guarded([&] {
    shm::guard g{*dict};
    const int before = (*dict)[key];
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    (*dict)[key] = before + 1;
  });
}
