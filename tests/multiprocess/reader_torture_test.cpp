// SPDX-License-Identifier: Apache-2.0
// Readers beside writers: nothing torn, nothing mixed, nothing older than seen or acknowledged, nothing vanished, while
// keys are overwritten, arrays grow, split and merge, the log is cleaned, dicts are cleared, replaced and erased. Threads
// over one mapping (also under ThreadSanitizer), processes, read-only handles; reads one by one, snapshots, views.
//
// Guards, besides what stands at the single tests: shmd_recycle() in shmd_node_new() (node.c); `previous` in stage_store()
// and queue_ghost() in stage_erase() (dict.c); the pin in sweep_step() (reclaim.c) and freed_first() (segment.c); head,
// not published, in shmd_snapshot_valid() (snapshot.c) for read-only handles.
#include <chrono>
#include <iostream>
#include <random>
#include <thread>

#include "multiprocess/crash_support.hpp"
#include "multiprocess/crash_values.hpp"
#include "support/catch.hpp"
#include "support/process.hpp"

namespace {

using crash::Expectation;
using crash::Versions;
using support::Dict;
using support::must;
using clock_type = std::chrono::steady_clock;

constexpr std::size_t writers = 2, permanent = 40, passing = 40, group = 5, cleared = 10;
constexpr auto duration = std::chrono::milliseconds(3000);

struct Part {                      // of one writer
  Versions permanent[::permanent]; // never absent
  Versions passing[::passing];     // put and erased
  Versions group;                  // keys of one transaction
  Versions cleared;                // a nested dict, cleared and filled again in one transaction
  Versions subtree;                // a nested dict, replaced or erased
};

struct Arena {
  Part part[writers];
  std::atomic<bool> stop{false}, failed{false};
  std::atomic<std::uint64_t> writes{0}, reads{0}, snapshots{0}, busy{0};
  char message[512] = {};
  void fail(const std::string& text) {
    if (!failed.exchange(true)) std::snprintf(message, sizeof message, "%s", text.c_str());
    stop = true;
  }
};

struct Name {
  std::string key;
  std::uint64_t id;
};
Name named(const char* kind, std::size_t w, std::size_t k) {
  return {std::string(kind) + std::to_string(w) + "." + std::to_string(k),
          static_cast<std::uint64_t>(kind[0]) << 40 | w << 20 | k};
}

shmd_options options() {
  auto o = support::small_options(std::uint64_t{256} << 20);
  o.segment_size = 65536;
  o.buffer_size = 32768;
  o.unlink = SHMD_UNLINK_NEVER;
  o.mode = SHMD_CREATE_ONLY;
  o.timeout = UINT64_C(30000000000);
  return o;
}

std::uint64_t begin_version(Versions& v) {
  const std::uint64_t version = v.started.load() + 1;
  v.started = version;
  return version;
}

// ---- writing --------------------------------------------------------------------------------------------------------------

class Writer {
 public:
  Writer(Arena& arena, Dict& d, std::size_t w, std::uint64_t seed)
      : arena_(arena), part_(arena.part[w]), d_(d), w_(w), random_(seed) {}

  void first() {
    for (std::size_t k = 0; k < permanent; ++k) write_permanent(k);
    write_group();
    write_cleared();
  }
  void step() {
    if (++steps_ % 256 == 0) crash::wait_for_snapshots(d_, arena_.stop);
    switch (random_() % 32) {
      case 0:
        grow_and_shrink(shmd_root());
        break;
      case 1:
        grow_and_shrink(d_.child("filler" + std::to_string(w_)));
        break;
      case 2:
      case 3:
        write_cleared();
        break;
      case 4:
      case 5:
      case 6:
        write_subtree();
        break;
      case 7:
      case 8:
      case 9:
      case 10:
        write_group();
        break;
      case 11:
      case 12:
      case 13:
      case 14:
      case 15:
      case 16:
        write_passing(random_() % passing);
        break;
      default:
        write_permanent(random_() % permanent);
        break;
    }
    arena_.writes.fetch_add(1, std::memory_order_relaxed);
  }

 private:
  void write_permanent(std::size_t k) {
    const auto n = named("permanent", w_, k);
    const auto version = begin_version(part_.permanent[k]);
    d_.put(n.key, crash::version_value(n.id, version));
    part_.permanent[k].acknowledged = version;
  }
  void write_passing(std::size_t k) {
    const auto n = named("Passing", w_, k);
    const auto version = begin_version(part_.passing[k]);
    if (crash::version_absent(n.id, version))
      d_.erase(n.key);
    else
      d_.put(n.key, crash::version_value(n.id, version));
    part_.passing[k].acknowledged = version;
  }
  void write_group() {
    const auto version = begin_version(part_.group);
    must(shmd_begin(d_, SHMD_DEFAULT_TIMEOUT), "begin");
    for (std::size_t i = 0; i < group; ++i)
      d_.put(named("group", w_, i).key, crash::version_value(named("group", w_, 0).id, version));
    must(shmd_commit(d_), "commit");
    part_.group.acknowledged = version;
  }
  void write_cleared() {
    const auto version = begin_version(part_.cleared);
    must(shmd_begin(d_, SHMD_DEFAULT_TIMEOUT), "begin");
    shmd_node n = d_.child(named("cleared", w_, 0).key);
    must(shmd_clear(d_, n, &n), "clear");
    for (std::size_t i = 0; i < cleared; ++i)
      d_.put(std::to_string(i), crash::version_value(named("cleared", w_, 0).id, version), n);
    must(shmd_commit(d_), "commit");
    part_.cleared.acknowledged = version;
  }
  void write_subtree() {
    const auto n = named("subtree", w_, 0);
    const auto version = begin_version(part_.subtree);
    if (crash::version_absent(n.id, version)) {
      d_.erase(n.key);
    } else {
      const auto value = crash::version_value(n.id, version);
      must(shmd_begin(d_, SHMD_DEFAULT_TIMEOUT), "begin");
      const auto node = d_.child(n.key, shmd_root(), SHMD_NODE_REPLACE);
      d_.put("x", value, node);
      const auto below = d_.child("below", node);
      for (std::uint64_t i = 0; i < version % 30; ++i) d_.put(std::to_string(i), value, below);
      must(shmd_commit(d_), "commit");
    }
    part_.subtree.acknowledged = version;
  }
  void grow_and_shrink(shmd_node node) {
    const std::size_t n = 100 + random_() % 1200;
    const std::string prefix = "filler" + std::to_string(w_) + ".";
    for (std::size_t i = 0; i < n && !arena_.stop; ++i) d_.put(prefix + std::to_string(i), "f", node);
    for (std::size_t i = 0; i < n; ++i) d_.erase(prefix + std::to_string(i), node);
  }

  Arena& arena_;
  Part& part_;
  Dict& d_;
  std::size_t w_;
  std::mt19937_64 random_;
  std::uint64_t steps_ = 0;
};

// ---- reading --------------------------------------------------------------------------------------------------------------

struct Overtaken {}; // a read-only handle answered BUSY: not an answer, and not a wrong one

int answer(int result, const char* what) {
  if (result == SHMD_ERR_BUSY) throw Overtaken();
  return must(result, what);
}

class Snapshot {
 public:
  explicit Snapshot(shmd_dict* d) { answer(shmd_snapshot_open(d, &s_), "snapshot_open"); }
  ~Snapshot() { shmd_snapshot_close(s_); }
  Snapshot(const Snapshot&) = delete;
  Snapshot& operator=(const Snapshot&) = delete;

  std::optional<std::string> get(const std::string& key, shmd_node node = shmd_root()) {
    std::string value(80000, '\0');
    std::size_t size = 0;
    if (answer(shmd_snapshot_get(s_, node, key.data(), key.size(), &value[0], value.size(), &size), "snapshot_get") ==
        SHMD_NOT_FOUND)
      return std::nullopt;
    value.resize(size);
    return value;
  }
  std::optional<shmd_node> child(const std::string& key, shmd_node node = shmd_root()) {
    shmd_node n;
    if (answer(shmd_snapshot_node(s_, node, key.data(), key.size(), &n), "snapshot_node") == SHMD_NOT_FOUND)
      return std::nullopt;
    return n;
  }
  // Keys and values of one dict; those of nested dicts are left out, their keys are not.
  std::map<std::string, std::string> all(shmd_node node = shmd_root()) {
    std::map<std::string, std::string> found;
    shmd_iter* it = nullptr;
    must(shmd_iter_open(s_, node, &it), "iter_open");
    shmd_entry e;
    int result;
    while ((result = shmd_iter_next(it, &e)) == 0) {
      const std::string key(static_cast<const char*>(e.key), e.key_size);
      if (!found.emplace(key, std::string(static_cast<const char*>(e.value), e.value_size)).second) {
        shmd_iter_close(it);
        throw std::runtime_error("iteration: " + key + " comes twice");
      }
    }
    shmd_iter_close(it);
    answer(result, "iter_next");
    return found;
  }

 private:
  shmd_snapshot* s_ = nullptr;
};

class Reader {
 public:
  Reader(Arena& arena, Dict& d, std::uint64_t seed, bool views) : arena_(arena), d_(d), random_(seed), views_(views) {}

  void step() {
    const std::size_t w = random_() % writers;
    try {
      switch (random_() % 64) {
        case 0:
          iterate(w);
          break;
        case 1:
          subtree(w);
          break;
        case 2:
          cleared_dict(w);
          break;
        case 3:
          group_of(w);
          break;
        case 4:
          in_place(w, random_() % permanent);
          break;
        case 5:
          through_handle(w);
          break;
        default:
          if (random_() % 4 == 0)
            passing_key(w, random_() % passing);
          else
            permanent_key(w, random_() % permanent);
      }
      arena_.reads.fetch_add(1, std::memory_order_relaxed);
    } catch (const Overtaken&) {
      arena_.busy.fetch_add(1, std::memory_order_relaxed);
    }
  }

 private:
  // The version of a value that must be there.
  std::uint64_t present(const Name& n, const Expectation& e, const std::optional<std::string>& value,
                        std::uint64_t& seen) {
    if (!value) throw std::runtime_error(n.key + " has vanished, expected " + e.range());
    const auto version = crash::version_of(n.id, *value);
    if (!version) throw std::runtime_error(n.key + " is torn");
    if (!e.allows_version(*version))
      throw std::runtime_error(n.key + " is of version " + std::to_string(*version) + ", not in " + e.range());
    return seen = std::max(seen, *version);
  }
  void maybe_absent(const Name& n, const Expectation& e, const std::optional<std::string>& value, std::uint64_t& seen) {
    if (value) {
      present(n, e, value, seen);
    } else {
      const auto version = e.absence(n.id);
      if (!version) throw std::runtime_error(n.key + " has vanished: no absence in " + e.range());
      seen = std::max(seen, *version);
    }
  }
  std::optional<std::string> get(const std::string& key, shmd_node node = shmd_root()) {
    std::string value(80000, '\0');
    std::size_t size = 0;
    if (answer(shmd_get(d_, node, key.data(), key.size(), &value[0], value.size(), &size), "get") == SHMD_NOT_FOUND)
      return std::nullopt;
    value.resize(size);
    return value;
  }

  void permanent_key(std::size_t w, std::size_t k) {
    const Expectation e(arena_.part[w].permanent[k], permanent_[w][k]);
    const auto n = named("permanent", w, k);
    present(n, e, get(n.key), permanent_[w][k]);
  }
  void passing_key(std::size_t w, std::size_t k) {
    const Expectation e(arena_.part[w].passing[k], passing_[w][k]);
    const auto n = named("Passing", w, k);
    maybe_absent(n, e, get(n.key), passing_[w][k]);
  }
  // The bytes in place do not change while the view is open.
  void in_place(std::size_t w, std::size_t k) {
    if (!views_) return;
    const Expectation e(arena_.part[w].permanent[k], permanent_[w][k]);
    const auto n = named("permanent", w, k);
    shmd_view v;
    if (must(shmd_view_open(d_, shmd_root(), n.key.data(), n.key.size(), &v), "view_open") != 0)
      throw std::runtime_error(n.key + " has vanished from a view");
    const std::string once(static_cast<const char*>(v.data), v.size);
    std::this_thread::sleep_for(std::chrono::microseconds(random_() % 300));
    const std::string twice(static_cast<const char*>(v.data), v.size);
    shmd_view_close(d_, &v);
    if (once != twice) throw std::runtime_error(n.key + " has changed under a view");
    present(n, e, once, permanent_[w][k]);
  }
  // A handle of a nested dict gives values of it, or says that it was removed.
  void through_handle(std::size_t w) {
    const auto n = named("cleared", w, 0);
    const Expectation e(arena_.part[w].cleared, 0); // single reads: no order between keys
    shmd_node node;
    if (answer(shmd_node_open(d_, shmd_root(), n.key.data(), n.key.size(), 0, &node), "node_open") != 0)
      throw std::runtime_error(n.key + " has vanished");
    std::string value(80000, '\0');
    std::size_t size = 0;
    const int result = shmd_get(d_, node, "3", 1, &value[0], value.size(), &size);
    if (result == SHMD_ERR_REMOVED || result == SHMD_NOT_FOUND) return;
    answer(result, "get");
    value.resize(size);
    std::uint64_t ignored = 0;
    present(n, e, value, ignored);
  }
  void group_of(std::size_t w) {
    const Expectation e(arena_.part[w].group, group_[w]);
    Snapshot s(d_);
    const auto first = s.get(named("group", w, 0).key);
    for (std::size_t i = 1; i < group; ++i)
      if (s.get(named("group", w, i).key) != first)
        throw std::runtime_error("a snapshot shows half a transaction: " + named("group", w, i).key);
    present(named("group", w, 0), e, first, group_[w]);
    arena_.snapshots.fetch_add(1, std::memory_order_relaxed);
  }
  void cleared_dict(std::size_t w) {
    const auto n = named("cleared", w, 0);
    const Expectation e(arena_.part[w].cleared, cleared_[w]);
    Snapshot s(d_);
    const auto node = s.child(n.key);
    if (!node) throw std::runtime_error(n.key + " has vanished from a snapshot");
    const auto all = s.all(*node);
    if (all.size() != cleared)
      throw std::runtime_error(n.key + " has " + std::to_string(all.size()) + " keys in a snapshot");
    for (const auto& [key, value] : all)
      if (value != all.begin()->second) throw std::runtime_error(n.key + "/" + key + ": mixed versions in a snapshot");
    present(n, e, all.begin()->second, cleared_[w]);
    arena_.snapshots.fetch_add(1, std::memory_order_relaxed);
  }
  // What a snapshot shows of a subtree stays, though the subtree is erased or replaced meanwhile.
  void subtree(std::size_t w) {
    const auto n = named("subtree", w, 0);
    const Expectation e(arena_.part[w].subtree, subtree_[w]);
    Snapshot s(d_);
    const auto node = s.child(n.key);
    std::optional<std::string> x;
    for (int round = 0; round < 3; ++round) {
      if (!node) break;
      const auto below = s.child("below", *node);
      const auto again = s.get("x", *node);
      if (!again || !below || (round > 0 && again != x))
        throw std::runtime_error(n.key + " is not what it was, in one snapshot");
      x = again;
      const auto all = s.all(*below);
      const auto version = crash::version_of(n.id, *x);
      if (!version || all.size() != *version % 30)
        throw std::runtime_error(n.key + " has " + std::to_string(all.size()) + " keys below in round " +
                                 std::to_string(round) + ", of version " + std::to_string(version.value_or(0)));
      for (const auto& [key, value] : all)
        if (value != *x) throw std::runtime_error(n.key + "/below/" + key + ": mixed versions in a snapshot");
      std::this_thread::sleep_for(std::chrono::microseconds(random_() % 500));
    }
    maybe_absent(n, e, x, subtree_[w]);
    arena_.snapshots.fetch_add(1, std::memory_order_relaxed);
  }
  // Nothing is left out of an iteration, nothing comes twice, and what is there is whole.
  void iterate(std::size_t w) {
    std::vector<Expectation> expected;
    for (std::size_t k = 0; k < permanent; ++k) expected.emplace_back(arena_.part[w].permanent[k], permanent_[w][k]);
    Snapshot s(d_);
    const auto all = s.all();
    for (std::size_t k = 0; k < permanent; ++k) {
      const auto n = named("permanent", w, k);
      const auto found = all.find(n.key);
      present(n, expected[k], found == all.end() ? std::nullopt : std::optional<std::string>(found->second),
              permanent_[w][k]);
    }
    const auto first = all.find(named("group", w, 0).key);
    for (std::size_t i = 1; i < group; ++i) {
      const auto found = all.find(named("group", w, i).key);
      if (found == all.end() || first == all.end() || found->second != first->second)
        throw std::runtime_error("an iteration shows half a transaction");
    }
    arena_.snapshots.fetch_add(1, std::memory_order_relaxed);
  }

  Arena& arena_;
  Dict& d_;
  std::mt19937_64 random_;
  bool views_;
  std::uint64_t permanent_[writers][permanent] = {}, passing_[writers][passing] = {}, group_[writers] = {},
                cleared_[writers] = {}, subtree_[writers] = {};
};

// ---- running ----------------------------------------------------------------------------------------------------------------

template <class Actor>
void act(Arena& arena, const std::string& what, Actor&& actor) {
  try {
    while (!arena.stop) actor.step();
  } catch (const std::exception& e) {
    arena.fail(what + ": " + e.what());
  }
}

// Goes on after that time until there was enough to see.
template <class Enough>
void let_run(Arena& arena, clock_type::duration time, Enough enough) {
  const auto end = clock_type::now() + time;
  support::eventually([&] { return arena.stop || (clock_type::now() >= end && enough()); });
  arena.stop = true;
}
void let_run(Arena& arena, Dict& d) {
  let_run(arena, duration,
          [&] { return arena.writes > 0 && arena.reads > 0 && arena.snapshots > 0 && d.stat().recycles > 0; });
}

void finish(Arena& arena, Dict& d) {
  INFO(arena.message);
  REQUIRE_FALSE(arena.failed);
  CHECK(arena.writes > 0);
  CHECK(arena.reads > 0);
  CHECK(arena.snapshots > 0);
  const auto s = d.stat();
  CHECK(s.recycles > 0); // or nothing was ever reused
  REQUIRE(d.check() == crash::nothing);
  std::cout << arena.writes << " writes, " << arena.reads << " reads, " << arena.snapshots << " snapshots, "
            << arena.busy << " busy; " << s.recycles << " recycles, " << s.splits << " splits, " << s.merges
            << " merges, " << s.cleaned_bytes / 1024 << " KiB cleaned, " << s.memory / 1024 << " KiB in use\n";
}

void run_processes(std::uint32_t reader_flags) {
  crash::Page<Arena> arena;
  const std::string name = support::unique_name("readers");
  Dict d(name, options());
  for (std::size_t w = 0; w < writers; ++w) Writer(*arena, d, w, w).first();
  std::vector<pid_t> children;
  for (std::size_t i = 0; i < writers + 2; ++i)
    children.push_back(crash::spawn([&] {
      auto o = options();
      o.mode = SHMD_OPEN_ONLY;
      if (i >= writers) o.flags = reader_flags;
      try {
        Dict mine(name, o);
        mine.leave_object();
        if (i < writers)
          act(*arena, "writer", Writer(*arena, mine, i, 100 + i));
        else
          act(*arena, "reader", Reader(*arena, mine, 200 + i, reader_flags == 0));
      } catch (const std::exception& e) {
        arena->fail(e.what());
      }
    }));
  let_run(*arena, d);
  for (const pid_t pid : children) CHECK(crash::wait_for(pid) == 0);
  finish(*arena, d);
}

} // namespace

TEST_CASE("threads that read beside writers see whole, present and ever newer values") {
  crash::Page<Arena> arena;
  Dict d(support::unique_name("readers"), options());
  for (std::size_t w = 0; w < writers; ++w) Writer(*arena, d, w, w).first();
  std::vector<std::thread> threads;
  for (std::size_t w = 0; w < writers; ++w)
    threads.emplace_back([&, w] { act(*arena, "writer", Writer(*arena, d, w, 100 + w)); });
  for (std::size_t r = 0; r < 2; ++r)
    threads.emplace_back([&, r] { act(*arena, "reader", Reader(*arena, d, 200 + r, true)); });
  let_run(*arena, d);
  for (auto& t : threads) t.join();
  finish(*arena, d);
}

TEST_CASE("processes that read beside writers see whole, present and ever newer values") { run_processes(0); }

TEST_CASE("read-only processes beside writers see whole, present and ever newer values, or are told to try again") {
  run_processes(SHMD_READ_ONLY);
}

namespace {

// One writer and two readers, threads over one mapping. What throws, fails.
void beside(const std::function<void(Arena&)>& write, const std::function<void(Arena&, std::mt19937_64&)>& read) {
  crash::Page<Arena> arena;
  std::vector<std::thread> threads;
  for (std::size_t i = 0; i < 3; ++i)
    threads.emplace_back([&, i] {
      std::mt19937_64 random(i);
      try {
        while (!arena->stop) {
          if (i == 0)
            write(*arena);
          else
            read(*arena, random);
          (i == 0 ? arena->writes : arena->reads).fetch_add(1, std::memory_order_relaxed);
        }
      } catch (const std::exception& e) {
        arena->fail(e.what());
      }
    });
  let_run(*arena, duration / 2, [&] { return arena->writes > 0 && arena->reads > 0; });
  for (auto& t : threads) t.join();
  INFO(arena->message << "; " << arena->writes << " writes, " << arena->reads << " reads");
  REQUIRE_FALSE(arena->failed);
  CHECK(arena->writes > 0);
  CHECK(arena->reads > 0);
}

} // namespace

// Guards: shmd_recycle() in shmd_segment_allocate() (segment.c): nothing but log segments is reused here.
TEST_CASE("values as large as half a segment are never torn when their segments are reused") {
  auto o = options();
  o.buffer_size = 4096;
  Dict d(support::unique_name("large"), o);
  constexpr std::size_t words = 3800;
  std::vector<std::uint64_t> fresh(words, 1);
  const auto store = [&](std::uint64_t k) { must(shmd_put(d, shmd_root(), &k, 8, fresh.data(), words * 8, 0), "put"); };
  for (std::uint64_t k = 0; k < 2; ++k) store(k);
  std::uint64_t version = 1;
  beside(
      [&](Arena&) {
        std::fill(fresh.begin(), fresh.end(), ++version);
        store(version % 2);
      },
      [&](Arena&, std::mt19937_64& random) {
        thread_local std::vector<std::uint64_t> value(words);
        const std::uint64_t k = random() % 2;
        std::size_t size = 0;
        if (must(shmd_get(d, shmd_root(), &k, 8, value.data(), words * 8, &size), "get") != 0 || size != words * 8)
          throw std::runtime_error("a value has vanished");
        for (const auto w : value)
          if (w != value[0]) throw std::runtime_error("a value is torn");
      });
}

// Guards: shmd_recycle() in shmd_block_allocate() (block.c): one segment holds all records, and dicts only grow and shrink.
TEST_CASE("keys never vanish when their arrays are rebuilt and the old ones reused") {
  auto o = support::small_options(std::uint64_t{1} << 30);
  o.segment_size = std::uint64_t{16} << 20;
  Dict d(support::unique_name("arrays"), o);
  constexpr std::uint64_t stays = 3, comes = 20;
  shmd_node nodes[2];
  for (std::size_t n = 0; n < 2; ++n) nodes[n] = d.child(std::to_string(n));
  for (std::uint64_t k = 0; k < stays; ++k)
    for (const auto& n : nodes) must(shmd_put(d, n, &k, 8, &k, 8, 0), "put");
  beside(
      [&](Arena&) {
        for (const auto& n : nodes)
          for (std::uint64_t k = stays; k < stays + comes; ++k) must(shmd_put(d, n, &k, 8, &k, 8, 0), "put");
        for (const auto& n : nodes)
          for (std::uint64_t k = stays; k < stays + comes; ++k) must(shmd_erase(d, n, &k, 8), "erase");
      },
      [&](Arena&, std::mt19937_64& random) {
        const std::uint64_t k = random() % stays;
        std::uint64_t value = 0;
        std::size_t size = 0;
        for (int i = 0; i < 100; ++i)
          if (must(shmd_get(d, nodes[random() % 2], &k, 8, &value, 8, &size), "get") != 0 || value != k)
            throw std::runtime_error("a key has vanished");
      });
}

// Guards: shmd_lock_quiesce() in take_pin() (snapshot.c): a write that was under way when the pin was stored has not
// seen it, and keeps no older version.
TEST_CASE("a snapshot taken in the middle of a write sees the key before or after it") {
  Dict d(support::unique_name("quiesce"), options());
  const std::string key = "key";
  std::uint64_t version = 0;
  must(shmd_put(d, shmd_root(), key.data(), key.size(), &version, 8, 0), "put");
  beside(
      [&](Arena& arena) {
        if (++version % 1024 == 0) crash::wait_for_snapshots(d, arena.stop);
        must(shmd_put(d, shmd_root(), key.data(), key.size(), &version, 8, 0), "put");
      },
      [&](Arena&, std::mt19937_64&) {
        Snapshot s(d);
        if (!s.get(key)) throw std::runtime_error("the key has vanished");
      });
}

// Guards: lived() in shmd_snapshot_index() (snapshot.c).
TEST_CASE("a snapshot refuses the handle of a dict that was removed before it, also when its id is used again") {
  auto o = options();
  o.buffer_size = 4096;
  Dict d(support::unique_name("handle"), o);
  const auto removed = d.child("first");
  d.put("x", "of the first", removed);
  shmd_snapshot* before = nullptr;
  must(shmd_snapshot_open(d, &before), "snapshot_open");
  d.erase("first");
  char value[64];
  std::size_t size = 0;
  REQUIRE(shmd_snapshot_get(before, removed, "x", 1, value, sizeof value, &size) == 0);
  REQUIRE(std::string(value, size) == "of the first");
  shmd_snapshot_close(before);
  {
    Snapshot at_once(d);
    REQUIRE_THROWS(at_once.get("x", removed));
  }
  REQUIRE(shmd_compact(d) == 0);
  bool reused = false;
  for (int i = 0; i < 200 && !reused; ++i) {
    d.put("filler", std::string(3000, 'x'));
    const auto n = d.child(std::to_string(i));
    d.put("x", "of another", n);
    reused = n.id == removed.id;
  }
  REQUIRE(reused);
  Snapshot later(d);
  REQUIRE_THROWS(later.get("x", removed));
  REQUIRE_THROWS(later.all(removed));
}

// Guards: shmd_pin_position() (snapshot.c, segment.c): a revoked pin in the same process leaves the younger ones in force.
TEST_CASE("a young snapshot stays right beside an old one that is revoked") {
  auto o = options();
  o.buffer_size = 4096;
  o.max_pin_bytes = 262144;
  Dict d(support::unique_name("revoked"), o);
  const auto write = [&d](std::uint64_t from, std::uint64_t to) {
    for (std::uint64_t i = from; i < to; ++i) d.put(std::to_string(i % 20), crash::value_of(1000, i));
  };
  write(0, 20);
  Snapshot old(d);
  write(20, 220);
  Snapshot young(d);
  const auto expected = young.all();
  int seen = 0, revoked = 0;
  for (std::uint64_t i = 220; i < 1500; i += 20) {
    write(i, i + 20);
    try {
      if (young.all() != expected) throw std::logic_error("the young snapshot has changed");
      ++seen;
    } catch (const std::runtime_error&) {
      REQUIRE(shmd_last_error()->code == SHMD_ERR_SNAPSHOT_TOO_OLD);
      ++revoked;
    }
  }
  REQUIRE_THROWS(old.all());
  REQUIRE(seen > 2); // it was not revoked together with the old one
  REQUIRE(revoked > 0);
  REQUIRE(d.check() == crash::nothing);
}

// Every epoch begins with a clear of the root and goes on with `permanent` keys, put one by one.
TEST_CASE("readers beside clears of the root see each epoch's values or none, and snapshots keep theirs") {
  crash::Page<Arena> arena;
  Dict d(support::unique_name("readers"), options());
  Versions& epoch = arena->part[0].group;
  std::vector<std::thread> threads;
  threads.emplace_back([&] {
    try {
      while (!arena->stop) {
        const auto e = begin_version(epoch);
        if (e % 256 == 0) crash::wait_for_snapshots(d, arena->stop);
        must(shmd_clear(d, shmd_root(), nullptr), "clear");
        epoch.acknowledged = e;
        for (std::size_t k = 0; k < permanent; ++k) d.put(std::to_string(k), crash::version_value(7, e));
        arena->writes.fetch_add(1);
      }
    } catch (const std::exception& e) {
      arena->fail(std::string("writer: ") + e.what());
    }
  });
  for (std::size_t r = 0; r < 2; ++r)
    threads.emplace_back([&, r] {
      std::mt19937_64 random(r);
      std::uint64_t seen = 0;
      try {
        while (!arena->stop) {
          if (random() % 8 != 0) {
            const Expectation e(epoch, seen);
            const auto value = d.get(std::to_string(random() % permanent));
            arena->reads.fetch_add(1, std::memory_order_relaxed);
            if (!value) continue;
            const auto version = crash::version_of(7, *value);
            if (!version || !e.allows_version(*version)) throw std::runtime_error("torn, or not in " + e.range());
            seen = std::max(seen, *version);
          } else {
            const Expectation e(epoch, 0);
            Snapshot s(d);
            const auto once = s.all();
            std::this_thread::sleep_for(std::chrono::microseconds(random() % 400));
            const auto twice = s.all();
            if (once != twice)
              throw std::runtime_error("a snapshot showed " + std::to_string(once.size()) + " keys and then " +
                                       std::to_string(twice.size()));
            for (const auto& [key, value] : once) {
              if (value != once.begin()->second) throw std::runtime_error("a snapshot mixes epochs");
              if (std::stoull(key) >= once.size()) throw std::runtime_error("a snapshot shows a later put only");
            }
            const auto version =
                once.empty() ? std::optional<std::uint64_t>() : crash::version_of(7, once.begin()->second);
            if (!once.empty() && (!version || !e.allows_version(*version)))
              throw std::runtime_error("a snapshot shows an epoch not in " + e.range());
            arena->snapshots.fetch_add(1, std::memory_order_relaxed);
          }
        }
      } catch (const std::exception& e) {
        arena->fail(std::string("reader: ") + e.what());
      }
    });
  let_run(*arena, d);
  for (auto& t : threads) t.join();
  finish(*arena, d);
}
