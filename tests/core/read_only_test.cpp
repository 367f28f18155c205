// SPDX-License-Identifier: Apache-2.0
// Reads store nothing: all of them pass on a PROT_READ mapping of a descriptor opened read-only, and leave every byte of
// the object as it was. What guards it: shmd_os_map and shmd_os_open with writable = false (attach.c passes
// !a->read_only); a store on any read path ends the process with SIGSEGV here.
#include <fcntl.h>
#include <grp.h>
#include <sys/stat.h>

#include <fstream>
#include <sstream>

#include "support/catch.hpp"
#include "support/process.hpp"

using support::Handle;
using support::Name;

namespace {

shmd_options read_only(std::uint32_t more = 0) {
  auto o = support::small_options();
  o.mode = SHMD_OPEN_ONLY;
  o.flags = SHMD_READ_ONLY | more;
  return o;
}

shmd_options never() {
  auto o = support::small_options();
  o.unlink = SHMD_UNLINK_NEVER;
  return o;
}

std::string value_of(int i) {
  return "value " + std::to_string(i) + std::string(static_cast<std::size_t>(i % 50), '.');
}

int store(shmd_dict* d, shmd_node node, const std::string& key, const std::string& value) {
  return support::must(shmd_put(d, node, key.data(), key.size(), value.data(), value.size(), 0), "put");
}

constexpr int keys = 3000;

// Values, large values, nested dicts, things erased.
void fill(shmd_dict* d) {
  for (int i = 0; i < keys; ++i) store(d, shmd_root(), "key" + std::to_string(i), value_of(i));
  store(d, shmd_root(), "large", std::string(300000, 'L'));
  shmd_node child, inner;
  support::must(shmd_node_open(d, shmd_root(), "child", 5, SHMD_NODE_CREATE, &child), "child");
  support::must(shmd_node_open(d, child, "inner", 5, SHMD_NODE_CREATE, &inner), "inner");
  store(d, inner, "deep", "down");
  for (int i = 0; i < 100; ++i) {
    store(d, shmd_root(), "gone" + std::to_string(i), "x");
    support::must(shmd_erase(d, shmd_root(), ("gone" + std::to_string(i)).data(), 4 + std::to_string(i).size()),
                  "erase");
  }
}

// A hash of every byte that has memory (superblock, control block, attach table, tables, segments), and how much that is.
std::pair<std::uint64_t, std::uint64_t> fingerprint(const std::string& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) throw std::runtime_error("open " + path);
  std::uint64_t hash = 14695981039346656037u;
  struct stat s;
  fstat(fd, &s);
  std::vector<char> bytes(65536);
  off_t at = 0;
  while ((at = lseek(fd, at, SEEK_DATA)) >= 0) {
    const off_t end = lseek(fd, at, SEEK_HOLE);
    for (; at < end;) {
      const ssize_t n =
          pread(fd, bytes.data(), std::min<std::size_t>(bytes.size(), static_cast<std::size_t>(end - at)), at);
      if (n <= 0) break;
      for (ssize_t i = 0; i < n; i += 8) {
        std::uint64_t word;
        std::memcpy(&word, &bytes[static_cast<std::size_t>(i)], 8);
        if (word == 0) continue; /* the kernel shows allocated pages that nobody touched yet as holes */
        hash = (hash ^ word ^ static_cast<std::uint64_t>(at + i) << 20) * 1099511628211u;
      }
      at += n;
    }
  }
  close(fd);
  return {hash, static_cast<std::uint64_t>(s.st_blocks)};
}

// Every read call; throws at the first wrong answer.
void read_everything(shmd_dict* d) {
  const auto expect = [](bool good, const char* what) {
    if (!good) throw std::runtime_error(std::string(what) + ": " + shmd_last_error()->message);
  };
  std::string buffer(400000, '\0');
  std::size_t size = 0;
  for (int i = 0; i < keys; ++i) {
    const auto key = "key" + std::to_string(i);
    expect(shmd_get(d, shmd_root(), key.data(), key.size(), buffer.data(), buffer.size(), &size) == 0, "get");
    expect(buffer.compare(0, size, value_of(i)) == 0, "value");
    expect(shmd_contains(d, shmd_root(), key.data(), key.size()) == 0, "contains");
  }
  expect(shmd_get(d, shmd_root(), "large", 5, buffer.data(), 10, &size) == SHMD_TRUNCATED && size == 300000,
         "truncated");
  expect(shmd_get(d, shmd_root(), "absent", 6, buffer.data(), 10, &size) == SHMD_NOT_FOUND, "absent");
  expect(shmd_contains(d, shmd_root(), "gone1", 5) == SHMD_NOT_FOUND, "gone");
  expect(shmd_contains(d, shmd_root(), "child", 5) == SHMD_ERR_IS_A_DICT, "is a dict");
  std::uint64_t count = 0;
  expect(shmd_count(d, shmd_root(), &count) == 0 && count == keys + 2, "count");
  shmd_node child, inner;
  expect(shmd_node_open(d, shmd_root(), "child", 5, 0, &child) == 0, "node_open");
  expect(shmd_node_open(d, child, "inner", 5, 0, &inner) == 0, "node_open");
  expect(shmd_node_check(d, inner) == 0, "node_check");
  expect(shmd_get(d, inner, "deep", 4, buffer.data(), 10, &size) == 0 && size == 4, "deep");

  shmd_snapshot* s = nullptr;
  expect(shmd_snapshot_open(d, &s) == 0, "snapshot");
  expect(shmd_snapshot_position(s) != 0, "position");
  expect(shmd_snapshot_get(s, inner, "deep", 4, buffer.data(), 10, &size) == 0 && size == 4, "snapshot_get");
  expect(shmd_snapshot_node(s, shmd_root(), "child", 5, &child) == 0, "snapshot_node");
  shmd_iter* it = nullptr;
  expect(shmd_iter_open(s, shmd_root(), &it) == 0, "iter");
  shmd_entry e;
  int seen = 0, result;
  std::uint64_t newest = 0;
  while ((result = shmd_iter_next(it, &e)) == 0) {
    const std::string key(static_cast<const char*>(e.key), e.key_size);
    if (key.rfind("key", 0) == 0)
      expect(std::string(static_cast<const char*>(e.value), e.value_size) == value_of(std::stoi(key.substr(3))),
             "entry");
    newest = std::max(newest, e.position);
    ++seen;
  }
  expect(result == SHMD_END && seen == keys + 2, "end");
  shmd_iter_close(it);
  shmd_snapshot_close(s);

  shmd_follower* f = nullptr;
  shmd_change c;
  expect(shmd_follow_open(d, newest, &f) == 0, "follow_open");
  for (seen = 0; (result = shmd_follow_next(f, &c)) == 0;) ++seen;
  expect(result == SHMD_END && seen > 0 && c.last, "follow_next");
  expect(shmd_follow_wait(f, 1000000) == SHMD_TIMED_OUT, "follow_wait");
  shmd_follow_close(f);

  shmd_stats stats;
  expect(shmd_stat(d, &stats) == 0 && stats.read_only == 1 && stats.keys == keys + 2, "stat");
  shmd_lock_info info;
  expect(shmd_lock_status(d, &info) == 0 && info.held == 0, "lock_status");
  expect(shmd_check(d, nullptr, nullptr) == 0, "check");
}

// What must not pass, and must not store either.
void write_nothing(shmd_dict* d) {
  const auto refused = [](int result) {
    if (result != SHMD_ERR_READ_ONLY) throw std::runtime_error("a write was not refused as read-only");
  };
  shmd_node node;
  shmd_view view;
  refused(shmd_put(d, shmd_root(), "key1", 4, "x", 1, 0));
  refused(shmd_erase(d, shmd_root(), "key1", 4));
  refused(shmd_clear(d, shmd_root(), &node));
  refused(shmd_node_open(d, shmd_root(), "fresh", 5, SHMD_NODE_CREATE, &node));
  refused(shmd_node_open(d, shmd_root(), "child", 5, SHMD_NODE_REPLACE, &node));
  refused(shmd_lock(d, 0));
  refused(shmd_begin(d, 0));
  refused(shmd_compact(d));
  refused(shmd_view_open(d, shmd_root(), "key1", 4, &view));
}

// Permissions of this process's mappings of the file, as /proc/self/maps tells them.
std::vector<std::string> mappings(const std::string& path) {
  std::ifstream maps("/proc/self/maps");
  std::vector<std::string> found;
  for (std::string line; std::getline(maps, line);) {
    std::istringstream in(line);
    std::string range, permissions, offset, device, inode, file;
    in >> range >> permissions >> offset >> device >> inode >> file;
    if (file == path) found.push_back(permissions);
  }
  return found;
}

// Access modes of this process's descriptors of the file.
std::vector<int> descriptors(const std::string& path) {
  std::vector<int> modes;
  for (int fd = 0; fd < 1024; ++fd) {
    char target[512];
    const auto n = readlink(("/proc/self/fd/" + std::to_string(fd)).c_str(), target, sizeof target);
    if (n > 0 && std::string(target, static_cast<std::size_t>(n)) == path)
      modes.push_back(fcntl(fd, F_GETFL) & O_ACCMODE);
  }
  return modes;
}

} // namespace

TEST_CASE("every read passes on a read-only mapping of a read-only descriptor and changes no byte") {
  Name name("read_only");
  {
    Handle d(name, never());
    fill(d);
  }
  REQUIRE(mappings(name.path()).empty());
  const auto before = fingerprint(name.path());
  Handle d(name, read_only());
  const auto maps = mappings(name.path());
  REQUIRE(!maps.empty());
  for (const auto& permissions : maps) REQUIRE(permissions == "r--s");
  const auto modes = descriptors(name.path());
  REQUIRE(!modes.empty());
  for (const int mode : modes) REQUIRE(mode == O_RDONLY);
  read_everything(d);
  write_nothing(d);
  read_everything(d);
  REQUIRE(d.close() == 0);
  REQUIRE(fingerprint(name.path()).first == before.first);
  REQUIRE(fingerprint(name.path()).second == before.second);
  REQUIRE(name.exists());
}

// Guard: attach.c needs no write permission on the way (a liveness description opened for writing would fail).
TEST_CASE("a user who may only read the object's file reads everything") {
  if (geteuid() != 0) SHMDICT_SKIP("only root can become another user");
  Name name("read_only_user");
  {
    Handle d(name, never());
    fill(d);
  }
  REQUIRE(chmod(name.path().c_str(), 0444) == 0);
  const auto before = fingerprint(name.path());
  support::Child stranger([&] {
    if (setgroups(0, nullptr) != 0 || setegid(65534) != 0 || seteuid(65534) != 0) return 2;
    shmd_dict* d = nullptr;
    auto o = read_only();
    if (shmd_open(name.c_str(), &o, &d) != SHMD_ERR_OTHER_OWNER) return 3;
    o = support::small_options();
    o.flags = SHMD_ALLOW_OTHER_OWNER;
    if (shmd_open(name.c_str(), &o, &d) != SHMD_ERR_PERMISSION_DENIED) return 4;
    Handle h(name, read_only(SHMD_ALLOW_OTHER_OWNER));
    read_everything(h);
    write_nothing(h);
    return 0;
  });
  REQUIRE(stranger.join() == 0);
  REQUIRE(fingerprint(name.path()).first == before.first);
  REQUIRE(fingerprint(name.path()).second == before.second);
}

TEST_CASE("an owner without write permission reads its own object of mode 0400") {
  if (geteuid() != 0) SHMDICT_SKIP("only root can become another user");
  Name name("read_only_0400");
  support::Child owner([&] {
    if (setgroups(0, nullptr) != 0 || setegid(65534) != 0 || seteuid(65534) != 0) return 2;
    {
      Handle d(name, never());
      fill(d);
    }
    if (chmod(name.path().c_str(), 0400) != 0) return 3;
    const auto before = fingerprint(name.path());
    shmd_dict* d = nullptr;
    auto o = support::small_options();
    if (shmd_open(name.c_str(), &o, &d) != SHMD_ERR_PERMISSION_DENIED) return 4;
    {
      Handle h(name, read_only());
      for (const auto& permissions : mappings(name.path()))
        if (permissions != "r--s") return 5;
      read_everything(h);
      write_nothing(h);
    }
    return fingerprint(name.path()) == before ? 0 : 6;
  });
  REQUIRE(owner.join() == 0);
}

// Guard: shmd_read_get validates by the recycle counter; a read-only reader has no lock to fall back on.
TEST_CASE("a read-only reader sees whole values while another process writes") {
  Name name("read_only_busy");
  Handle owner(name, never());
  for (int i = 0; i < 500; ++i) store(owner, shmd_root(), "key" + std::to_string(i), std::string(100, 'a'));
  support::Shared<std::atomic<bool>> stop;
  support::Child writer([&] {
    Handle d(name, never());
    for (int turn = 0; !*stop; ++turn)
      for (int i = 0; i < 500; ++i)
        store(d, shmd_root(), "key" + std::to_string(i),
              std::string(static_cast<std::size_t>(100 + turn % 7), static_cast<char>('a' + turn % 26)));
    return 0;
  });
  Handle d(name, read_only());
  const auto end = support::Clock::now() + std::chrono::seconds(2);
  std::uint64_t reads = 0, busy = 0, snapshots = 0;
  std::string v(200, '\0');
  while (support::Clock::now() < end || (snapshots == 0 && support::Clock::now() < end + std::chrono::seconds(60))) {
    const auto key = "key" + std::to_string(reads % 500);
    std::size_t size = 0;
    const int result = shmd_get(d, shmd_root(), key.data(), key.size(), v.data(), v.size(), &size);
    ++reads;
    if (result == SHMD_ERR_BUSY) {
      ++busy;
      continue;
    }
    REQUIRE(result == 0);
    REQUIRE(size >= 100);
    REQUIRE(std::string(size, v[0]) == v.substr(0, size));
    if (reads % 64 != 0) continue;
    shmd_snapshot* s = nullptr; // optimistic: whole, or BUSY
    REQUIRE(shmd_snapshot_open(d, &s) == 0);
    const int seen = shmd_snapshot_get(s, shmd_root(), key.data(), key.size(), v.data(), v.size(), &size);
    REQUIRE((seen == 0 || seen == SHMD_ERR_BUSY));
    if (seen == 0) REQUIRE(std::string(size, v[0]) == v.substr(0, size));
    snapshots += seen == 0;
    shmd_snapshot_close(s);
  }
  *stop = true;
  REQUIRE(writer.join() == 0);
  std::printf("%llu reads, %llu busy, %llu snapshot reads\n", static_cast<unsigned long long>(reads),
              static_cast<unsigned long long>(busy), static_cast<unsigned long long>(snapshots));
  REQUIRE(busy < reads / 100 + 10);
  REQUIRE(snapshots > 0);
}
