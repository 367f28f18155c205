// SPDX-License-Identifier: Apache-2.0
// The facade without run-time type information. A program of its own: Catch2 wants RTTI.
#include <unistd.h>

#include <shm/shm.hpp>
#include <string>

int main() {
  using tree = shm::dict<std::string, shm::dict<std::string, int>>;
  tree d{"shmdict.test.cpp.no_rtti." + std::to_string(getpid()), shm::options{}.max_size(64u << 20)};
  d["a"]["b"] += 1;
  try {
    d.transact([](auto& tx) {
      tx["a"]["b"] = 7;
      throw std::runtime_error("abort");
    });
    return 1;
  } catch (const std::runtime_error&) {
  }
  try {
    static_cast<void>(d.at("none"));
    return 1;
  } catch (const shm::key_not_found& e) {
    if (e.code() != shm::errc::not_found) return 1;
  }
  return d["a"]["b"] == 1 ? 0 : 1;
}
