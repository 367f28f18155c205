// SPDX-License-Identifier: Apache-2.0
// Backups as streams: through pipes, in little memory, and damaged or hostile in every way.
#include <fcntl.h>
#include <sys/resource.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <random>
#include <string>
#include <vector>

#include <shmdict/read.h>

#include "multiprocess/crash_support.hpp"
#include "support/catch.hpp"
#include "support/process.hpp"

using namespace support;

namespace {

using Bytes = std::string;

int append(void* to, const void* bytes, std::size_t size) {
  static_cast<Bytes*>(to)->append(static_cast<const char*>(bytes), size);
  return 0;
}

Bytes backup_of(shmd_dict* d) {
  Bytes out;
  must(shmd_backup_to(d, append, &out), "backup_to");
  return out;
}

struct Source {
  const Bytes* bytes;
  std::size_t at = 0;
  static int read(void* context, void* to, std::size_t size) {
    auto& s = *static_cast<Source*>(context);
    const std::size_t n = std::min(size, s.bytes->size() - s.at);
    std::memcpy(to, s.bytes->data() + s.at, n);
    s.at += n;
    return static_cast<int>(n);
  }
};

int restore(const Bytes& bytes, const std::string& name, shmd_dict** d = nullptr) {
  Source s{&bytes};
  return shmd_restore_from(Source::read, &s, name.c_str(), nullptr, d);
}

// A dict with values of all sorts of sizes, nested dicts, an empty one, and an empty key.
void fill(crash::World& w) {
  for (int i = 0; i < 30; ++i)
    w.put({"k" + std::to_string(i)}, crash::value_of(static_cast<std::size_t>(i * 7), static_cast<std::uint64_t>(i)));
  w.put({""}, "under an empty key");
  w.create({"empty"});
  w.create({"a"});
  w.create({"a", "b"});
  w.create({"z"});
  w.put({"a", "b", "x"}, "1");
  w.put({"a", "y"}, "");
  w.put({"z", "q"}, "2");
}

// ---- the format, as c-core/doc/backup-format.md has it ----

std::uint64_t number(const Bytes& b, std::size_t at, int bytes) {
  std::uint64_t value = 0;
  for (int i = bytes; i-- > 0;) value = value << 8 | static_cast<unsigned char>(b[at + static_cast<std::size_t>(i)]);
  return value;
}
void set_number(Bytes& b, std::size_t at, std::uint64_t value, int bytes) {
  for (int i = 0; i < bytes; ++i) b[at + static_cast<std::size_t>(i)] = static_cast<char>(value >> (8 * i));
}

struct Blocks {
  Bytes prelude;
  std::vector<Bytes> blocks;

  explicit Blocks(const Bytes& all) : prelude(all.substr(0, 16)) {
    for (std::size_t at = 16; at < all.size();) {
      const std::size_t size = 16 + number(all, at + 8, 4);
      blocks.push_back(all.substr(at, size));
      at += size;
    }
  }
  // With checksums that are right, whatever the blocks hold.
  Bytes sealed() const {
    Bytes out = prelude;
    std::uint64_t seed = shmd_hash_bytes(0, prelude.data(), prelude.size());
    for (std::size_t i = 0; i < blocks.size(); ++i) {
      Bytes b = blocks[i];
      set_number(b, 8, b.size() - 16, 4);
      set_number(b, 0, shmd_hash_bytes(seed, b.data() + 8, b.size() - 8), 8);
      seed = i == 0 ? number(b, 20, 8) : seed + 1; // the id is the head's first field
      out += b;
    }
    return out;
  }
  Bytes as_they_are() const {
    Bytes out = prelude;
    for (const auto& b : blocks) out += b;
    return out;
  }
};

// One that says what it is refused for, and leaves nothing.
void refused(const Bytes& bytes, const Name& name) {
  const int result = restore(bytes, name);
  CHECK((result == SHMD_ERR_CORRUPT || result == SHMD_ERR_INCOMPLETE_OBJECT || result == SHMD_ERR_FOREIGN_OBJECT ||
         result == SHMD_ERR_LAYOUT_MISMATCH));
  CHECK_THAT(shmd_last_error()->message, contains("backup"));
  CHECK_FALSE(name.exists());
}

std::size_t descriptors() {
  std::size_t n = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) ++n;
  return n;
}

std::uint64_t data_kib() {
  std::ifstream status("/proc/self/status");
  std::string word;
  while (status >> word)
    if (word == "VmData:" && status >> word) return std::stoull(word);
  return 0;
}

} // namespace

TEST_CASE("a backup goes through a pipe while it is restored at the other end", "[backup]") {
  Name name("stream"), again("stream.restored");
  Handle d(name);
  crash::World w(d);
  fill(w);
  w.put({"large"}, crash::value_of(3'000'000, 5)); // many times what a pipe holds
  int ends[2];
  REQUIRE(pipe2(ends, O_CLOEXEC) == 0);
  std::thread writer([&] {
    const auto write_all = [](void* context, const void* bytes, std::size_t size) {
      for (std::size_t done = 0; done < size;) {
        const auto n = write(*static_cast<int*>(context), static_cast<const char*>(bytes) + done, size - done);
        if (n < 0) return -1;
        done += static_cast<std::size_t>(n);
      }
      return 0;
    };
    if (shmd_backup_to(d, write_all, &ends[1]) != 0 || write(ends[1], "what comes next", 15) != 15) std::abort();
    close(ends[1]);
  });
  shmd_dict* copy = nullptr;
  const auto read_some = [](void* context, void* to, std::size_t size) {
    return static_cast<int>(::read(*static_cast<int*>(context), to, size < 777 ? size : 777));
  };
  const int result = shmd_restore_from(read_some, &ends[0], again.c_str(), nullptr, &copy);
  char rest[32] = "";
  CHECK(::read(ends[0], rest, sizeof rest) == 15); // nothing behind the end was read
  writer.join();
  close(ends[0]);
  REQUIRE(result == SHMD_CREATED);
  CHECK(std::string(rest) == "what comes next");
  CHECK(crash::dump(copy) == w.tree);
  CHECK(shmd_check(copy, nullptr, nullptr) == 0);
  CHECK(shmd_close(copy) == 0);
}

TEST_CASE("what a callback answers ends a backup or a restore, and is what is returned", "[backup]") {
  Name name("stream.ends"), again("stream.ends.restored");
  Handle d(name);
  crash::World w(d);
  fill(w);
  w.put({"large"}, crash::value_of(500'000, 5));
  const Bytes whole = backup_of(d);
  struct Ending {
    int calls, answer;
    static int write(void* context, const void*, std::size_t) {
      auto& e = *static_cast<Ending*>(context);
      return e.calls-- > 0 ? 0 : e.answer;
    }
  };
  for (int answer : {-1, 1, int{SHMD_END}, int{SHMD_ERR_CORRUPT}})
    for (int calls = 0; calls < 10; ++calls) {
      Ending e{calls, answer};
      CHECK(shmd_backup_to(d, Ending::write, &e) == answer);
    }
  shmd_stats stats;
  REQUIRE(shmd_stat(d, &stats) == 0);
  CHECK(stats.pins == 0);
  struct Reading {
    Source from;
    std::size_t until;
    int answer;
    static int read(void* context, void* to, std::size_t size) {
      auto& r = *static_cast<Reading*>(context);
      return r.from.at >= r.until ? r.answer : Source::read(&r.from, to, std::min(size, std::size_t{1000}));
    }
  };
  for (std::size_t until : {std::size_t{0}, std::size_t{100}, whole.size() / 2, whole.size() - 30}) {
    Reading r{{&whole}, until, -77};
    CHECK(shmd_restore_from(Reading::read, &r, again.c_str(), nullptr, nullptr) == -77);
    r = {{&whole}, until, 70'000}; // more than was asked for
    CHECK(shmd_restore_from(Reading::read, &r, again.c_str(), nullptr, nullptr) == SHMD_ERR_INVALID_ARGUMENT);
    CHECK_FALSE(again.exists());
  }
  CHECK(shmd_backup_to(d, nullptr, nullptr) == SHMD_ERR_INVALID_ARGUMENT);
  CHECK(shmd_backup_to(nullptr, append, nullptr) == SHMD_ERR_CLOSED);
  CHECK(shmd_restore_from(nullptr, nullptr, again.c_str(), nullptr, nullptr) == SHMD_ERR_INVALID_ARGUMENT);
  must(shmd_begin(d, 0), "begin");
  CHECK(shmd_backup_to(d, append, nullptr) == SHMD_ERR_IN_TRANSACTION);
  must(shmd_abort(d), "abort");
}

// The mechanism: entries go out and come in one by one. A copy of the dict in memory would need 60 MB.
TEST_CASE("a backup and a restore take little memory, however much is in the dict", "[backup]") {
  if (crash::sanitized) SHMDICT_SKIP("a sanitizer takes memory of its own");
  Name name("stream.memory"), again("stream.memory.restored");
  auto o = with(SHMD_UNLINK_LAST_CLOSES);
  o.max_size = std::uint64_t{256} << 20;
  Handle d(name, o);
  for (int i = 0; i < 60; ++i) {
    const Bytes value(1'000'000, static_cast<char>(i));
    const Bytes key = std::to_string(i);
    must(shmd_put(d, shmd_root(), key.data(), key.size(), value.data(), value.size(), 0), "put");
  }
  int ends[2];
  REQUIRE(pipe2(ends, O_CLOEXEC) == 0);
  const auto within = [](auto body) {
    const rlim_t limit = (data_kib() + 8 * 1024) * 1024;
    const rlimit r{limit, limit};
    if (setrlimit(RLIMIT_DATA, &r) != 0 || malloc(std::size_t{20} << 20) != nullptr) return 3; // the limit counts
    return body();
  };
  Child writer([&] {
    return within([&] {
      Handle own(name, o);
      const auto write_all = [](void* context, const void* bytes, std::size_t size) {
        for (std::size_t done = 0; done < size;) {
          const auto n = write(*static_cast<int*>(context), static_cast<const char*>(bytes) + done, size - done);
          if (n < 0) return -1;
          done += static_cast<std::size_t>(n);
        }
        return 0;
      };
      return shmd_backup_to(own, write_all, &ends[1]) == 0 ? 0 : 1;
    });
  });
  close(ends[1]);
  Child reader([&] {
    return within([&] {
      const auto read_some = [](void* context, void* to, std::size_t size) {
        return static_cast<int>(::read(*static_cast<int*>(context), to, size));
      };
      return shmd_restore_from(read_some, &ends[0], again.c_str(), &o, nullptr) == SHMD_CREATED ? 0 : 1;
    });
  });
  close(ends[0]);
  CHECK(writer.join() == 0);
  CHECK(reader.join() == 0);
  Handle copy(again, o);
  std::uint64_t count = 0;
  CHECK(shmd_count(copy, shmd_root(), &count) == 0);
  CHECK(count == 60);
}

TEST_CASE("every byte of a backup that is damaged, and every place where it ends, is noticed", "[backup]") {
  Name name("stream.damage"), again("stream.damage.restored");
  Handle d(name);
  crash::World w(d);
  fill(w);
  const Bytes whole = backup_of(d);
  const std::size_t before = descriptors(), step = crash::sanitized ? 13 : 1;
  for (std::size_t i = 0; i < whole.size(); i += step) {
    INFO("byte " << i << " of " << whole.size());
    Bytes damaged = whole;
    damaged[i] = static_cast<char>(damaged[i] ^ (i % 3 == 0 ? 0xff : 1 << i % 8));
    refused(damaged, again);
    refused(whole.substr(0, i), again);
  }
  CHECK(descriptors() == before);
  shmd_dict* copy = nullptr;
  REQUIRE(restore(whole, again, &copy) == SHMD_CREATED);
  CHECK(crash::dump(copy) == w.tree);
  CHECK(shmd_close(copy) == 0);
}

TEST_CASE("blocks of a backup that are missing, doubled, moved or of another backup are noticed", "[backup]") {
  Name name("stream.blocks"), again("stream.blocks.restored");
  Handle d(name);
  crash::World w(d);
  w.put({"large"}, crash::value_of(300'000, 5));
  const Blocks whole(backup_of(d)), other(backup_of(d));
  REQUIRE(whole.blocks.size() >= 6);
  REQUIRE(restore(whole.as_they_are(), again) == SHMD_CREATED);
  REQUIRE(shmd_unlink(again.c_str()) == 0);
  REQUIRE(restore(whole.sealed(), again) == SHMD_CREATED); // what follows tests that the checksums are ours
  REQUIRE(shmd_unlink(again.c_str()) == 0);
  for (std::size_t i = 0; i < whole.blocks.size(); ++i) {
    INFO("block " << i << " of " << whole.blocks.size());
    const auto at = static_cast<std::ptrdiff_t>(i);
    Blocks b = whole;
    b.blocks.erase(b.blocks.begin() + at);
    refused(b.as_they_are(), again);
    refused(b.sealed(), again); // the totals say so
    b = whole;
    b.blocks[i] = other.blocks[i]; // of the same dict, and of the same bytes but for the head
    refused(b.as_they_are(), again);
    if (i + 1 == whole.blocks.size()) continue;
    b = whole;
    std::swap(b.blocks[i], b.blocks[i + 1]);
    refused(b.as_they_are(), again);
    b = whole;
    b.blocks.insert(b.blocks.begin() + at, whole.blocks[i]);
    refused(b.as_they_are(), again);
  }
}

// Guards: the checks of restore.c and archive.c. Who has made these bytes knows how checksums are made.
TEST_CASE("a hostile backup with right checksums makes a whole dict or none", "[backup]") {
  Name name("stream.hostile"), again("stream.hostile.restored");
  Handle d(name);
  crash::World w(d);
  fill(w);
  const Blocks whole(backup_of(d));
  REQUIRE(whole.blocks.size() == 3);
  std::mt19937 random(20);
  const auto below = [&](std::size_t n) { return static_cast<std::size_t>(random() % n); };
  const std::size_t before = descriptors();
  int made = 0;
  std::vector<int> seen;
  for (int round = 0; round < (crash::sanitized ? 400 : 4000); ++round) {
    INFO("round " << round);
    Blocks b = whole;
    for (std::size_t edits = 1 + below(3); edits > 0; --edits) {
      Bytes& block = b.blocks[below(3)];
      const std::size_t at = 16 + below(block.size() - 16);
      switch (below(6)) {
        case 0:
          block[at] = static_cast<char>(random());
          break;
        case 1:
          block[at] = static_cast<char>(block[at] + (below(2) != 0 ? 1 : -1));
          break;
        case 2:
          if (block.size() > 17) block.erase(at, std::min(1 + below(9), block.size() - 17));
          break;
        case 3:
          block.insert(at, block.substr(16 + below(block.size() - 16), 1 + below(40)));
          break;
        case 4:
          for (std::size_t i = at; i < std::min(at + 8, block.size()); ++i) block[i] = static_cast<char>(0xff);
          break;
        default:
          set_number(b.blocks[2], 16 + 8 * below(3), below(50), 8);
      }
    }
    shmd_dict* copy = nullptr;
    const int result = restore(b.sealed(), again, &copy);
    if (result != SHMD_CREATED) {
      REQUIRE(result < 0);
      REQUIRE(copy == nullptr);
      REQUIRE_FALSE(again.exists());
      REQUIRE(std::strlen(shmd_last_error()->message) > 20);
      if (std::find(seen.begin(), seen.end(), result) == seen.end()) seen.push_back(result);
      continue;
    }
    ++made;
    REQUIRE(shmd_check(copy, nullptr, nullptr) == 0);
    REQUIRE(shmd_close(copy) == 0);
    REQUIRE_FALSE(again.exists());
  }
  CHECK(descriptors() == before);
  CHECK(made > 5); // values and sizes that are as good as those before
  CHECK(std::find(seen.begin(), seen.end(), int{SHMD_ERR_CORRUPT}) != seen.end());
}

TEST_CASE("a backup that lies about lengths gets neither the memory nor the time that it asks for", "[backup]") {
  Name name("stream.lies"), again("stream.lies.restored");
  Handle d(name);
  crash::World w(d);
  w.put({"k"}, "v");
  const Blocks whole(backup_of(d));
  const auto entry = [&](const Bytes& bytes) {
    Blocks b = whole;
    b.blocks[1] = whole.blocks[1].substr(0, 16) + bytes;
    return b.sealed();
  };
  const std::uint64_t before = data_kib();
  for (std::uint64_t size : {std::uint64_t{1} << 30, std::uint64_t{1} << 31, std::uint64_t{0xffffffff}}) {
    Bytes lie("\1\1\0\0\0\0\0k", 8);
    set_number(lie, 3, size, 4);
    refused(entry(lie + "short"), again);
  }
  if (!crash::sanitized) CHECK(data_kib() < before + 64 * 1024);
  refused(entry(Bytes("\1\xff\xff\1\0\0\0k", 8)), again);                 // a key
  refused(entry(Bytes("\3", 1)), again);                                  // no dict to go into
  refused(entry(Bytes("\2\1\0k", 4)), again);                             // a dict that does not come
  refused(entry(Bytes("\1\1\0\1\0\0\0kv\1\1\0\1\0\0\0kv", 18)), again);   // a key twice
  refused(entry(Bytes("\2\1\0k\2\1\0k\3\3", 10)), again);                 // a dict twice
  refused(entry(Bytes("\2\1\0k\1\1\0\1\0\0\0kv\3", 14)), again);          // a value in place of a dict
  refused(entry(Bytes("\1\1\0\1\0\0\0kv\2\1\0k\3", 14)), again);          // and the other way round
  refused(entry(Bytes("\x81\1\0\1\0\0\0\0\0\0\0\0\0\0\0kv", 17)), again); // an entry that expires
  Blocks b = whole;
  b.prelude[12] = 1; // entries that may expire
  CHECK(restore(b.sealed(), again) == SHMD_ERR_LAYOUT_MISMATCH);
  CHECK_THAT(shmd_last_error()->message, contains("newer"));
  b = whole;
  b.blocks[0] += Bytes("\xff\x7f\1\0x", 5); // something that has to be known
  refused(b.sealed(), again);
  b = whole;
  b.blocks[0] += Bytes("\xff\xff\1\0x", 5); // something that may be left out
  CHECK(restore(b.sealed(), again) == SHMD_CREATED);
}
