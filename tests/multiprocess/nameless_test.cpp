// SPDX-License-Identifier: Apache-2.0
// Dicts without names: for fork trees, and for whoever is given a descriptor.
#include <dirent.h>
#include <fcntl.h>

#include <set>
#include <string>

#include "support/catch.hpp"
#include "support/process.hpp"

using namespace support;

namespace {

shmd_options anonymous() {
  shmd_options o = small_options();
  o.flags = SHMD_ANONYMOUS;
  return o;
}

class Nameless {
 public:
  explicit Nameless(shmd_options o = anonymous()) { must(shmd_open(nullptr, &o, &d_), "open"); }
  ~Nameless() { (void)shmd_close(d_); }
  Nameless(const Nameless&) = delete;
  Nameless& operator=(const Nameless&) = delete;
  operator shmd_dict*() const { return d_; }

 private:
  shmd_dict* d_ = nullptr;
};

int open_descriptor(int fd, shmd_dict** d, std::uint32_t flags = 0) {
  shmd_options o = small_options();
  o.fd = fd;
  o.flags = flags;
  return shmd_open(nullptr, &o, d);
}

std::set<std::string> names() {
  std::set<std::string> out;
  DIR* dir = opendir("/dev/shm");
  while (const dirent* e = readdir(dir)) {
    const std::string name = e->d_name;
    if (name.find("shmdict") != std::string::npos && name.find("test.") == std::string::npos) out.insert(name);
  }
  closedir(dir);
  return out;
}

} // namespace

TEST_CASE("a forked tree shares a dict that has no name", "[nameless][fork]") {
  Nameless d;
  CHECK(std::string(shmd_name(d)).empty());
  must(put(d, "parent", 1), "put");
  Child child([&] {
    if (get(d, "parent") != 1) return 1;
    Child grandchild([&] { return put(d, "grandchild", 3); });
    return put(d, "child", 2) + grandchild.join();
  });
  REQUIRE(child.join() == 0);
  CHECK(get(d, "child") == 2);
  CHECK(get(d, "grandchild") == 3);
  {
    Child dying([&]() -> int {
      must(shmd_lock(d, SHMD_FOREVER), "lock");
      raise(SIGKILL);
      return 0;
    });
    REQUIRE(dying.join() == -SIGKILL);
  }
  CHECK(shmd_lock(d, 1'000'000'000) == SHMD_RECOVERED); // deaths are noticed as in any dict
  CHECK(shmd_unlock(d) == 0);
}

// The mechanism: shmd_os_stay_unnamed(). Without O_TMPFILE a temporary name would be left behind.
TEST_CASE("nothing appears in the directory of objects", "[nameless]") {
  const auto before = names();
  shmd_stats s;
  Nameless d;
  REQUIRE(shmd_stat(d, &s) == 0);
  for (const auto& name : names()) {
    INFO(name);
    struct stat by_path, by_fd;
    if (before.count(name)) continue;
    if (lstat(("/dev/shm/" + name).c_str(), &by_path) != 0) continue; // another test's, gone
    REQUIRE(fstat(shmd_native_fd(d), &by_fd) == 0);
    CHECK(by_path.st_ino != by_fd.st_ino);
  }
  CHECK(s.unlinked == 1);
  CHECK(shmd_unlink_this(d) == SHMD_ERR_NO_SUCH_DICT);
}

TEST_CASE("a program that is executed adopts an inherited descriptor", "[nameless]") {
  Nameless d;
  must(put(d, "parent", 1), "put");
  const int fd = dup(shmd_native_fd(d)); // the copy stays open over exec
  REQUIRE(fd >= 0);
  Child child([&] {
    const std::string text = std::to_string(fd);
    execl(PROGRAM_ADOPTER, "adopter", text.c_str(), static_cast<char*>(nullptr));
    return 127;
  });
  CHECK(child.join() == 0);
  CHECK(get(d, "child") == 2);
  close(fd);
}

TEST_CASE("a descriptor of a named dict leads to it, also after its name is gone", "[nameless]") {
  Name name("fd");
  Handle d(name);
  must(put(d, "a", 1), "put");
  shmd_dict* other = nullptr;
  REQUIRE(open_descriptor(shmd_native_fd(d), &other) == SHMD_OK);
  CHECK(std::string(shmd_name(other)) == std::string(name));
  CHECK(get(other, "a") == 1);
  REQUIRE(shmd_unlink_this(d) == 0);
  CHECK(get(other, "a") == 1);
  Child child([&] {
    shmd_dict* mine = nullptr;
    if (open_descriptor(shmd_native_fd(d), &mine) != SHMD_OK || put(mine, "b", 2) != 0) return 1;
    return shmd_close(mine);
  });
  CHECK(child.join() == 0);
  CHECK(get(d, "b") == 2);
  REQUIRE(shmd_close(other) == 0);
}

TEST_CASE("what is adopted is checked like what is opened by name", "[nameless]") {
  shmd_dict* d = nullptr;
  int ends[2];
  REQUIRE(pipe(ends) == 0);
  CHECK(open_descriptor(ends[1], &d) == SHMD_ERR_FOREIGN_OBJECT);
  close(ends[0]);
  close(ends[1]);
  CHECK(open_descriptor(ends[0], &d) == SHMD_ERR_INVALID_ARGUMENT); // closed
  const int empty = memfd_create("empty", MFD_CLOEXEC);
  CHECK(open_descriptor(empty, &d) == SHMD_ERR_INCOMPLETE_OBJECT);
  REQUIRE(ftruncate(empty, 1 << 20) == 0);
  CHECK(open_descriptor(empty, &d) == SHMD_ERR_INCOMPLETE_OBJECT);
  REQUIRE(pwrite(empty, "something else", 14, 0) == 14);
  CHECK(open_descriptor(empty, &d) == SHMD_ERR_FOREIGN_OBJECT);
  close(empty);
  Nameless typed([] {
    auto o = anonymous();
    o.value_type = "i64";
    return o;
  }());
  shmd_options o = small_options();
  o.fd = shmd_native_fd(typed);
  o.value_type = "str";
  CHECK(shmd_open(nullptr, &o, &d) == SHMD_ERR_TYPE_MISMATCH);
  CHECK(d == nullptr);
}

TEST_CASE("a new dict can be made in an empty file of the caller's", "[nameless]") {
  const int fd = memfd_create("dict", MFD_CLOEXEC);
  REQUIRE(fd >= 0);
  shmd_options o = small_options();
  o.fd = fd;
  o.mode = SHMD_CREATE_ONLY;
  shmd_dict* d = nullptr;
  REQUIRE(shmd_open(nullptr, &o, &d) == SHMD_CREATED);
  must(put(d, "a", 1), "put");
  shmd_dict* again = nullptr;
  CHECK(shmd_open(nullptr, &o, &again) == SHMD_ERR_ALREADY_EXISTS); // no longer empty
  REQUIRE(shmd_close(d) == 0);
  REQUIRE(open_descriptor(fd, &d, SHMD_READ_ONLY) == SHMD_OK);
  CHECK(get(d, "a") == 1);
  REQUIRE(shmd_close(d) == 0);
  close(fd);
}
