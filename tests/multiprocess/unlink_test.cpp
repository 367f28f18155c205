// SPDX-License-Identifier: Apache-2.0
// Who removes a name, and when: policies, races with attaching, successors of the same name.
#include <sys/stat.h>

#include <memory>
#include <random>
#include <vector>

#include "support/catch.hpp"
#include "support/process.hpp"

using namespace support;

TEST_CASE("last_closes removes the name with the last handle of the last process", "[unlink]") {
  Name name("last");
  Shared<std::atomic<int>> stage;
  auto a = std::make_unique<Handle>(name);
  auto b = std::make_unique<Handle>(name);
  Child other([&] {
    Handle d(name);
    *stage = 1;
    if (!eventually([&] { return *stage == 2; })) return 1;
    return d.close() == 0 ? 0 : 2;
  });
  REQUIRE(eventually([&] { return *stage == 1; }));
  a.reset();
  REQUIRE(name.exists());
  b.reset();
  REQUIRE(name.exists());
  *stage = 2;
  // The child inherited handles that it never closed: it is the last one, and still present, until it ends.
  REQUIRE(other.join() == 0);
  Handle next(name, with(SHMD_UNLINK_LAST_CLOSES));
  REQUIRE(next.close() == 0);
  REQUIRE_FALSE(name.exists());
}

// The mechanism: at_exit() in registry.c, called by the port's destructor function.
TEST_CASE("last_closes removes the name when the process exits normally without closing", "[unlink]") {
  Name name("exit");
  Child process([&]() -> int {
    shmd_dict* d = nullptr;
    const shmd_options options = small_options();
    must(shmd_open(name.c_str(), &options, &d), "open");
    must(put(d, "x", 1), "put");
    std::exit(name.exists() ? 0 : 1);
  });
  REQUIRE(process.join() == 0);
  REQUIRE_FALSE(name.exists());
}

TEST_CASE("a forked child that exits does not remove its parent's name", "[unlink][fork]") {
  Name name("child");
  for (const int policy : {SHMD_UNLINK_LAST_CLOSES, SHMD_UNLINK_CREATOR_CLOSES, SHMD_UNLINK_THIS_CLOSES}) {
    Handle d(name, with(policy));
    Child child([&]() -> int { std::exit(put(d, "x", 1) == 0 ? 0 : 1); });
    REQUIRE(child.join() == 0);
    REQUIRE(name.exists());
    REQUIRE(get(d, "x") == 1);
    REQUIRE(d.close() == 0);
    REQUIRE_FALSE(name.exists());
  }
}

TEST_CASE("a killed process leaves the name and its data to the next, who removes it", "[unlink]") {
  Name name("killed");
  Shared<std::atomic<int>> stage;
  Child process([&]() -> int {
    Handle d(name);
    must(put(d, "x", 5), "put");
    *stage = 1;
    for (;;) pause();
  });
  REQUIRE(eventually([&] { return *stage == 1; }));
  process.end(SIGKILL);
  REQUIRE(name.exists());
  Handle d(name, with(SHMD_UNLINK_NEVER, SHMD_OPEN_ONLY)); // the object's policy counts, not this one
  REQUIRE(get(d, "x") == 5);
  REQUIRE(d.close() == 0);
  REQUIRE_FALSE(name.exists());
}

TEST_CASE("creator_closes removes the name when the creator closes, whoever else is attached", "[unlink]") {
  Name name("creator");
  Handle creator(name, with(SHMD_UNLINK_CREATOR_CLOSES));
  Shared<std::atomic<int>> stage;
  Child other([&] {
    (void)creator.close(); // inherited: closing it here is not the creator's closing
    if (!name.exists()) return 1;
    Handle d(name, with(SHMD_UNLINK_CREATOR_CLOSES));
    *stage = 1;
    if (!eventually([&] { return *stage == 2; })) return 2;
    return put(d, "x", 1) == 0 ? 0 : 3; // the object lives on
  });
  REQUIRE(eventually([&] { return *stage == 1; }));
  REQUIRE(creator.close() == 0);
  REQUIRE_FALSE(name.exists());
  *stage = 2;
  REQUIRE(other.join() == 0);
}

TEST_CASE("this_closes belongs to one handle, and never keeps the name", "[unlink]") {
  Name name("this");
  Handle keeper(name, with(SHMD_UNLINK_NEVER));
  Handle plain(name, with(SHMD_UNLINK_NEVER));
  Handle closer(name, with(SHMD_UNLINK_THIS_CLOSES));
  REQUIRE(plain.close() == 0);
  REQUIRE(name.exists());
  REQUIRE(closer.close() == 0);
  REQUIRE_FALSE(name.exists());
  REQUIRE(put(keeper, "x", 1) == 0);
  shmd_stats s;
  REQUIRE(shmd_stat(keeper, &s) == 0);
  REQUIRE(s.unlinked == 1);
}

TEST_CASE("never keeps the name until it is unlinked by hand", "[unlink]") {
  Name name("never");
  {
    Handle d(name, with(SHMD_UNLINK_NEVER));
    must(put(d, "x", 9), "put");
  }
  REQUIRE(name.exists());
  Handle d(name, with(SHMD_UNLINK_LAST_CLOSES));
  REQUIRE(get(d, "x") == 9);
  REQUIRE(shmd_unlink(name.c_str()) == 0);
  REQUIRE_FALSE(name.exists());
}

// The mechanism: shmd_name_leads_to() in shmd_name_remove() (name.c).
TEST_CASE("nobody removes a successor of the same name", "[unlink]") {
  Name name("successor");
  Handle old(name, with(SHMD_UNLINK_LAST_CLOSES)), closer(name, with(SHMD_UNLINK_THIS_CLOSES));
  REQUIRE(shmd_unlink_this(old) == 0);
  REQUIRE(shmd_unlink_this(old) == SHMD_ERR_NO_SUCH_DICT);
  Handle successor(name, with(SHMD_UNLINK_NEVER)); // another object, another attachment
  REQUIRE(put(successor, "x", 1) == 0);
  REQUIRE(get(old, "x", 0) == 0);
  REQUIRE(shmd_unlink_this(old) == SHMD_ERR_NO_SUCH_DICT);
  REQUIRE(closer.close() == 0);
  REQUIRE(old.close() == 0);
  REQUIRE(name.exists());
  REQUIRE(shmd_unlink_this(successor) == 0);
}

TEST_CASE("a read-only handle that closes last removes the name, too", "[unlink]") {
  Name name("reader");
  auto writer = std::make_unique<Handle>(name);
  shmd_options options = small_options();
  options.flags = SHMD_READ_ONLY;
  Handle reader(name, options);
  writer.reset();
  REQUIRE(name.exists());
  REQUIRE(reader.close() == 0);
  REQUIRE_FALSE(name.exists());
}

// The mechanism: `observer` in presence.c and registry.c.
TEST_CASE("an observer keeps no name and removes none", "[unlink][fork]") {
  for (const std::uint32_t flags : {SHMD_OBSERVER | SHMD_READ_ONLY, SHMD_OBSERVER + 0}) {
    CAPTURE(flags);
    Name name("observer");
    auto options = with(SHMD_UNLINK_LAST_CLOSES, SHMD_OPEN_ONLY);
    options.flags = flags;
    const auto observe = [&]() -> int { // leaves without closing
      shmd_dict* d = nullptr;
      must(shmd_open(name.c_str(), &options, &d), "open");
      std::exit(get(d, "x") == 1 ? 0 : 1);
    };
    auto user = std::make_unique<Handle>(name);
    REQUIRE(put(*user, "x", 1) == 0);
    Handle observer(name, options);
    REQUIRE(Child(observe).join() == 0);
    REQUIRE(name.exists());
    Shared<std::atomic<int>> stage;
    Child child([&]() -> int { // what it has of the parent's handle is an observer's
      user.reset();
      *stage = 1;
      if (!eventually([&] { return *stage == 2; })) return 1;
      std::exit(get(observer, "x") == 1 ? 0 : 2);
    });
    REQUIRE(eventually([&] { return *stage == 1; }));
    REQUIRE(name.exists());
    user.reset();
    REQUIRE_FALSE(name.exists());
    *stage = 2;
    REQUIRE(child.join() == 0);
    REQUIRE(get(observer, "x") == 1); // its memory stays
    if ((flags & SHMD_READ_ONLY) == 0) REQUIRE(put(observer, "x", 2) == 0);
    REQUIRE(observer.close() == 0);

    Child left([&]() -> int {
      Handle d(name, with(SHMD_UNLINK_LAST_CLOSES));
      must(put(d, "x", 1), "put");
      return raise(SIGKILL);
    });
    REQUIRE(left.join() == -SIGKILL);
    REQUIRE(Handle(name, options).close() == 0);
    REQUIRE(Child(observe).join() == 0);
    REQUIRE(name.exists());
    REQUIRE(Handle(name).close() == 0);
    REQUIRE_FALSE(name.exists());
  }
}

TEST_CASE("an observer opens what exists, and does not share a user's lock", "[unlink]") {
  Name name("observer");
  Handle user(name);
  auto options = with(SHMD_UNLINK_LAST_CLOSES, SHMD_OPEN_ONLY);
  options.flags = SHMD_OBSERVER;
  Handle observer(name, options);
  REQUIRE(shmd_lock(user, SHMD_FOREVER) == 0);
  REQUIRE(put(observer, "x", 1) == SHMD_ERR_WOULD_DEADLOCK);
  REQUIRE(shmd_unlock(user) == 0);
  REQUIRE(put(observer, "x", 1) == 0);
  REQUIRE(get(user, "x") == 1);

  shmd_dict* d = nullptr;
  options.unlink = SHMD_UNLINK_THIS_CLOSES;
  REQUIRE(shmd_open(name.c_str(), &options, &d) == SHMD_ERR_INVALID_ARGUMENT);
  for (const int mode : {SHMD_OPEN_OR_CREATE, SHMD_CREATE_ONLY}) {
    options = with(SHMD_UNLINK_LAST_CLOSES, mode);
    options.flags = SHMD_OBSERVER;
    REQUIRE(shmd_open(name.c_str(), &options, &d) == SHMD_ERR_INVALID_ARGUMENT);
  }
}

TEST_CASE("an init callback that fails undoes the creation, and nobody sees a dict before it ends",
          "[unlink][create]") {
  Name name("init");
  struct Context {
    const Name* name;
    bool seen;
    int answer;
  } context = {&name, false, SHMD_ERR_ABORTED};
  shmd_options options = with(SHMD_UNLINK_NEVER);
  options.init_context = &context;
  options.init = [](shmd_dict* d, void* p) {
    auto& c = *static_cast<Context*>(p);
    c.seen = c.seen || c.name->exists();
    Handle other(unique_name("init.other")); // other dicts may be opened meanwhile
    if (put(d, "x", 4) < 0) return static_cast<int>(SHMD_ERR_SYSTEM);
    return c.answer;
  };
  shmd_dict* d = nullptr;
  REQUIRE(shmd_open(name.c_str(), &options, &d) == SHMD_ERR_ABORTED);
  REQUIRE_FALSE(name.exists());
  context.answer = 0;
  REQUIRE(shmd_open(name.c_str(), &options, &d) == SHMD_CREATED);
  REQUIRE(get(d, "x") == 4);
  REQUIRE_FALSE(context.seen);
  REQUIRE(shmd_close(d) == 0);
}

// The mechanism: SHMD_BYTE_CREATE, and the second look at the name with it in hand (attach_steps() in attach.c).
TEST_CASE("processes that open and close one name at random always agree on the object behind it", "[unlink][race]") {
  constexpr int processes = 4, rounds = 300, alone = 10;
  Name name("agree");
  struct Board {
    std::atomic<int> ended{0};
    std::atomic<std::uint64_t> created{0}, opened{0};
  };
  Shared<Board> board;
  std::vector<std::unique_ptr<Child>> children;
  for (int p = 0; p < processes; ++p) {
    children.push_back(std::make_unique<Child>([&, p] {
      std::mt19937 random(static_cast<unsigned>(p));
      for (int i = 0; i < (p == 0 ? rounds + alone : rounds); ++i) {
        if (i == rounds && !eventually([&] { return board->ended == processes - 1; })) return 9;
        shmd_dict* d = nullptr;
        shmd_options options = small_options(std::uint64_t{4} << 20);
        options.init = [](shmd_dict* fresh, void*) { return put(fresh, "made", 1); };
        const int result = shmd_open(name.c_str(), &options, &d);
        if (result < 0) {
          std::fprintf(stderr, "open: %s\n", shmd_last_error()->message);
          return 1;
        }
        ++(result == SHMD_CREATED ? board->created : board->opened);
        if (get(d, "made") != 1) return 2; // never a half-made one
        if (put(d, "p" + std::to_string(p), static_cast<std::uint64_t>(i)) < 0) return 3;
        if (random() % 4 == 0) std::this_thread::sleep_for(std::chrono::microseconds(random() % 300));
        // While it is attached the name must lead here: whoever opens it meanwhile joins this object.
        shmd_stats mine, theirs;
        if (shmd_stat(d, &mine) != 0) return 4;
        if (mine.unlinked) return 5;
        shmd_dict* again = nullptr;
        if (shmd_open(name.c_str(), &options, &again) != 0 || shmd_stat(again, &theirs) != 0) return 6;
        if (std::memcmp(mine.id, theirs.id, sizeof mine.id) != 0) return 7;
        if (shmd_close(again) != 0 || shmd_close(d) != 0) return 8;
      }
      ++board->ended;
      return 0;
    }));
  }
  for (auto& c : children) REQUIRE(c->join() == 0);
  REQUIRE_FALSE(name.exists());
  REQUIRE(board->created + board->opened == processes * rounds + alone);
  REQUIRE(board->created >= alone);
}
