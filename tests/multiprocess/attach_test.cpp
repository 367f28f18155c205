// SPDX-License-Identifier: Apache-2.0
// Opening what should not be opened: each case its own error, with a text that says what to do.
#include <fcntl.h>
#include <sched.h>
#include <shmdict/layout.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include <cstddef>
#include <fstream>
#include <memory>
#include <vector>

#include "support/catch.hpp"
#include "support/process.hpp"

using namespace support;

namespace {

int open_result(const std::string& name, shmd_options options = small_options()) {
  shmd_dict* d = nullptr;
  const int result = shmd_open(name.c_str(), &options, &d);
  if (result >= 0) (void)shmd_close(d);
  return result;
}

std::string message() { return shmd_last_error()->message; }

void write_file(const Name& name, const std::string& content) {
  std::ofstream(name.path(), std::ios::binary) << content;
}

// A complete dict that nobody has open.
void make(const Name& name, shmd_options options = small_options()) {
  options.unlink = SHMD_UNLINK_NEVER;
  Handle d(name, options);
  must(put(d, "x", 1), "put");
}

template <class T>
void poke(const Name& name, std::size_t offset, T value) {
  const int fd = open(name.path().c_str(), O_RDWR | O_CLOEXEC);
  REQUIRE(pwrite(fd, &value, sizeof value, static_cast<off_t>(offset)) == static_cast<ssize_t>(sizeof value));
  close(fd);
}

} // namespace

// The mechanism: the comparison of `magic` in shmd_object_validate() (object.c); check_removable() in name.c, for
// unlink.
TEST_CASE("a foreign file is refused and left alone", "[attach]") {
  Name name("foreign");
  write_file(name, std::string(10000, 'x'));
  CHECK(open_result(name) == SHMD_ERR_FOREIGN_OBJECT);
  CHECK_THAT(message(), contains(name.c_str()) && contains("another name"));
  CHECK(shmd_unlink(name.c_str()) == SHMD_ERR_FOREIGN_OBJECT);
  REQUIRE(name.exists());
  write_file(name, "short");
  CHECK(open_result(name) == SHMD_ERR_FOREIGN_OBJECT);
}

// The mechanism: O_NOFOLLOW and O_NONBLOCK in SHMD_LINUX_OPEN; `regular` in shmd_object_inspect();
// shmd_name_open_failed() names the rest.
TEST_CASE("links, directories and pipes are refused and never followed or waited for", "[attach]") {
  Name link("link"), directory("directory"), pipe("pipe"), target("target");
  make(target);
  REQUIRE(symlink(target.path().c_str(), link.path().c_str()) == 0);
  REQUIRE(mkdir(directory.path().c_str(), 0700) == 0);
  REQUIRE(mkfifo(pipe.path().c_str(), 0600) == 0);
  for (const Name* name : {&link, &directory, &pipe}) {
    CHECK(open_result(*name) == SHMD_ERR_FOREIGN_OBJECT);
    shmd_options reader = small_options();
    reader.flags = SHMD_READ_ONLY;
    CHECK(open_result(*name, reader) == SHMD_ERR_FOREIGN_OBJECT);
  }
}

// The mechanism: the sizes in shmd_object_inspect() and shmd_object_validate(), there also all zeros and `ready`;
// check_removable() lets them go.
// That a killed creator leaves nothing of the kind: crash_points_test.cpp, core/temporary_test.cpp.
TEST_CASE("empty, half-created and truncated objects say so and can be unlinked", "[attach]") {
  Name name("incomplete");
  SECTION("0 bytes") { write_file(name, ""); }
  SECTION("nothing but zeros") { write_file(name, std::string(8192, '\0')); }
  SECTION("cut in the superblock") {
    make(name);
    REQUIRE(truncate(name.path().c_str(), 100) == 0);
  }
  SECTION("cut in the data") {
    make(name);
    REQUIRE(truncate(name.path().c_str(), 1 << 20) == 0);
  }
  SECTION("not ready") {
    make(name);
    poke<std::uint64_t>(name, offsetof(shmd_superblock, ready), 0);
  }
  CHECK(open_result(name) == SHMD_ERR_INCOMPLETE_OBJECT);
  CHECK_THAT(message(), contains(name.c_str()) && contains("unlink"));
  REQUIRE(shmd_unlink(name.c_str()) == 0);
  REQUIRE_FALSE(name.exists());
  REQUIRE(open_result(name) == SHMD_CREATED);
}

// The mechanism: check_caller() in api.c for the caller, `layout_version` in shmd_object_validate() for the object.
TEST_CASE("another layout version is refused, of the object and of the caller", "[attach]") {
  Name name("layout");
  make(name);
  shmd_options options = small_options();
  options.layout_version = SHMD_LAYOUT_VERSION + 1;
  CHECK(open_result(name, options) == SHMD_ERR_LAYOUT_MISMATCH);
  CHECK_THAT(message(), contains("recompile"));
  poke<std::uint32_t>(name, offsetof(shmd_superblock, layout_version), SHMD_LAYOUT_VERSION + 1);
  CHECK(open_result(name) == SHMD_ERR_LAYOUT_MISMATCH);
  CHECK_THAT(message(), contains("layout " + std::to_string(SHMD_LAYOUT_VERSION + 1)));
  CHECK(shmd_unlink(name.c_str()) == 0);
}

// The mechanism: `abi` in shmd_object_validate() (object.c).
TEST_CASE("a byte order that is not ours is refused", "[attach]") {
  Name name("abi");
  make(name);
  poke<std::uint32_t>(name, offsetof(shmd_superblock, abi), 0x01040840u);
  CHECK(open_result(name) == SHMD_ERR_LAYOUT_MISMATCH);
}

// The mechanism: check_types() in attach_open() (attach.c), before the registry is asked.
TEST_CASE("other key or value types are refused, naming both", "[attach]") {
  Name name("types");
  shmd_options options = small_options();
  options.key_type = "str";
  options.value_type = "i64";
  make(name, options);
  CHECK(open_result(name, options) == 0);
  options.value_type = "f64";
  CHECK(open_result(name, options) == SHMD_ERR_TYPE_MISMATCH);
  CHECK_THAT(message(), contains("value") && contains("i64") && contains("f64"));
  options.value_type = nullptr; // not compared
  CHECK(open_result(name, options) == 0);
  options.key_type = "i32";
  CHECK(open_result(name, options) == SHMD_ERR_TYPE_MISMATCH);
  Handle keeper(name); // and also where this process has it open already
  CHECK(open_result(name, options) == SHMD_ERR_TYPE_MISMATCH);
}

// The mechanism: shmd_object_validate() computes the geometry again.
TEST_CASE("a superblock that contradicts itself is refused, whichever word lies", "[attach][hostile]") {
  Name name("hostile");
  make(name);
  shmd_superblock super;
  {
    std::ifstream in(name.path(), std::ios::binary);
    in.read(reinterpret_cast<char*>(&super), sizeof super);
  }
  for (std::size_t offset = offsetof(shmd_superblock, max_size); offset <= offsetof(shmd_superblock, data_offset);
       offset += 8) {
    std::uint64_t good;
    std::memcpy(&good, reinterpret_cast<const char*>(&super) + offset, 8);
    for (const std::uint64_t bad : {std::uint64_t{0}, good + 8, good * 2, good - 4096, UINT64_MAX, UINT64_MAX - 7}) {
      if (bad == good) continue;
      if (offset == offsetof(shmd_superblock, buffer_size) || offset == offsetof(shmd_superblock, max_pin_bytes))
        if (bad != 0) continue; // free within bounds
      poke(name, offset, bad);
      INFO("offset " << offset << " is " << bad);
      const int result = open_result(name);
      CHECK((result == SHMD_ERR_CORRUPT || result == SHMD_ERR_INCOMPLETE_OBJECT));
    }
    poke(name, offset, good);
  }
  for (const std::size_t offset :
       {offsetof(shmd_superblock, shard_count), offsetof(shmd_superblock, max_processes),
        offsetof(shmd_superblock, unlink_policy), offsetof(shmd_superblock, segment_shift)}) {
    std::uint32_t good;
    std::memcpy(&good, reinterpret_cast<const char*>(&super) + offset, 4);
    poke<std::uint32_t>(name, offset, 0xffffffffu);
    CHECK(open_result(name) == SHMD_ERR_CORRUPT);
    poke(name, offset, good);
  }
  poke(name, offsetof(shmd_superblock, key_type), super.key_type);
  std::vector<char> endless(256, 'x');
  const int fd = open(name.path().c_str(), O_RDWR | O_CLOEXEC);
  REQUIRE(pwrite(fd, endless.data(), 256, offsetof(shmd_superblock, key_type)) == 256);
  close(fd);
  CHECK(open_result(name) == SHMD_ERR_CORRUPT);
  poke(name, offsetof(shmd_superblock, key_type), super.key_type);
  REQUIRE(open_result(name) == 0);
}

// The mechanism: the file system; shmd_name_open_failed() says whose object it is; fchmod() in shmd_os_create_unnamed()
// is for the umask.
TEST_CASE("permissions are respected and the error says whose object it is", "[attach][user]") {
  if (geteuid() != 0) SHMDICT_SKIP("needs root to become somebody else");
  Name name("mine");
  make(name);
  struct stat s;
  REQUIRE(stat(name.path().c_str(), &s) == 0);
  CHECK((s.st_mode & 07777) == 0600); // the default, whatever the umask
  Child stranger([&] {
    if (seteuid(65534) != 0) return 1;
    if (open_result(name) != SHMD_ERR_PERMISSION_DENIED) return 2;
    if (message().find("user 0") == std::string::npos) return 3;
    if (shmd_unlink(name.c_str()) != SHMD_ERR_PERMISSION_DENIED) return 4;
    return 0;
  });
  REQUIRE(stranger.join() == 0);
  REQUIRE(name.exists());
}

// The mechanism: check_owner() in attach.c.
TEST_CASE("another user's object is refused unless it is allowed", "[attach][user]") {
  if (geteuid() != 0) SHMDICT_SKIP("needs root to become somebody else");
  Name name("theirs");
  shmd_options options = small_options();
  options.permissions = 0666;
  make(name, options);
  struct stat s;
  REQUIRE(stat(name.path().c_str(), &s) == 0);
  CHECK((s.st_mode & 07777) == 0666);
  REQUIRE(chown(name.path().c_str(), 65534, 65534) == 0);
  CHECK(open_result(name) == SHMD_ERR_OTHER_OWNER);
  CHECK_THAT(message(), contains("65534") && contains("allow other owners in the options"));
  options.flags = SHMD_ALLOW_OTHER_OWNER;
  CHECK(open_result(name, options) == 0);
}

// The mechanism: shmd_name_check() in name.c.
TEST_CASE("names are UTF-8 of 1 to 200 bytes without slashes", "[attach]") {
  const std::vector<std::string> bad = {
      "", "a/b", "/a", "\xff", "\xc0\xaf", "\xed\xa0\x80", "x\xe2\x82", "\xf4\x90\x80\x80", "\xe0\x80\xaf", "caf\xe9"};
  for (const auto& name : bad) {
    INFO(name);
    CHECK(open_result(name) == SHMD_ERR_INVALID_NAME);
    CHECK(shmd_unlink(name.c_str()) == SHMD_ERR_INVALID_NAME);
  }
  CHECK(open_result(std::string(201, 'a')) == SHMD_ERR_NAME_TOO_LONG);
  CHECK_THAT(message(), contains("201"));
  const std::string mine = unique_name("name");
  for (const auto& name : {mine + "." + std::string(199 - mine.size(), 'a'), mine + "Grüße-日本語-🙂",
                           mine + " with space", mine + "..", mine + "'%s%n"}) {
    INFO(name);
    CHECK(open_result(name) == SHMD_CREATED);
    CHECK(shmd_unlink(name.c_str()) == SHMD_ERR_NO_SUCH_DICT); // its last handle closed
  }
}

// The mechanism: attach_once() in attach.c.
TEST_CASE("what is missing or exists already is said so", "[attach]") {
  Name name("modes");
  CHECK(open_result(name, with(SHMD_UNLINK_NEVER, SHMD_OPEN_ONLY)) == SHMD_ERR_NO_SUCH_DICT);
  shmd_options reader = small_options();
  reader.flags = SHMD_READ_ONLY;
  CHECK(open_result(name, reader) == SHMD_ERR_NO_SUCH_DICT);
  CHECK_FALSE(name.exists());
  CHECK(open_result(name, with(SHMD_UNLINK_NEVER, SHMD_CREATE_ONLY)) == SHMD_CREATED);
  CHECK(open_result(name, with(SHMD_UNLINK_NEVER, SHMD_CREATE_ONLY)) == SHMD_ERR_ALREADY_EXISTS);
  CHECK(open_result(name, with(SHMD_UNLINK_NEVER, SHMD_OPEN_ONLY)) == 0);
  CHECK(shmd_unlink(name.c_str()) == 0);
  CHECK(shmd_unlink(name.c_str()) == SHMD_ERR_NO_SUCH_DICT);
}

// The mechanism: check_options() in attach.c, shmd_object_geometry() and store_type() in object.c: all before there is
// an object.
TEST_CASE("options that make no sense are refused and create nothing", "[attach]") {
  Name name("options");
  const auto bad = [&](auto change) {
    shmd_options options = small_options();
    change(options);
    CHECK(open_result(name, options) == SHMD_ERR_INVALID_ARGUMENT);
    CHECK_FALSE(name.exists());
  };
  bad([](shmd_options& o) { o.max_size = 1 << 20; });
  bad([](shmd_options& o) { o.max_size = UINT64_MAX; });
  bad([](shmd_options& o) { o.segment_size = 100000; });
  bad([](shmd_options& o) { o.segment_size = 4096; });
  bad([](shmd_options& o) { o.segment_size = UINT64_C(1) << 40; });
  bad([](shmd_options& o) { o.buffer_size = UINT64_C(60) << 20; });
  bad([](shmd_options& o) { o.max_processes = 60001; });
  bad([](shmd_options& o) { o.mode = 7; });
  bad([](shmd_options& o) { o.unlink = -1; });
  bad([](shmd_options& o) { o.flags = 128; });
  bad([](shmd_options& o) { o.permissions = 07777; });
  const std::string endless(300, 't');
  bad([&](shmd_options& o) { o.key_type = endless.c_str(); });
}

// Guard: the limit's check in shmd_os_resize; without it SIGXFSZ ends the process.
TEST_CASE("a limit on the size of files below max_size is an error, not a signal", "[attach]") {
  const auto name = support::unique_name("attach");
  const pid_t child = fork();
  if (child == 0) {
    const rlimit limit = {1 << 20, 1 << 20};
    shmd_options o;
    shmd_options_init(&o);
    shmd_dict* d = nullptr;
    _exit(setrlimit(RLIMIT_FSIZE, &limit) == 0 && shmd_open(name.c_str(), &o, &d) == SHMD_ERR_INVALID_ARGUMENT ? 0 : 1);
  }
  int status = 0;
  REQUIRE(waitpid(child, &status, 0) == child);
  CHECK(status == 0);
}

// The mechanism: take_byte() in slot.c: the kernel grants a byte once, and again when its holder is dead.
TEST_CASE("more processes than slots are told so, and a slot that becomes free is used", "[attach][slot]") {
  Name name("many");
  shmd_options options = small_options();
  options.max_processes = 3;
  Handle d(name, options);
  Shared<std::atomic<int>> stage;
  std::vector<std::unique_ptr<Child>> others;
  for (int i = 0; i < 2; ++i) {
    // exec'd programs would do the same: the child lets go of what it inherited, and opens for itself
    others.push_back(std::make_unique<Child>([&]() -> int {
      must(put(d, "c", 1), "put");
      ++*stage;
      for (;;) pause();
    }));
  }
  REQUIRE(eventually([&] { return *stage == 2; }));
  Child fourth([&] { return put(d, "x", 1) == SHMD_ERR_NOT_ATTACHED ? 0 : 1; });
  REQUIRE(fourth.join() == 0);
  Child stranger([&] {
    (void)d; // closed first: this one comes by name
    shmd_dict* inherited = d;
    (void)shmd_close(inherited);
    if (open_result(name) != SHMD_ERR_TOO_MANY_PROCESSES) return 1;
    if (message().find("max_processes") == std::string::npos) return 2;
    others[0]->signal(SIGKILL);
    return eventually([&] { return open_result(name) == 0; }) ? 0 : 3;
  });
  REQUIRE(stranger.join() == 0);
  REQUIRE(put(d, "x", 1) == 0);
}

// The mechanism: the object is nameless until it is complete, and its fixed regions get memory first.
TEST_CASE("a full file system is an error at creation, leaves nothing, and works again later", "[attach][space]") {
  Child small([&] {
    if (unshare(CLONE_NEWNS) != 0 || mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
        mount("tmpfs", "/dev/shm", "tmpfs", 0, "size=1m") != 0)
      return 77;
    const std::string filler = "/dev/shm/filler";
    {
      std::ofstream f(filler, std::ios::binary);
      f << std::string(1 << 20, 'f') << std::flush;
    }
    if (open_result("full") != SHMD_ERR_NO_SPACE) return 1;
    if (access("/dev/shm/shmdict.full", F_OK) == 0) return 2;
    if (std::remove(filler.c_str()) != 0) return 3;
    return open_result("full") == SHMD_CREATED ? 0 : 4;
  });
  const int result = small.join();
  if (result == 77) SHMDICT_SKIP("the kernel does not let this user mount");
  REQUIRE(result == 0);
}

// The mechanism: shmd_registry_find() in registry.c.
TEST_CASE("handles of one process share a slot, but not with read-only ones", "[attach]") {
  Name name("shared");
  Handle a(name), b(name);
  shmd_options reader = small_options();
  reader.flags = SHMD_READ_ONLY;
  Handle r(name, reader);
  shmd_stats s;
  REQUIRE(shmd_stat(a, &s) == 0);
  REQUIRE(s.attached == 1);
  REQUIRE(put(a, "x", 1) == 0);
  REQUIRE(get(b, "x") == 1);
  REQUIRE(get(r, "x") == 1);
  REQUIRE(put(r, "x", 2) == SHMD_ERR_READ_ONLY);
  REQUIRE(shmd_lock(r, 0) == SHMD_ERR_READ_ONLY);
  REQUIRE(shmd_lock(a, 0) == 0);
  REQUIRE(shmd_lock(b, 0) == 0); // the same thread again
  REQUIRE(shmd_unlock(a) == 0);
  REQUIRE(shmd_unlock(b) == 0);
  REQUIRE(shmd_unlock(b) == SHMD_ERR_NOT_LOCKED);
}
