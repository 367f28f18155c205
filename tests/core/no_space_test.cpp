// SPDX-License-Identifier: Apache-2.0
// A full file system, or a full max_size, is an error and nothing else: NO_SPACE, nothing changed, everything readable,
// erasing works, and writing goes on once there is space again. No SIGBUS: shmd_segment_memory (segment.c) allocates before
// anything is touched; without its call of shmd_object_allocate these tests die of SIGBUS.
// The small file system is a tmpfs in a mount namespace of the test's own; it needs root.
#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>

#include <algorithm>
#include <functional>
#include <map>
#include <random>

#include "support/catch.hpp"
#include "support/process.hpp"

using support::Dict;

namespace {

constexpr std::uint64_t MiB = std::uint64_t{1} << 20;
constexpr int forbidden = 77;

// What is filled, in MiB. Instrumented builds fill half as much.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr std::uint64_t room = 4;
#else
constexpr std::uint64_t room = 8;
#endif

void expect(bool good, const std::string& what) {
  if (!good) throw std::runtime_error(what + " (last error: " + shmd_last_error()->message + ")");
}

// Runs `body` in a child whose /dev/shm is a tmpfs of `size`.
void on_small_shm(const std::string& size, const std::function<void()>& body) {
  support::Child child([&] {
    if (unshare(CLONE_NEWNS) != 0 || mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
        mount("tmpfs", "/dev/shm", "tmpfs", 0, ("size=" + size + ",mode=1777").c_str()) != 0) {
      return forbidden;
    }
    body();
    return 0;
  });
  const int result = child.join();
  if (result == forbidden) SHMDICT_SKIP("the kernel does not let this user mount a tmpfs");
  INFO("minus a signal number: SIGBUS is 7");
  REQUIRE(result == 0);
}

std::string value_of(std::uint64_t key, std::uint64_t turn, std::size_t size) {
  std::string v(size, static_cast<char>('a' + (key * 7 + turn) % 26));
  const auto head = std::to_string(key) + ":" + std::to_string(turn) + ":";
  v.replace(0, std::min(size, head.size()), head.substr(0, size));
  return v;
}

using Model = std::map<std::uint64_t, std::string>;

int put(shmd_dict* d, std::uint64_t key, const std::string& value) {
  return shmd_put(d, shmd_root(), &key, 8, value.data(), value.size(), 0);
}

void compare(Dict& d, const Model& model) {
  std::string v(6000000, '\0');
  expect(d.count() == model.size(), "count " + std::to_string(d.count()) + " of " + std::to_string(model.size()));
  for (const auto& [key, value] : model) {
    std::size_t size = 0;
    expect(shmd_get(d, shmd_root(), &key, 8, v.data(), v.size(), &size) == 0, "get");
    expect(v.compare(0, size, value) == 0, "value of " + std::to_string(key));
  }
  const auto findings = d.check();
  expect(findings.empty(), findings);
}

// Puts new keys until there is no space. What failed changed nothing.
void fill(Dict& d, Model& model, std::uint64_t from, std::size_t size, std::uint64_t turn = 0) {
  for (std::uint64_t key = from;; ++key) {
    const auto before = d.stat();
    const auto value = value_of(key, turn, size);
    const int result = put(d, key, value);
    if (result == 0) {
      model[key] = value;
      expect(key < from + 10000000, "it never gets full");
      continue;
    }
    expect(result == SHMD_ERR_NO_SPACE, "NO_SPACE expected, not " + std::to_string(result));
    expect(std::string(shmd_last_error()->message).find(d.name()) != std::string::npos, "the message names the dict");
    const auto after = d.stat();
    expect(before.keys == after.keys && before.live_bytes == after.live_bytes, "a failed put changed something");
    return;
  }
}

shmd_options options_of(std::uint64_t max_size, std::uint64_t segment = 65536) {
  auto o = support::small_options(max_size);
  o.segment_size = segment;
  o.buffer_size = 65536;
  return o;
}

// Full, with values of `size`: read, overwrite or fail, erase all in random order, write again.
void live_through_it(Dict& d, std::size_t size, std::uint64_t seed) {
  Model model;
  std::mt19937_64 rng(seed);
  fill(d, model, 0, size);
  expect(model.size() > 3, "something fits");
  compare(d, model);
  for (int i = 0; i < 200; ++i) { // overwriting succeeds or fails, never halfway
    const auto key = rng() % model.size();
    const auto value = value_of(key, 1, size);
    const int result = put(d, key, value);
    expect(result == 0 || result == SHMD_ERR_NO_SPACE, "overwrite");
    if (result == 0) model[key] = value;
  }
  compare(d, model);
  for (std::uint64_t n = 0; n < 50; ++n) { // so do nested dicts and large values
    shmd_node child;
    const std::uint64_t key = 1000000000 + n;
    int result = shmd_node_open(d, shmd_root(), &key, 8, SHMD_NODE_CREATE, &child);
    expect(result == SHMD_CREATED || result == SHMD_ERR_NO_SPACE, "node_open");
    if (result == SHMD_CREATED) expect(shmd_erase(d, shmd_root(), &key, 8) == 0, "erase of a nested dict when full");
    const auto large = value_of(key, 0, 1000000);
    result = put(d, key, large);
    expect(result == 0 || result == SHMD_ERR_NO_SPACE, "large put");
    if (result == 0) model[key] = large;
  }
  compare(d, model);
  std::vector<std::uint64_t> order;
  for (const auto& entry : model) order.push_back(entry.first);
  std::shuffle(order.begin(), order.end(), rng);
  for (std::size_t i = 0; i < order.size(); ++i) {
    if (i == order.size() / 2) compare(d, model);
    expect(shmd_erase(d, shmd_root(), &order[i], 8) == 0, "erase of key " + std::to_string(i) + " when full");
    model.erase(order[i]);
  }
  compare(d, model);
  for (std::uint64_t key = 0; key < order.size() / 2; ++key) {
    const auto value = value_of(key, 2, size);
    expect(put(d, key, value) == 0, "put after space was made");
    model[key] = value;
  }
  compare(d, model);
}

} // namespace

// Guard: shmd_segment_memory asks the file system before it touches; reclaim_urgent and the reserve let erase work.
TEST_CASE("a full file system gives no_space, and erasing makes space again") {
  on_small_shm(std::to_string(room) + "m", [] {
    for (const std::size_t size :
         {std::size_t{8}, std::size_t{100}, std::size_t{3000}, std::size_t{40000}, std::size_t{200000}}) {
      Dict d(support::unique_name("no_space"), options_of(64 * MiB));
      live_through_it(d, size, size);
    }
  });
}

TEST_CASE("a full file system with default options gives no_space, too") {
  on_small_shm(std::to_string(2 * room) + "m", [] {
    Dict d(support::unique_name("no_space"), support::small_options(0));
    live_through_it(d, 500, 3);
  });
}

// Guard: shmd_segment_allocate's bound, shmd_reclaim_urgent, the reserve.
TEST_CASE("a full max_size gives no_space, and erasing makes space again") {
  for (const std::size_t size :
       {std::size_t{8}, std::size_t{100}, std::size_t{3000}, std::size_t{40000}, std::size_t{200000}}) {
    Dict d(support::unique_name("no_space"), options_of(room * MiB));
    live_through_it(d, size, size + 1);
  }
}

// Guard: shmd_segment_forget: what a failed write allocated goes back.
TEST_CASE("a write that fails for want of space leaves no memory behind") {
  on_small_shm("8m", [] {
    Dict d(support::unique_name("no_space"), options_of(64 * MiB));
    Model model;
    for (std::uint64_t key = 0; key < 1000; ++key) {
      model[key] = value_of(key, 0, 100);
      expect(put(d, key, model[key]) == 0, "put");
    }
    const auto before = d.stat();
    for (int i = 0; i < 20; ++i) expect(put(d, 5, value_of(5, 1, 12000000)) == SHMD_ERR_NO_SPACE, "a put of 12 MB");
    auto after = d.stat();
    expect(after.memory <= before.memory + 262144,
           "a failed put holds " + std::to_string(after.memory - before.memory) + " bytes");
    expect(shmd_begin(d, SHMD_FOREVER) == 0, "begin");
    int result = 0;
    for (std::uint64_t key = 0; result == 0 && key < 1000; ++key) result = put(d, key, value_of(key, 1, 50000));
    expect(result == SHMD_ERR_NO_SPACE, "a transaction that is too large for the file system");
    expect(shmd_commit(d) == SHMD_ERR_NO_SPACE, "commit fails with the same error");
    after = d.stat();
    expect(after.memory <= before.memory + 262144,
           "a failed transaction holds " + std::to_string(after.memory - before.memory) + " bytes");
    compare(d, model);
    expect(put(d, 5, model[5] = value_of(5, 2, 5000000)) == 0, "a put of 5 MB");
    compare(d, model);
  });
}

// Guard: shmd_os_allocate fails with ENOSPC, whoever took the space.
TEST_CASE("another file that fills the file system does no harm") {
  on_small_shm("12m", [] {
    Dict d(support::unique_name("no_space"), options_of(64 * MiB));
    Model model;
    for (std::uint64_t key = 0; key < 2000; ++key) expect(put(d, key, model[key] = value_of(key, 0, 1000)) == 0, "put");
    const int fd = open("/dev/shm/filler", O_CREAT | O_RDWR, 0600);
    expect(fd >= 0, "filler");
    for (off_t at = 0, step = 1 << 20; step >= 4096;) {
      if (posix_fallocate(fd, at, step) == 0)
        at += step;
      else
        step /= 2;
    }
    // Old versions can be reused; new keys cannot be had for ever.
    std::uint64_t refused = 0;
    for (std::uint64_t turn = 1; turn < 10; ++turn) {
      for (std::uint64_t key = 0; key < 2000; ++key) {
        const auto value = value_of(key, turn, 1000);
        const int result = put(d, key, value);
        expect(result == 0 || result == SHMD_ERR_NO_SPACE, "put on a full file system");
        if (result == 0) model[key] = value;
        refused += result != 0;
      }
    }
    expect(refused > 0, "it is full");
    compare(d, model);
    for (std::uint64_t key = 0; key < 1000; ++key) {
      expect(shmd_erase(d, shmd_root(), &key, 8) == 0, "erase");
      model.erase(key);
    }
    compare(d, model);
    expect(ftruncate(fd, 0) == 0, "truncate");
    close(fd);
    unlink("/dev/shm/filler");
    for (std::uint64_t key = 0; key < 3000; ++key)
      expect(put(d, key, model[key] = value_of(key, 99, 1000)) == 0, "put");
    compare(d, model);
  });
}

// Guard: shmd_object_create undoes all of it (object.c build(), shmd_os_discard).
TEST_CASE("creating a dict on a full file system gives no_space and leaves nothing") {
  on_small_shm("1m", [] {
    const int fd = open("/dev/shm/filler", O_CREAT | O_RDWR, 0600);
    off_t at = 0;
    for (off_t step = 1 << 20; step >= 4096;) {
      if (posix_fallocate(fd, at, step) == 0)
        at += step;
      else
        step /= 2;
    }
    const std::string name = support::unique_name("no_space");
    auto o = options_of(64 * MiB);
    std::uint64_t refused = 0;
    int result = SHMD_ERR_NO_SPACE;
    for (off_t left = at; result != SHMD_CREATED; left -= 4096, ++refused) { // at every size that does not suffice
      expect(left >= 0 && ftruncate(fd, left) == 0, "truncate");
      shmd_dict* d = nullptr;
      result = shmd_open(name.c_str(), &o, &d);
      if (result == SHMD_CREATED) {
        expect(put(d, 1, "one") == 0 || shmd_last_error()->code == SHMD_ERR_NO_SPACE, "put");
        expect(shmd_close(d) == 0, "close");
        break;
      }
      expect(result == SHMD_ERR_NO_SPACE, "NO_SPACE expected, not " + std::to_string(result));
      expect(d == nullptr, "no handle");
      o.mode = SHMD_OPEN_ONLY;
      expect(shmd_open(name.c_str(), &o, &d) == SHMD_ERR_NO_SUCH_DICT, "nothing is left");
      o.mode = SHMD_OPEN_OR_CREATE;
      expect(access(("/dev/shm/shmdict." + name).c_str(), F_OK) != 0, "no file is left");
    }
    expect(refused > 10, "many sizes were refused");
    unlink("/dev/shm/filler");
  });
}

// Guard: views cannot be revoked; shmd_reclaim_blame names who holds one.
TEST_CASE("no_space because of a view names the process that holds it") {
  Dict d(support::unique_name("no_space"), options_of(8 * MiB));
  for (std::uint64_t key = 0; key < 1000; ++key) REQUIRE(put(d, key, value_of(key, 0, 1000)) == 0);
  support::Shared<std::atomic<int>> state;
  support::Child holder([&] {
    support::Handle h(d.name());
    const std::uint64_t key = 7;
    shmd_view view;
    support::must(shmd_view_open(h, shmd_root(), &key, 8, &view), "view");
    *state = 1;
    while (*state == 1) usleep(1000);
    const bool good = std::string(static_cast<const char*>(view.data), view.size) == value_of(7, 0, 1000);
    shmd_view_close(h, &view);
    return good ? 0 : 1;
  });
  REQUIRE(support::eventually([&] { return *state == 1; }));
  int result = 0;
  for (std::uint64_t i = 0; result == 0 && i < 100000; ++i) result = put(d, i % 1000, value_of(i % 1000, i, 1000));
  REQUIRE(result == SHMD_ERR_NO_SPACE);
  REQUIRE(shmd_last_error()->pid == holder.pid());
  *state = 2;
  REQUIRE(holder.join() == 0);
  for (std::uint64_t key = 0; key < 1000; ++key) REQUIRE(put(d, key, value_of(key, 5, 1000)) == 0);
  REQUIRE(d.check() == "");
}
