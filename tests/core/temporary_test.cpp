// SPDX-License-Identifier: Apache-2.0
// Creations where the system has no nameless files: the object has a temporary name until it gets its own. What becomes of
// that name when its maker is killed, and when somebody else tidies up meanwhile.
//
// Guards: platform_linux_temporary.c. sweep() taken out: names stay. The lock on MAKER in create_once(), or its question in
// sweep_one(), taken out: the object of a living maker is removed under it. is_temporary(): what is not ours goes. One first
// name for all tries of create_once(): the sweeper that slept removes what came after the object that it looked at.
#include <dirent.h>
#include <fcntl.h>

#include <cstring>
#include <fstream>
#include <memory>
#include <vector>

#include "multiprocess/crash_every_store.hpp"
#include "platform.h"
#include "support/catch.hpp"
#include "support/process.hpp"

using namespace support;

// The linker leads the core's calls of these here: where a process has to sleep for the worst to happen.
static void (*before_lock)();
static void (*before_unlink)(const char* path);

extern "C" {
// NOLINTBEGIN(bugprone-reserved-identifier): the linker's names for --wrap
int __real_shmd_os_byte_try_lock(int fd, std::uint64_t byte, bool exclusive);
int __wrap_shmd_os_byte_try_lock(int fd, std::uint64_t byte, bool exclusive);
int __real_unlink(const char* path);
int __wrap_unlink(const char* path);

int __wrap_shmd_os_byte_try_lock(int fd, std::uint64_t byte, bool exclusive) {
  if (before_lock != nullptr) before_lock();
  return __real_shmd_os_byte_try_lock(fd, byte, exclusive);
}
int __wrap_unlink(const char* path) {
  if (before_unlink != nullptr) before_unlink(path);
  return __real_unlink(path);
}
// NOLINTEND(bugprone-reserved-identifier)
}

namespace {

class Forced {
 public:
  Forced() { shmd_os_forced = SHMD_OS_NO_UNNAMED; }
  ~Forced() { shmd_os_forced = 0; }
  Forced(const Forced&) = delete;
  Forced& operator=(const Forced&) = delete;
};

// Temporary names of a process, as they stand in /dev/shm.
std::vector<std::string> names_of(pid_t pid) {
  std::vector<std::string> names;
  DIR* directory = opendir("/dev/shm");
  while (const dirent* e = readdir(directory)) {
    const std::string name = e->d_name;
    if (name.compare(0, 9, ".shmdict-") == 0 && name.find("-" + std::to_string(pid) + "-") != std::string::npos)
      names.push_back(name);
  }
  closedir(directory);
  return names;
}

int fill(shmd_dict* d, void*) {
  for (const char* key : {"a", "b"})
    if (const int result = put(d, key, 7); result < 0) return result;
  return 0;
}

shmd_options filled(int mode) {
  shmd_options o = with(SHMD_UNLINK_NEVER, mode);
  o.init = fill;
  return o;
}

// Any creation tidies up.
void create_another() {
  const Name name("temporary.other");
  const Handle d(name, with(SHMD_UNLINK_LAST_CLOSES, SHMD_CREATE_ONLY));
}

class File {
 public:
  explicit File(const std::string& name) : path_("/dev/shm/" + name) { std::ofstream(path_) << "not ours"; }
  ~File() { std::remove(path_.c_str()); }
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  bool exists() const { return access(path_.c_str(), F_OK) == 0; }

 private:
  std::string path_;
};

} // namespace

TEST_CASE("killed anywhere in a creation under a temporary name: a whole dict or none, and the next one tidies up",
          "[crash][create]") {
  const Forced forced;
  std::unique_ptr<Name> name = std::make_unique<Name>("temporary.crash");
  Shared<std::atomic<pid_t>> maker;
  std::size_t left = 0;
  crash::at_every_store(
      150,
      [&](auto start) {
        *maker = getpid();
        const shmd_options o = filled(SHMD_CREATE_ONLY);
        shmd_dict* d = nullptr;
        start();
        must(shmd_open(name->c_str(), &o, &d), "open"); // never closed
      },
      [&](std::uint64_t, bool returned) {
        const auto names = names_of(*maker);
        left += names.size();
        if (returned) {
          REQUIRE(names.empty());
          REQUIRE(name->exists());
        }
        {
          const Handle d(*name, filled(SHMD_OPEN_OR_CREATE));
          REQUIRE(get(d, "a") == 7);
          REQUIRE(get(d, "b") == 7);
          REQUIRE(crash::findings(d) == crash::nothing);
        }
        REQUIRE(names_of(*maker).empty());
        name = std::make_unique<Name>("temporary.crash");
      });
  CHECK(left > 3); // or nothing was tested
}

TEST_CASE("the temporary name that a maker killed after the link left goes, the dict stays", "[create]") {
  const Forced forced;
  const Name name("temporary.linked");
  const Handle d(name, filled(SHMD_CREATE_ONLY));
  const std::string second = "/dev/shm/.shmdict-00000000deadbeef-" + std::to_string(getpid()) + "-7";
  REQUIRE(link(name.path().c_str(), second.c_str()) == 0); // as it was between link() and unlink()
  REQUIRE(names_of(getpid()).size() == 1);
  Child([&] { // a descriptor of the living holds the byte: this process made the object
    shmd_os_forced = SHMD_OS_NO_UNNAMED;
    create_another();
    return 0;
  })
      .join();
  CHECK(names_of(getpid()).size() == 1);
  std::remove(second.c_str());

  const Name orphan("temporary.orphan");
  Child([&] {
    const shmd_options o = filled(SHMD_CREATE_ONLY);
    shmd_dict* made = nullptr;
    must(shmd_open(orphan.c_str(), &o, &made), "open");
    return link(orphan.path().c_str(), second.c_str());
  }).join();
  REQUIRE(names_of(getpid()).size() == 1);
  create_another();
  CHECK(names_of(getpid()).empty());
  const Handle survivor(orphan, filled(SHMD_OPEN_ONLY));
  CHECK(get(survivor, "a") == 7);
  CHECK(put(survivor, "a", 8) >= 0);
}

TEST_CASE("the object that a living process is about to name is left alone", "[create]") {
  const Forced forced;
  const Name name("temporary.living");
  static Shared<std::atomic<int>> stage;
  Child maker([&] {
    shmd_options o = with(SHMD_UNLINK_NEVER, SHMD_CREATE_ONLY);
    o.init = [](shmd_dict* d, void* context) {
      *stage = 1;
      return eventually([] { return *stage == 2; }) ? fill(d, context) : -1;
    };
    shmd_dict* d = nullptr;
    return shmd_open(name.c_str(), &o, &d) == SHMD_CREATED ? 0 : 1;
  });
  REQUIRE(eventually([] { return *stage == 1; }));
  for (int i = 0; i < 3; ++i) create_another();
  CHECK(names_of(maker.pid()).size() == 1);
  *stage = 2;
  CHECK(maker.join() == 0);
  const Handle d(name, filled(SHMD_OPEN_ONLY));
  CHECK(get(d, "a") == 7);
}

TEST_CASE("processes that create at the same moment tidy none of each other's objects away", "[create]") {
  const Forced forced;
  std::vector<std::unique_ptr<Child>> makers;
  for (int i = 0; i < 3; ++i) {
    makers.push_back(std::make_unique<Child>([] {
      shmd_options o = small_options(std::uint64_t{4} << 20);
      o.segment_size = 65536;
      o.buffer_size = 65536;
      for (int n = 0; n < 150; ++n) {
        const Name name("temporary.race");
        const Handle d(name, o);
        must(put(d, "k", 1), "put");
      }
      return 0;
    }));
  }
  for (auto& m : makers) CHECK(m->join() == 0);
}

TEST_CASE("a sweeper that slept before it removed a name removes nobody's next object", "[create]") {
  enum Stage { begun, named, looked, made, removed };
  const Forced forced;
  const Name name("temporary.slept");
  static Shared<std::atomic<int>> stage;
  static pid_t maker_pid;
  static const auto reached = [](int s) { return eventually([s] { return *stage >= s; }); };

  Child maker([&] {
    before_lock = [] { // the object has its first name, and its byte is free
      if (*stage != begun) return;
      *stage = named;
      (void)reached(looked);
    };
    shmd_options o = with(SHMD_UNLINK_NEVER, SHMD_CREATE_ONLY);
    o.init = [](shmd_dict* d, void* context) {
      *stage = made;
      return reached(removed) ? fill(d, context) : -1;
    };
    shmd_dict* d = nullptr;
    return shmd_open(name.c_str(), &o, &d) == SHMD_CREATED ? 0 : 1;
  });
  REQUIRE(reached(named));
  maker_pid = maker.pid();
  Child sweeper([] {
    before_unlink = [](const char* path) {
      if (std::strstr(path, ("-" + std::to_string(maker_pid) + "-").c_str()) == nullptr) return;
      *stage = looked; // at the maker's object, with its byte
      (void)reached(made);
    };
    create_another();
    *stage = removed;
    return 0;
  });
  CHECK(sweeper.join() == 0);
  CHECK(maker.join() == 0);
  REQUIRE(*stage == removed);
  const Handle d(name, filled(SHMD_OPEN_ONLY));
  CHECK(get(d, "b") == 7);
  CHECK(names_of(maker_pid).empty());
}

TEST_CASE("what only resembles a temporary name is not touched", "[create]") {
  const Forced forced;
  const std::string tail = "-" + std::to_string(getpid()) + "-9";
  const File backup(".shmdict-0123456789abcdef0123456789abcdef"), short_token(".shmdict-0123" + tail),
      letters(".shmdict-0123456789abcdeg" + tail), more(".shmdict-0123456789abcdef" + tail + "x"),
      no_number(".shmdict-0123456789abcdef-" + std::to_string(getpid()) + "-");
  const std::string link = "/dev/shm/.shmdict-0123456789abcdef" + tail;
  const File target("test.temporary.target." + std::to_string(getpid()));
  REQUIRE(symlink(("/dev/shm/test.temporary.target." + std::to_string(getpid())).c_str(), link.c_str()) == 0);
  create_another();
  for (const File* f : {&backup, &short_token, &letters, &more, &no_number, &target}) CHECK(f->exists());
  CHECK(access(link.c_str(), F_OK) == 0);
  std::remove(link.c_str());
  if (geteuid() != 0) return;
  const File stranger(".shmdict-0123456789abcdef" + tail); // another user's, whoever that is
  REQUIRE(chown(link.c_str(), 65534, 65534) == 0);
  create_another();
  CHECK(stranger.exists());
}
