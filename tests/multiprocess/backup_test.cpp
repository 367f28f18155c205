// SPDX-License-Identifier: Apache-2.0
// Backups: consistent, about as large as what is in the dict, whole or not there, through pipes, refused when damaged.
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

#include <string>

#include "multiprocess/crash_support.hpp"
#include "support/catch.hpp"
#include "support/process.hpp"

using namespace support;

namespace {

class Directory {
 public:
  explicit Directory(const std::string& base) {
    path_ = base + "/shmdict.test.XXXXXX";
    if (mkdtemp(path_.data()) == nullptr) throw std::runtime_error("mkdtemp");
  }
  ~Directory() {
    for (const auto& name : entries()) unlink((path_ + "/" + name).c_str());
    rmdir(path_.c_str());
  }
  Directory(const Directory&) = delete;
  Directory& operator=(const Directory&) = delete;
  std::string file(const std::string& name) const { return path_ + "/" + name; }
  std::vector<std::string> entries() const {
    std::vector<std::string> out;
    DIR* dir = opendir(path_.c_str());
    while (const dirent* e = readdir(dir))
      if (std::string(e->d_name) != "." && std::string(e->d_name) != "..") out.push_back(e->d_name);
    closedir(dir);
    return out;
  }

 private:
  std::string path_;
};

shmd_options typed() {
  auto o = with(SHMD_UNLINK_LAST_CLOSES);
  o.key_type = "str";
  o.value_type = "bytes";
  return o;
}

// Nested dicts, an empty one, large values, and what is dead by now.
void fill(crash::World& w) {
  for (int i = 0; i < 400; ++i) w.put({"k" + std::to_string(i)}, crash::value_of(50, static_cast<std::uint64_t>(i)));
  for (int i = 0; i < 400; i += 2) w.erase({"k" + std::to_string(i)});
  w.put({"large"}, crash::value_of(700'000, 1));
  w.create({"a"});
  w.create({"a", "b"});
  w.create({"a", "b", "c"});
  w.create({"empty"});
  for (int i = 0; i < 50; ++i) w.put({"a", "b", "c", "deep" + std::to_string(i)}, std::to_string(i));
  w.put({"a", "value"}, "");
}

// The dict that a backup makes, under a name of its own.
class Restored {
 public:
  explicit Restored(const std::string& path) : name_("backup.copy") {
    must(shmd_restore(path.c_str(), name_.c_str(), nullptr, &d_), "restore");
  }
  ~Restored() { shmd_close(d_); }
  Restored(const Restored&) = delete;
  Restored& operator=(const Restored&) = delete;
  operator shmd_dict*() const { return d_; }

 private:
  Name name_;
  shmd_dict* d_ = nullptr;
};

std::int64_t size_of(const std::string& path) {
  struct stat s;
  REQUIRE(stat(path.c_str(), &s) == 0);
  return s.st_size;
}

void flip(const std::string& path, off_t offset) {
  const int fd = open(path.c_str(), O_RDWR | O_CLOEXEC);
  std::uint64_t word = 0;
  REQUIRE(pread(fd, &word, sizeof word, offset) == sizeof word);
  word ^= 0xff00ff;
  REQUIRE(pwrite(fd, &word, sizeof word, offset) == sizeof word);
  close(fd);
}

} // namespace

TEST_CASE("a backup is as large as what is in the dict, and restores to the same dict", "[backup]") {
  for (const char* base : {"/tmp", "/dev/shm"}) { // on another file system and on the objects' own
    INFO(base);
    Name name("backup"), again("restored");
    Directory directory(base);
    const std::string path = directory.file("dict.backup");
    Handle d(name, typed());
    crash::World w(d);
    fill(w);
    must(shmd_named_lock(d, "job", 0), "named_lock");
    REQUIRE(shmd_backup(d, path.c_str()) == 0);
    CHECK(directory.entries() == std::vector<std::string>{"dict.backup"});
    shmd_stats stats;
    REQUIRE(shmd_stat(d, &stats) == 0);
    struct stat s;
    REQUIRE(stat(path.c_str(), &s) == 0);
    CHECK(s.st_size < static_cast<std::int64_t>(stats.live_bytes + 2000)); // whole, and without holes
    CHECK(s.st_size > 700'000);
    CHECK(s.st_blocks * 512 >= s.st_size);
    CHECK((s.st_mode & 0777) == 0600);

    shmd_dict* copy = nullptr;
    REQUIRE(shmd_restore(path.c_str(), again.c_str(), nullptr, &copy) == SHMD_CREATED);
    CHECK(crash::difference(crash::dump(copy), w.tree).empty());
    CHECK(crash::dump(copy) == w.tree);
    CHECK(shmd_check(copy, nullptr, nullptr) == 0);
    CHECK(shmd_named_lock(copy, "job", 0) == 0); // locks are of the living dict
    REQUIRE(shmd_stat(copy, &stats) == 0);
    CHECK(std::string(stats.key_type) == "str");
    CHECK(std::string(stats.value_type) == "bytes");
    CHECK(stats.max_size == std::uint64_t{64} << 20);
    CHECK(put(copy, "new", 1) == 0);
    REQUIRE(shmd_close(copy) == 0);
    CHECK_FALSE(again.exists());

    shmd_options larger = with(SHMD_UNLINK_LAST_CLOSES);
    larger.max_size = std::uint64_t{256} << 20;
    REQUIRE(shmd_restore(path.c_str(), again.c_str(), &larger, nullptr) == SHMD_CREATED);
    CHECK(again.exists()); // stays, open nowhere
    Handle reopened(again, typed());
    REQUIRE(shmd_stat(reopened, &stats) == 0);
    CHECK(stats.max_size == std::uint64_t{256} << 20);
    CHECK(crash::dump(reopened) == w.tree);
  }
}

// The mechanism: one snapshot. Entries read one by one would be of different moments.
TEST_CASE("a backup under writers is of one moment, and does not hold them up", "[backup]") {
  Name name("backup.busy"), again("backup.busy.restored");
  Directory directory("/tmp");
  const std::string path = directory.file("b");
  Handle d(name, typed());
  const auto write_all = [](shmd_dict* to, std::uint64_t n) {
    must(shmd_begin(to, SHMD_FOREVER), "begin");
    for (int i = 0; i < 100; ++i) must(put(to, "k" + std::to_string(i), n), "put");
    must(shmd_commit(to), "commit");
  };
  for (std::uint64_t i = 0; i < 30000; ++i)
    must(put(d, "still" + std::to_string(i), i), "put"); // the copy takes its time
  write_all(d, 1);
  Shared<std::atomic<std::uint64_t>> stop, rounds, allowed; // as many as there is space for beside a backup that stalls
  *allowed = 1000;
  Child writer([&] {
    Handle own(name, typed());
    for (std::uint64_t n = 2; *stop == 0; ++n, ++*rounds) {
      while (*rounds >= *allowed && *stop == 0) std::this_thread::sleep_for(100us);
      write_all(own, n);
    }
    return 0;
  });
  REQUIRE(eventually([&] { return *rounds > 2; }));
  int beside = 0;
  for (int i = 0; beside < 4 && i < 50; ++i) {
    const std::uint64_t before = *rounds;
    *allowed = before + 1000;
    REQUIRE(shmd_backup(d, path.c_str()) == 0);
    if (*rounds > before) ++beside;
    const Restored copy(path);
    const std::uint64_t n = get(copy, "k0");
    for (int k = 1; k < 100; ++k) REQUIRE(get(copy, "k" + std::to_string(k)) == n);
    CHECK(shmd_check(copy, nullptr, nullptr) == 0);
  }
  CHECK(beside == 4);
  *stop = 1;
  REQUIRE(writer.join() == 0);
}

TEST_CASE("damaged, truncated and foreign files are refused by name, and nothing is restored", "[backup]") {
  Name name("backup.damaged"), again("backup.damaged.restored");
  Directory directory("/tmp");
  const std::string path = directory.file("b");
  Handle d(name, typed());
  crash::World w(d);
  fill(w);
  const auto restore = [&] {
    const int result = shmd_restore(path.c_str(), again.c_str(), nullptr, nullptr);
    REQUIRE_FALSE(again.exists());
    return result;
  };
  const auto fresh = [&] { REQUIRE(shmd_backup(d, path.c_str()) == 0); };
  fresh();
  flip(path, size_of(path) / 2); // within a value
  CHECK(restore() == SHMD_ERR_CORRUPT);
  CHECK_THAT(shmd_last_error()->message, contains("the backup '" + path + "' is damaged"));
  fresh();
  flip(path, 40); // in the head
  CHECK(restore() == SHMD_ERR_CORRUPT);
  fresh();
  flip(path, 0); // what tells it from other files
  CHECK(restore() == SHMD_ERR_FOREIGN_OBJECT);
  CHECK_THAT(shmd_last_error()->message, contains("'" + path + "' is no backup"));
  fresh();
  flip(path, 8); // the format's version
  CHECK(restore() == SHMD_ERR_LAYOUT_MISMATCH);
  CHECK_THAT(shmd_last_error()->message, contains("the backup '" + path + "' has format"));
  fresh();
  REQUIRE(truncate(path.c_str(), size_of(path) + 1) == 0);
  CHECK(restore() == SHMD_ERR_CORRUPT);
  CHECK_THAT(shmd_last_error()->message, contains("behind its end"));
  REQUIRE(truncate(path.c_str(), 100'000) == 0);
  CHECK(restore() == SHMD_ERR_INCOMPLETE_OBJECT);
  CHECK_THAT(shmd_last_error()->message, contains("the backup '" + path + "' is truncated"));
  REQUIRE(truncate(path.c_str(), 0) == 0);
  CHECK(restore() == SHMD_ERR_INCOMPLETE_OBJECT);
  CHECK(shmd_restore(directory.file("none").c_str(), again.c_str(), nullptr, nullptr) == SHMD_ERR_SYSTEM);
  CHECK(shmd_restore("/tmp", again.c_str(), nullptr, nullptr) == SHMD_ERR_FOREIGN_OBJECT);
  fresh();
  shmd_options o = typed();
  o.value_type = "i64";
  CHECK(shmd_restore(path.c_str(), again.c_str(), &o, nullptr) == SHMD_ERR_TYPE_MISMATCH);
  CHECK(shmd_restore(path.c_str(), name.c_str(), nullptr, nullptr) == SHMD_ERR_ALREADY_EXISTS);
}

TEST_CASE("the image of a dict is not taken for a backup, and restore says how to get at it", "[backup]") {
  Name name("backup.image"), again("backup.image.restored");
  Directory directory("/tmp");
  const std::string path = directory.file("b");
  Handle d(name, typed());
  must(put(d, "a", 1), "put");
  REQUIRE(std::system(("cp --sparse=always " + name.path() + " " + path).c_str()) == 0);
  REQUIRE(shmd_restore(path.c_str(), again.c_str(), nullptr, nullptr) == SHMD_ERR_FOREIGN_OBJECT);
  const std::string message = shmd_last_error()->message;
  CHECK_THAT(message, contains("'" + path + "' is the image of a dict"));
  const auto at = message.find("/dev/shm/shmdict.NAME");
  REQUIRE(at != std::string::npos);
  REQUIRE(std::system(("cp --sparse=always " + path + " " + again.path()).c_str()) == 0); // as it says
  Handle copy(again, typed());
  CHECK(get(copy, "a") == 1);
  CHECK(shmd_check(copy, nullptr, nullptr) == 0);
}

TEST_CASE("a backup that fails leaves the one before in its place", "[backup]") {
  Name name("backup.fails");
  Directory directory("/tmp");
  const std::string path = directory.file("b");
  Handle d(name, typed());
  must(put(d, "a", 1), "put");
  REQUIRE(shmd_backup(d, path.c_str()) == 0);
  must(put(d, "a", 2), "put");
  must(shmd_begin(d, 0), "begin");
  CHECK(shmd_backup(d, path.c_str()) == SHMD_ERR_IN_TRANSACTION);
  must(shmd_abort(d), "abort");
  CHECK(shmd_backup(d, "/tmp/no such directory/b") == SHMD_ERR_SYSTEM);
  CHECK(shmd_backup(d, (path + "/below").c_str()) == SHMD_ERR_SYSTEM);
  CHECK(shmd_backup(d, "/tmp/") == SHMD_ERR_SYSTEM);
  CHECK(get(Restored(path), "a") == 1);
  REQUIRE(shmd_backup(d, path.c_str()) == 0);
  CHECK(get(Restored(path), "a") == 2);
  CHECK(directory.entries().size() == 1);
}

// The mechanism: explain() in backup.c. The size that it names is tried, and would not be if it were the caller's to guess.
TEST_CASE("a restore that max_size is too small for says which dict and what size would do", "[backup]") {
  Name name("backup.size"), again("backup.size.restored");
  Directory directory("/tmp");
  const std::string path = directory.file("b");
  auto o = typed();
  o.max_size = std::uint64_t{256} << 20;
  const auto put_text = [](shmd_dict* d, const std::string& key, std::size_t size) {
    const std::string value(size, 'v');
    must(shmd_put(d, shmd_root(), key.data(), key.size(), value.data(), value.size(), 0), "put");
  };
  const auto check = [&](int code) {
    auto small = with(SHMD_UNLINK_LAST_CLOSES);
    small.max_size = std::uint64_t{8} << 20;
    REQUIRE(shmd_restore(path.c_str(), again.c_str(), &small, nullptr) == code);
    CHECK_FALSE(again.exists());
    const std::string message = shmd_last_error()->message;
    CAPTURE(message);
    CHECK_THAT(message, contains("'" + std::string(again) + "'"));
    CHECK_THAT(message, contains("max_size of 8388608"));
    CHECK_THAT(message, contains("which has 268435456"));
    const auto at = message.find("it needs ");
    REQUIRE(at != std::string::npos);
    small.max_size = std::stoull(message.substr(at + 9));
    CHECK(small.max_size > std::uint64_t{8} << 20);
    CHECK(small.max_size < std::uint64_t{128} << 20);
    shmd_dict* copy = nullptr;
    REQUIRE(shmd_restore(path.c_str(), again.c_str(), &small, &copy) == SHMD_CREATED);
    CHECK(shmd_check(copy, nullptr, nullptr) == 0);
    REQUIRE(shmd_close(copy) == 0);
  };
  SECTION("of many values") {
    Handle d(name, o);
    for (int i = 0; i < 40'000; ++i) put_text(d, "k" + std::to_string(i), 300);
    REQUIRE(shmd_backup(d, path.c_str()) == 0);
    check(SHMD_ERR_NO_SPACE);
  }
  SECTION("of small values, most of it index") {
    Handle d(name, o);
    for (int i = 0; i < 200'000; ++i) must(put(d, std::to_string(i), 1), "put");
    REQUIRE(shmd_backup(d, path.c_str()) == 0);
    check(SHMD_ERR_NO_SPACE);
  }
  SECTION("of a large value") {
    Handle d(name, o);
    put_text(d, "large", 20'000'000);
    REQUIRE(shmd_backup(d, path.c_str()) == 0);
    check(SHMD_ERR_VALUE_TOO_LONG);
  }
  SECTION("of many nested dicts") {
    Handle d(name, o);
    shmd_node child;
    for (int i = 0; i < 12'000; ++i) {
      const std::string key = std::to_string(i);
      must(shmd_node_open(d, shmd_root(), key.data(), key.size(), SHMD_NODE_CREATE, &child), "node_open");
    }
    REQUIRE(shmd_backup(d, path.c_str()) == 0);
    check(SHMD_ERR_TOO_MANY_DICTS);
  }
  SECTION("of a long history") {
    o.buffer_size = std::uint64_t{16} << 20;
    Handle d(name, o);
    must(put(d, "k", 1), "put");
    REQUIRE(shmd_backup(d, path.c_str()) == 0);
    check(SHMD_ERR_INVALID_ARGUMENT);
  }
  SECTION("but not of another failure") {
    Handle d(name, o);
    must(put(d, "k", 1), "put");
    REQUIRE(shmd_backup(d, path.c_str()) == 0);
    auto odd = with(SHMD_UNLINK_LAST_CLOSES);
    odd.max_size = std::uint64_t{8} << 20;
    odd.segment_size = 12345;
    REQUIRE(shmd_restore(path.c_str(), again.c_str(), &odd, nullptr) == SHMD_ERR_INVALID_ARGUMENT);
    CHECK_THAT(shmd_last_error()->message, contains("segment_size 12345"));
  }
}

// The mechanism: copy_and_leave() in backup.c. Without it the dict looks like one whose users all died.
TEST_CASE("what was restored is no orphan until somebody has opened it and died", "[backup]") {
  Name name("backup.orphan"), again("backup.orphan.restored");
  Directory directory("/tmp");
  const std::string path = directory.file("b");
  {
    Handle d(name, typed());
    must(put(d, "k", 1), "put");
    REQUIRE(shmd_backup(d, path.c_str()) == 0);
  }
  const auto orphaned = [&] {
    struct Asked {
      const std::string& name;
      int orphaned = -1;
    } asked{again};
    must(shmd_list(
             [](void* context, const shmd_object_info* o) {
               auto* a = static_cast<Asked*>(context);
               if (a->name == o->name) a->orphaned = o->result == 0 ? o->orphaned : o->result;
               return 0;
             },
             &asked),
         "list");
    return asked.orphaned;
  };
  REQUIRE(shmd_restore(path.c_str(), again.c_str(), nullptr, nullptr) == SHMD_CREATED);
  CHECK(orphaned() == 0);
  Child([&] {
    Handle d(again, typed());
    return get(d, "k") == 1 ? 0 : 1;
  }).join(); // closed: the name goes
  CHECK_FALSE(again.exists());
  REQUIRE(shmd_restore(path.c_str(), again.c_str(), nullptr, nullptr) == SHMD_CREATED);
  Child([&]() -> int {
    Handle& d = *new Handle(again, typed()); // never closed
    return get(d, "k") == 1 ? 0 : 1;
  }).join();
  CHECK(orphaned() == 1);
  shmd_dict* copy = nullptr;
  REQUIRE(shmd_unlink(again.c_str()) == 0);
  CHECK(Child([&]() -> int { // restored and kept open by one who dies
          shmd_dict* kept = nullptr;
          return shmd_restore(path.c_str(), again.c_str(), nullptr, &kept) == SHMD_CREATED ? 0 : 1;
        })
            .join() == 0);
  CHECK(orphaned() == 1);
  REQUIRE(shmd_unlink(again.c_str()) == 0);
  REQUIRE(shmd_restore(path.c_str(), again.c_str(), nullptr, &copy) == SHMD_CREATED);
  CHECK(orphaned() == 0);
  REQUIRE(shmd_close(copy) == 0);
  CHECK(orphaned() == -1);
}

// The mechanism: find_place() in the port. A fifo stands for a device, of which there should be no fewer afterwards.
TEST_CASE("a backup replaces regular files only, and what a link leads to instead of the link", "[backup]") {
  Name name("backup.place");
  Directory directory("/tmp"), elsewhere("/tmp");
  Handle d(name, typed());
  must(put(d, "a", 1), "put");
  const std::string fifo = directory.file("fifo"), link = directory.file("link"), file = elsewhere.file("file");
  struct stat s;
  REQUIRE(mkfifo(fifo.c_str(), 0600) == 0);
  CHECK(shmd_backup(d, fifo.c_str()) == SHMD_ERR_FOREIGN_OBJECT);
  CHECK_THAT(shmd_last_error()->message, contains("'" + fifo + "' is there and is no regular file"));
  REQUIRE(symlink(fifo.c_str(), link.c_str()) == 0);
  CHECK(shmd_backup(d, link.c_str()) == SHMD_ERR_FOREIGN_OBJECT);
  REQUIRE(lstat(fifo.c_str(), &s) == 0);
  CHECK(S_ISFIFO(s.st_mode));
  REQUIRE(unlink(link.c_str()) == 0);
  REQUIRE(symlink(file.c_str(), link.c_str()) == 0);
  CHECK(shmd_backup(d, link.c_str()) == SHMD_ERR_SYSTEM); // leads nowhere yet
  close(open(file.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
  REQUIRE(shmd_backup(d, link.c_str()) == 0);
  REQUIRE(lstat(link.c_str(), &s) == 0);
  CHECK(S_ISLNK(s.st_mode));
  CHECK(get(Restored(file), "a") == 1);
  CHECK(directory.entries().size() == 2);
  CHECK(elsewhere.entries().size() == 1);
}
