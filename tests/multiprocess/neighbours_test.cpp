// SPDX-License-Identifier: Apache-2.0
// A process that is stopped inside opening or removing one dict makes nobody wait who is about another.
#include <fcntl.h>
#include <sys/stat.h>

#include <string>
#include <thread>

#include "support/catch.hpp"
#include "support/process.hpp"

using namespace support;

namespace {

// Holds the byte that serialises a name, as a process does that opens or removes the dict: a description of its own.
class Stopped {
 public:
  explicit Stopped(const Name& name) : fd_(open(name.path().c_str(), O_RDWR | O_CLOEXEC)) {
    struct flock lock = {};
    lock.l_type = F_WRLCK;
    lock.l_whence = SEEK_SET;
    lock.l_start = off_t{1} << 61; // SHMD_BYTE_CREATE
    lock.l_len = 1;
    REQUIRE(fd_ >= 0);
    REQUIRE(fcntl(fd_, F_OFD_SETLK, &lock) == 0);
  }
  ~Stopped() { go_on(); }
  Stopped(const Stopped&) = delete;
  Stopped& operator=(const Stopped&) = delete;
  void go_on() {
    if (fd_ >= 0) close(fd_);
    fd_ = -1;
  }

 private:
  int fd_;
};

// How many descriptors of this process lead to an object.
int descriptors_of(dev_t device, ino_t inode) {
  int count = 0;
  for (int fd = 0; fd < 256; ++fd) { // opens none of its own, which ThreadSanitizer would take for one of the library's
    struct stat s;
    if (stat(("/proc/self/fd/" + std::to_string(fd)).c_str(), &s) == 0 && s.st_dev == device && s.st_ino == inode)
      ++count;
  }
  return count;
}

struct Identity {
  explicit Identity(const Name& name) {
    struct stat s;
    REQUIRE(stat(name.path().c_str(), &s) == 0);
    device = s.st_dev;
    inode = s.st_ino;
  }
  int descriptors() const { return descriptors_of(device, inode); }
  dev_t device;
  ino_t inode;
};

void make(const Name& name, int unlink) {
  shmd_options o = small_options();
  o.unlink = unlink;
  Handle d(name, o);
  must(put(d, "x", 1), "put");
}

// Opens, closes and unlinks another dict, and forks a child that does so and has nothing of `waited_for` but what the
// test itself has.
void use_another(const Identity& waited_for, int own) {
  Name other("other");
  {
    Handle d(other);
    must(put(d, "x", 1), "put");
    Child child([&] {
      if (waited_for.descriptors() != own) return 2;
      Name of_child("child");
      Handle e(of_child);
      return put(e, "x", 1) == 0 && put(d, "y", 1) == 0 ? 0 : 1;
    });
    CHECK(child.join() == 0);
  }
  CHECK(!other.exists());
}

} // namespace

// The mechanism: shmd_mutex_sleep() in shmd_name_lock().
TEST_CASE("while a thread waits to open one dict others are opened, closed and forked with", "[neighbours]") {
  Name name("stopped");
  make(name, SHMD_UNLINK_NEVER);
  const Identity object(name);
  Stopped stopped(name);
  int results[2] = {-1, -1};
  std::thread openers[2];
  shmd_dict* handles[2] = {nullptr, nullptr};
  for (int i = 0; i < 2; ++i)
    openers[i] = std::thread([&, i] {
      const shmd_options o = small_options();
      results[i] = shmd_open(name.c_str(), &o, &handles[i]);
    });
  const bool waits = eventually([&] { return object.descriptors() >= 3; });
  use_another(object, 1);
  stopped.go_on();
  for (auto& opener : openers) opener.join();
  CHECK(waits);
  CHECK(results[0] == 0); // and not busy, as after ten seconds
  CHECK(results[1] == 0);
  shmd_stats s = {};
  CHECK(shmd_stat(handles[0], &s) == 0);
  CHECK(s.handles == 2); // one attachment for both
  CHECK(s.attached == 1);
  for (shmd_dict* d : handles) shmd_close(d);
}

TEST_CASE("while a thread waits to unlink one dict others are opened, closed and forked with", "[neighbours]") {
  Name name("stopped");
  make(name, SHMD_UNLINK_NEVER);
  const Identity object(name);
  Stopped stopped(name);
  int result = -1;
  std::thread unlinker([&] { result = shmd_unlink(name.c_str()); });
  const bool waits = eventually([&] { return object.descriptors() >= 2; });
  use_another(object, 1);
  stopped.go_on();
  unlinker.join();
  CHECK(waits);
  CHECK(result == 0);
  CHECK(!name.exists());
}

TEST_CASE("while a thread waits to close one dict others are opened, closed and forked with", "[neighbours]") {
  Name name("stopped");
  shmd_options o = small_options();
  shmd_dict* d = nullptr;
  REQUIRE(shmd_open(name.c_str(), &o, &d) == SHMD_CREATED);
  const Identity object(name);
  Stopped stopped(name);
  int closed = -1, opened = -1;
  std::thread closer([&] { closed = shmd_close(d); });
  const bool waits = eventually([&] { return shmd_contains(d, shmd_root(), "x", 1) == SHMD_ERR_CLOSED; });
  std::thread opener([&] { // the same dict: waits until it is gone, and makes it anew
    shmd_dict* again = nullptr;
    opened = shmd_open(name.c_str(), &o, &again);
    shmd_close(again);
  });
  use_another(object, 2); // a child has what its parent had mapped, too
  stopped.go_on();
  closer.join();
  opener.join();
  CHECK(waits);
  CHECK(closed == 0);
  CHECK(opened == SHMD_CREATED);
  CHECK(!name.exists());
}

// The mechanism: shmd_handle_forked().
TEST_CASE("a forked child that closes a dict keeps nothing of it for its parent's other threads", "[neighbours]") {
  Name name("forked");
  shmd_options o = small_options();
  shmd_dict* d = nullptr;
  REQUIRE(shmd_open(name.c_str(), &o, &d) == SHMD_CREATED);
  const Identity object(name);
  REQUIRE(shmd_lock(d, 0) == 0);
  int begun = -1, aborted = -1;
  std::thread waiter([&] {
    begun = shmd_begin(d, SHMD_FOREVER);
    aborted = shmd_abort(d);
  });
  shmd_lock_info info;
  const bool waits = eventually([&] { return shmd_lock_status(d, &info) == 0 && info.waiters == 1; });
  {
    Child child([&] {
      if (shmd_close(d) != 0) return 1;
      return object.descriptors() == 0 ? 0 : 2;
    });
    CHECK(child.join() == 0);
  }
  CHECK(shmd_unlock(d) == 0);
  waiter.join();
  CHECK(waits);
  CHECK(begun == 0);
  CHECK(aborted == 0);
  CHECK(shmd_close(d) == 0);
  CHECK(!name.exists());
}
