// SPDX-License-Identifier: Apache-2.0
// Kills a process at every store to shared memory that an operation makes, and looks at what it left.
//
// The library's crash build calls shmd_crash_point() before each store (atomics.h). A dry run in a child counts the stores
// of the operation and notes the place in the code of each; then each place's first 50 occurrences are killed, one
// child per point, on a dict set up anew. After each kill a survivor (attached before) and a newcomer (another process,
// attaches afterwards), in either order, must find: every acknowledged step; the interrupted one whole or absent, the same
// for both; counts right; shmd_check clean; the dict writable. For some of the points - all of short operations - the
// one who repairs is killed too, at every store of the repair, one after the other.
//
// Guards: the seven steps of redo.h. Each of these, taken out, fails here: the store of redo_length before a commit is applied
// (redo.c; overwrite.h has its own); the store of 0 after it; any pass of the apply() of shmd_engine_recover(), its store of 0,
// its store of `published`; shmd_tx_set() of any word, made a direct store (the count of a dict, for one), unless it is a
// starred word of layout.h.
#include <shmdict/layout.h>

#include <iomanip>
#include <iostream>
#include <memory>
#include <sstream>

#include "crash_points_counts.hpp"
#include "multiprocess/crash_support.hpp"
#include "support/catch.hpp"

// The linker leads the library's source of random numbers here: with one hash seed an operation always makes the same
// stores. Ids still differ.
extern "C" int __wrap_shmd_os_random(void* buffer, std::size_t size) {
  static std::uint64_t counter = 0;
  std::uint64_t words[3] = {static_cast<std::uint64_t>(::getpid()) << 32 | ++counter, counter, 0x5eed};
  std::memset(buffer, 0, size);
  std::memcpy(buffer, words, std::min(size, sizeof words));
  return 0;
}

namespace {

using crash::Path;
using crash::Progress;
using crash::Tree;
using crash::value_of;
using crash::World;
using support::Dict;

constexpr std::size_t occurrences = crash::sanitized ? 1 : 50;        // of one place in the code
constexpr std::size_t all_repairs_up_to = crash::sanitized ? 0 : 110; // stores: every point has its repairs killed too
constexpr std::size_t some_repairs = crash::sanitized ? 1 : 40;       // points of a longer operation that have

struct Scenario {
  shmd_options options;
  std::function<void(World&)> setup;
  std::function<void(World&)> operation;
  bool snapshot = false; // the survivor holds one meanwhile
  bool fill = false;     // the survivor then fills segments, which shows whether what the dead one took was given back
};

shmd_options small() {
  shmd_options o = support::small_options(std::uint64_t{16} << 20);
  o.segment_size = 65536;
  o.buffer_size = 8192;
  o.timeout = UINT64_C(5000000000);
  o.unlink = SHMD_UNLINK_NEVER;
  o.mode = SHMD_CREATE_ONLY;
  return o;
}

// ---- children that die ----------------------------------------------------------------------------------------------

Progress* tracing;
void trace(const void* where) {
  if (tracing->sites < Progress::max_sites) tracing->site[tracing->sites++] = where;
}

// Runs `body` in a child that dies at its n-th store (0: never). False if it ended before that.
bool killed_at(std::uint64_t n, Progress& progress, const std::function<void()>& body) {
  progress.acknowledged = 0;
  progress.ended = 0;
  progress.message[0] = '\0';
  const int status = crash::wait_for(crash::spawn([&] {
    try {
      if (n == 0) {
        progress.sites = 0;
        tracing = &progress;
        shmd_crash_trace = trace;
      }
      shmd_crash_count = 0;
      shmd_crash_at = n;
      body();
      shmd_crash_at = 0;
      shmd_crash_trace = nullptr;
      progress.points = shmd_crash_count;
      progress.ended = 1;
      ::raise(SIGKILL); // faster than any exit
    } catch (const std::exception& e) {
      progress.fail(e.what());
      throw;
    }
  }));
  if (progress.ended == 1) return false;
  if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
    throw std::runtime_error("the child ended with " + crash::describe_end(status) + ": " + progress.failure());
  return true;
}

// Which stores of the dry run to kill: each place's first occurrences.
std::vector<std::uint64_t> chosen_points(const Progress& progress) {
  std::map<const void*, std::size_t> seen;
  std::vector<std::uint64_t> points;
  for (std::uint64_t i = 0; i < progress.sites; ++i)
    if (++seen[progress.site[i]] <= occurrences) points.push_back(i + 1);
  return points;
}

std::string place(const Progress& progress, std::uint64_t n) {
  extern const char image_start[] __asm__("__executable_start");
  std::ostringstream text;
  text << "store " << n << " at +0x" << std::hex
       << reinterpret_cast<std::uintptr_t>(progress.site[n - 1]) - reinterpret_cast<std::uintptr_t>(image_start);
  return text.str();
}

void compare_count(const std::string& name, std::uint64_t points) {
  const auto stored = crash_points::counts.find(name);
  const std::uint64_t expected = stored == crash_points::counts.end() ? 0 : stored->second;
  INFO("'" << name << "' makes " << points << " stores, crash_points_counts.hpp says " << expected
           << ". If the change is meant, put the line printed above there.");
  if (points != expected) std::cout << "    {\"" << name << "\", " << points << "},\n";
  CHECK(points == expected);
}

// ---- a process that was never attached -------------------------------------------------------------------------------

struct Request {
  char command; // 'n' attach, inspect, detach; 'h' attach and hold; 'i' inspect what is held; 'd' detach
  char name[208];
  std::uint64_t first, last;
  int how;
};
struct Answer {
  std::uint64_t first, last;
  char wrong[512];
};

class Newcomer {
 public:
  explicit Newcomer(const std::vector<Tree>& history) {
    if (::pipe(in_) != 0 || ::pipe(out_) != 0) throw std::runtime_error("pipe");
    pid_ = ::fork();
    if (pid_ == 0) {
      ::close(in_[1]);
      ::close(out_[0]);
      serve(history);
      ::_exit(0);
    }
    ::close(in_[0]);
    ::close(out_[1]);
  }
  ~Newcomer() {
    ::close(in_[1]);
    ::close(out_[0]);
    ::kill(pid_, SIGKILL);
    crash::wait_for(pid_);
  }
  Newcomer(const Newcomer&) = delete;
  Newcomer& operator=(const Newcomer&) = delete;

  std::string ask(char command, const std::string& name, std::size_t& first, std::size_t& last,
                  crash::Repair how = crash::Repair::try_lock) {
    Request q = {};
    q.command = command;
    q.first = first;
    q.last = last;
    q.how = static_cast<int>(how);
    std::snprintf(q.name, sizeof q.name, "%s", name.c_str());
    Answer answer = {};
    if (::write(in_[1], &q, sizeof q) != sizeof q || ::read(out_[0], &answer, sizeof answer) != sizeof answer)
      return "the newcomer ended";
    first = answer.first;
    last = answer.last;
    return answer.wrong;
  }

 private:
  void serve(const std::vector<Tree>& history) {
    Request q;
    shmd_dict* held = nullptr;
    while (::read(in_[0], &q, sizeof q) == sizeof q) {
      ::alarm(300);
      Answer answer = {};
      std::size_t first = q.first, last = q.last;
      std::string wrong;
      shmd_dict* d = held;
      if (q.command == 'n' || q.command == 'h') {
        shmd_options o = small();
        o.mode = SHMD_OPEN_ONLY;
        if (shmd_open(q.name, &o, &d) < 0) wrong = std::string("open: ") + shmd_last_error()->message;
      }
      if (q.command == 'h') held = d;
      if (wrong.empty() && (q.command == 'n' || q.command == 'i'))
        wrong = crash::inspect(d, history, first, last, static_cast<crash::Repair>(q.how));
      if (q.command == 'n' || q.command == 'd') shmd_close(d);
      if (q.command == 'd') held = nullptr;
      answer.first = first;
      answer.last = last;
      std::snprintf(answer.wrong, sizeof answer.wrong, "%s", wrong.c_str());
      if (::write(out_[1], &answer, sizeof answer) != sizeof answer) return;
    }
  }

  int in_[2], out_[2];
  pid_t pid_;
};

// ---- one scenario -----------------------------------------------------------------------------------------------------

struct Tally {
  std::size_t kills = 0, locked = 0, repairs_killed = 0;
  void print(const std::string& name, std::uint64_t points) const {
    std::cout << std::left << std::setw(64) << name << std::right << std::setw(7) << points << " stores" << std::setw(6)
              << kills << " kills" << std::setw(6) << locked << " with the lock" << std::setw(6) << repairs_killed
              << " of repairs\n";
  }
};

// Kills those who repair, one at each store of the repair; the last one gets through.
void kill_repairs(shmd_dict* d, Progress& progress, Tally& tally) {
  for (std::uint64_t m = 1;; ++m) {
    if (!killed_at(m, progress, [&] { crash::repair(d, crash::Repair::try_lock); })) return;
    ++tally.repairs_killed;
  }
}

struct Rig {
  Dict d;
  World world;
  shmd_snapshot* snapshot = nullptr;
  explicit Rig(const Scenario& s) : d(support::unique_name("crash"), s.options), world(d) {
    s.setup(world);
    if (s.snapshot) support::must(shmd_snapshot_open(d, &snapshot), "snapshot_open");
  }
  ~Rig() { shmd_snapshot_close(snapshot); }
  Rig(const Rig&) = delete;
  Rig& operator=(const Rig&) = delete;
};

std::string number(std::size_t i) { return "key" + std::to_string(i); }

void put_many(World& w, std::size_t from, std::size_t to, std::size_t size, const Path& parent = {}) {
  for (std::size_t i = from; i < to; ++i) {
    Path path = parent;
    path.push_back(number(i));
    w.put(path, value_of(size, i));
  }
}

void run(const Scenario& s) {
  const std::string name = Catch::getResultCapture().getCurrentTestName();
  crash::Page<Progress> progress;
  World model;
  {
    Rig rig(s);
    REQUIRE_FALSE(killed_at(0, *progress, [&] {
      World child(rig.d, &*progress);
      child.tree = rig.world.tree;
      s.operation(child);
    }));
    model.tree = rig.world.tree;
    REQUIRE(progress->sites < Progress::max_sites);
  }
  model.record = true;
  model.history.push_back(model.tree);
  s.operation(model);
  const std::uint64_t total = progress->points;
  compare_count(name, total);
  const auto points = chosen_points(*progress);
  const std::size_t every = total <= all_repairs_up_to ? 1 : points.size() / some_repairs + 1;

  Newcomer newcomer(model.history);
  crash::Page<Progress> repairs;
  Tally tally;
  for (std::size_t i = 0; i < points.size(); ++i) {
    const std::uint64_t n = points[i];
    INFO(place(*progress, n) << " of " << total);
    Rig rig(s);
    REQUIRE(killed_at(n, *progress, [&] {
      World child(rig.d, &*progress);
      child.tree = rig.world.tree;
      s.operation(child);
    }));
    ++tally.kills;
    shmd_lock_info lock;
    REQUIRE(shmd_lock_status(rig.d, &lock) == 0);
    tally.locked += lock.held != 0;
    if (lock.held) REQUIRE_FALSE(lock.alive);
    std::size_t first = progress->acknowledged, last = std::min<std::size_t>(first + 1, model.history.size() - 1);
    if (i % every == 0 && lock.held) kill_repairs(rig.d, *repairs, tally);
    // now and then the way of those who do not ask first, and so wait a few milliseconds
    const auto how = n % 64 == 0    ? crash::Repair::write
                     : n % 64 == 32 ? crash::Repair::snapshot
                                    : crash::Repair::try_lock;
    if (n % 2 == 0) {
      REQUIRE("survivor: " + crash::inspect(rig.d, model.history, first, last, how) == "survivor: ");
      REQUIRE("newcomer: " + newcomer.ask('n', rig.d.name(), first, last) == "newcomer: ");
    } else {
      REQUIRE("newcomer: " + newcomer.ask('n', rig.d.name(), first, last, how) == "newcomer: ");
      REQUIRE("survivor: " + crash::inspect(rig.d, model.history, first, last, crash::Repair::try_lock) ==
              "survivor: ");
    }
    if (s.fill) {
      World w(rig.d);
      put_many(w, 1000, 1080, 9000);
      REQUIRE("filled: " + crash::findings(rig.d) == "filled: ");
      crash::compare_reads(rig.d, w.tree, shmd_root(), true);
      for (std::size_t k = 1000; k < 1080; ++k) w.erase({number(k)});
      REQUIRE("emptied: " + crash::findings(rig.d) == "emptied: ");
      crash::compare_reads(rig.d, model.history[first]);
    }
    if (rig.snapshot) {
      REQUIRE("snapshot: " + crash::difference(crash::dump(rig.snapshot), model.history[0]) == "snapshot: ");
      shmd_snapshot_close(rig.snapshot);
      rig.snapshot = nullptr;
      REQUIRE("after the snapshot: " + crash::inspect(rig.d, model.history, first, last, crash::Repair::try_lock) ==
              "after the snapshot: ");
    }
  }
  tally.print(name, total);
}

// How many times `step` is done on a dict after `setup` until `reached`: the operation that follows is the one before it.
std::size_t steps_until(const shmd_options& options, const std::function<void(World&)>& setup,
                        const std::function<void(World&, std::size_t)>& step,
                        const std::function<bool(const shmd_stats& before, const shmd_stats& now)>& reached) {
  Dict d(support::unique_name("crash.search"), options);
  World w(d);
  setup(w);
  for (std::size_t i = 0; i < 100000; ++i) {
    const shmd_stats before = w.stat();
    step(w, i);
    if (reached(before, w.stat())) return i;
  }
  throw std::runtime_error("the state looked for was not reached");
}

// `setup`, then `step` again and again up to the one that makes `reached` true: this one, and `more` after it, are killed.
Scenario at_step(const shmd_options& options, const std::function<void(World&)>& setup,
                 const std::function<void(World&, std::size_t)>& step,
                 const std::function<bool(const shmd_stats& before, const shmd_stats& now)>& reached,
                 std::size_t more = 0) {
  const std::size_t k = steps_until(options, setup, step, reached);
  Scenario s;
  s.options = options;
  s.setup = [=](World& w) {
    setup(w);
    for (std::size_t i = 0; i < k; ++i) step(w, i);
  };
  s.operation = [=](World& w) {
    for (std::size_t i = k; i <= k + more; ++i) step(w, i);
  };
  return s;
}

void nothing(World&) {}

// A dict with a few values and two nested dicts, one of them with a dict of its own.
void a_tree(World& w) {
  put_many(w, 0, 3, 20);
  w.create({"de"});
  w.put({"de", "berlin"}, "1");
  w.put({"de", "bonn"}, "2");
  w.create({"de", "districts"});
  put_many(w, 0, 6, 30, {"de", "districts"});
  w.create({"fr"});
  w.put({"fr", "paris"}, "3");
}

} // namespace

// ---- values -------------------------------------------------------------------------------------------------------------

TEST_CASE("killed anywhere in the first put of all") {
  run({small(), nothing, [](World& w) { w.put({"a"}, "1"); }});
}
TEST_CASE("killed anywhere in a put of a new key") {
  run({small(), [](World& w) { put_many(w, 0, 2, 20); }, [](World& w) { w.put({"new"}, value_of(20, 9)); }});
}
TEST_CASE("killed anywhere in an overwrite") {
  run({small(), [](World& w) { put_many(w, 0, 3, 20); }, [](World& w) { w.put({number(1)}, value_of(20, 9)); }});
}
TEST_CASE("killed anywhere in an overwrite with a larger value") {
  run({small(), [](World& w) { put_many(w, 0, 3, 20); }, [](World& w) { w.put({number(1)}, value_of(9000, 9)); }});
}
TEST_CASE("killed anywhere in a put larger than a segment, and in one that replaces it") {
  run({small(), [](World& w) { put_many(w, 0, 3, 20); },
       [](World& w) {
         w.put({number(1)}, value_of(150000, 9));
         w.put({number(1)}, value_of(20, 10));
         w.put({number(2)}, value_of(40000, 11));
       }});
}
TEST_CASE("killed anywhere in an erase") {
  run({small(), [](World& w) { put_many(w, 0, 3, 20); }, [](World& w) { w.erase({number(1)}); }});
}
TEST_CASE("killed anywhere in the erase of the last key") {
  run({small(), [](World& w) { put_many(w, 0, 1, 20); }, [](World& w) { w.erase({number(0)}); }});
}
TEST_CASE("killed anywhere in an addition") {
  run({small(), [](World& w) { w.put({"n"}, "41"); },
       [](World& w) {
         w.add({"n"}, 1);
         w.add({"fresh"}, 7);
       }});
}
TEST_CASE("killed anywhere in a locked section") {
  run({small(), [](World& w) { put_many(w, 0, 3, 20); },
       [](World& w) {
         w.lock();
         w.put({number(0)}, "x");
         w.erase({number(1)});
         w.unlock();
       }});
}

// Guards: shmd_lock_adopt() in shmd_slot_take() (slot.c). Whoever attaches gets the dead owner's slot: there is no other.
TEST_CASE("killed anywhere in a put, and only the dead one's slot is free") {
  auto options = small();
  options.max_processes = 2;
  run({options, [](World& w) { put_many(w, 0, 3, 20); }, [](World& w) { put_many(w, 2, 5, 20); }});
}

// ---- nested dicts -------------------------------------------------------------------------------------------------------

TEST_CASE("killed anywhere in the creation of a nested dict") {
  run({small(), a_tree, [](World& w) { w.create({"it"}); }});
}
TEST_CASE("killed anywhere in the creation of several levels and a value in one transaction") {
  run({small(), a_tree, [](World& w) {
         w.begin();
         w.create({"it"});
         w.create({"it", "cities"});
         w.put({"it", "cities", "rome"}, "4");
         w.commit();
       }});
}
TEST_CASE("killed anywhere in the replacement of a nested dict") {
  run({small(), a_tree, [](World& w) { w.replace({"de"}); }});
}
TEST_CASE("killed anywhere in the erase of a subtree") {
  run({small(), a_tree, [](World& w) { w.erase({"de"}); }});
}
TEST_CASE("killed anywhere in a put over a subtree and in a dict over a value") {
  run({small(), a_tree, [](World& w) {
         w.put({"de"}, "now a value");
         w.replace({number(0)});
       }});
}
TEST_CASE("killed anywhere in the clear of a nested dict") {
  run({small(), a_tree, [](World& w) { w.clear({"de"}); }});
}
TEST_CASE("killed anywhere in the clear of the root") {
  run({small(), a_tree, [](World& w) { w.clear({}); }});
}
TEST_CASE("killed anywhere in the sweep of many subtrees") {
  run({small(),
       [](World& w) {
         w.create({"top"});
         for (std::size_t i = 0; i < 12; ++i) {
           w.create({"top", number(i)});
           put_many(w, 0, i, 50, {"top", number(i)});
         }
         put_many(w, 100, 110, 20);
       },
       [](World& w) {
         w.erase({"top"});
         w.put({"after"}, "1");
       }});
}
TEST_CASE("killed anywhere in the reuse of a swept dict's id") {
  auto options = small();
  options.buffer_size = 4096;
  const auto step = [](World& w, std::size_t i) {
    if (i % 3 == 0) w.create({"again"});
    if (i % 3 == 1) w.put({"again", "value"}, value_of(5000, i));
    if (i % 3 == 2) w.erase({"again"});
  };
  run(at_step(
      options, a_tree, step,
      [](const shmd_stats& before, const shmd_stats& now) { return now.position > 150000 && now.nodes > before.nodes; },
      3));
  Dict d(support::unique_name("crash"), options);
  World w(d);
  a_tree(w);
  for (std::size_t i = 0; i < 121; ++i) step(w, i);
  REQUIRE(d.child("again").id < 30); // or no id was used again
}

// ---- the index ------------------------------------------------------------------------------------------------------------

// The first `count` keys of 8 bytes whose hashes have `bits` where `mask` has bits.
std::vector<std::string> keys_with(std::uint32_t mask, std::uint32_t bits, std::size_t count) {
  std::vector<std::string> found;
  for (std::uint64_t k = 0; found.size() < count; ++k)
    if ((static_cast<std::uint32_t>(shmd_hash_u64(0x5eed, k)) & mask) == bits)
      found.emplace_back(reinterpret_cast<const char*>(&k), 8);
  return found;
}

TEST_CASE("killed anywhere in the growth of a small array") {
  run({small(), [](World& w) { put_many(w, 0, 3, 20); }, [](World& w) { put_many(w, 3, 7, 20); }});
}
TEST_CASE("killed anywhere in the growth of an array that is full of tombstones") {
  // Twelve keys fill the first of two groups and run over; what is erased of them leaves tombstones, for others follow. A
  // key of the second group meets none of them, but they count.
  static const auto first = keys_with(8, 0, 12), second = keys_with(8, 8, 1);
  run({small(),
       [](World& w) {
         for (const auto& key : first) w.put({key}, "v");
         for (std::size_t i = 0; i < 8; ++i) w.erase({first[i]});
       },
       [](World& w) { w.put({second[0]}, "v"); }});
}
TEST_CASE("killed anywhere in the split of an array") {
  run(at_step(
      small(), nothing, [](World& w, std::size_t i) { put_many(w, i, i + 1, 8); },
      [](const shmd_stats& before, const shmd_stats& now) { return now.splits > before.splits; }));
}
TEST_CASE("killed anywhere in the doubling of a directory") {
  run(at_step(
      small(), nothing, [](World& w, std::size_t i) { put_many(w, i, i + 1, 8); },
      [](const shmd_stats& before, const shmd_stats& now) {
        return now.splits > before.splits && before.splits == 1;
      }));
}
TEST_CASE("killed anywhere in thirteen splits at once and a directory below a full one") {
  // keys whose hashes share the bits that lead to an array below a full directory
  constexpr unsigned shared = SHMD_DIRECTORY_LOG2 + 1;
  static const auto keys = keys_with(~std::uint32_t{0} << (32 - shared), std::uint32_t{5} << (32 - shared), 500);
  run(at_step(
      small(), nothing, [](World& w, std::size_t i) { w.put({keys.at(i)}, "v"); },
      [](const shmd_stats& before, const shmd_stats& now) { return now.splits > before.splits; }));
}
TEST_CASE("killed anywhere in the merge of two arrays") {
  run(at_step(
      small(), [](World& w) { put_many(w, 0, 400, 8); }, [](World& w, std::size_t i) { w.erase({number(i)}); },
      [](const shmd_stats& before, const shmd_stats& now) { return now.merges > before.merges; }));
}
TEST_CASE("killed anywhere in the shrinking of an array") {
  run(at_step(
      small(), [](World& w) { put_many(w, 0, 300, 8); }, [](World& w, std::size_t i) { w.erase({number(i)}); },
      [](const shmd_stats& before, const shmd_stats& now) { return now.index_bytes < before.index_bytes; }));
}

// ---- the log and its reclaim ------------------------------------------------------------------------------------------------

TEST_CASE("killed anywhere in a segment change") {
  run(at_step(
      small(), nothing, [](World& w, std::size_t i) { w.put({number(i % 8)}, value_of(1500, i)); },
      [](const shmd_stats& before, const shmd_stats& now) { return now.log_bytes > before.log_bytes; }));
}
// Values overwritten again and again between values that stay: segments die slowly.
void churn(World& w, std::size_t i) {
  if (i % 6 == 5)
    w.put({"stays" + std::to_string(i)}, value_of(3000, i));
  else
    w.put({number(i % 6)}, value_of(3000, i));
}
TEST_CASE("killed anywhere in the cleaning of a segment") {
  run(at_step(
      small(), nothing, churn,
      [](const shmd_stats& before, const shmd_stats& now) { return now.cleaned_bytes > before.cleaned_bytes; }, 2));
}
TEST_CASE("killed anywhere in the end of a cleaning") {
  run(at_step(
      small(), nothing, churn,
      [](const shmd_stats& before, const shmd_stats& now) {
        return now.cleaned_bytes > 0 && now.log_bytes < before.log_bytes;
      },
      1));
}
TEST_CASE("killed anywhere in the freeing of a segment") {
  run(at_step(
      small(), [](World& w) { put_many(w, 0, 60, 3000); },
      [](World& w, std::size_t i) { w.put({number(i * 7 % 60)}, value_of(3000, i)); },
      [](const shmd_stats& before, const shmd_stats& now) { return now.log_bytes < before.log_bytes; }, 1));
}
TEST_CASE("killed anywhere in the return of a large value's memory") {
  run({small(),
       [](World& w) {
         w.put({"large"}, value_of(200000, 1));
         put_many(w, 0, 6, 3000);
         w.put({"large"}, "small");
       },
       [](World& w) { put_many(w, 6, 12, 3000); }});
}
// Guards: shmd_segment_forget() in shmd_engine_recover() (redo.c), and that shmd_segment_settle() (segment.c) frees a run
// segment by segment. The second run begins within an extent. If its memory were not given back, the segment that comes
// to lie there would seem to be longer than it is, and its trim would take the first bytes of the next one.
TEST_CASE("killed anywhere in a transaction that takes two runs out of one extent") {
  Scenario s = {small(),
                [](World& w) {
                  put_many(w, 0, 4, 3000);
                  w.put({"large"}, value_of(450000, 1));
                  w.erase({"large"});
                  for (std::size_t i = 0; i < 40; ++i) w.put({number(i % 2)}, value_of(3000, i));
                },
                [](World& w) {
                  w.begin();
                  w.put({"one"}, value_of(70000, 3));
                  w.put({"two"}, value_of(70000, 4));
                  w.commit();
                }};
  s.fill = true;
  run(s);
}
// Guard: freed_take() relinks the freed queue by the redo list, as all lists.
TEST_CASE("killed anywhere in a write that uses a freed run again, from behind another") {
  shmd_segment_grace = UINT64_MAX; // nothing is given back meanwhile
  run({small(),
       [](World& w) {
         w.put({"longer"}, value_of(150000, 1));
         w.put({"large"}, value_of(100000, 2));
         w.put({"longer"}, "small");
         w.put({"large"}, "small");
         put_many(w, 0, 8, 3000);
       },
       [](World& w) {
         w.put({"next"}, value_of(100000, 3));
         put_many(w, 8, 10, 3000);
       }});
  shmd_segment_grace = 0;
}
TEST_CASE("killed anywhere in compact") {
  run({small(),
       [](World& w) {
         for (std::size_t i = 0; i < 200; ++i) w.put({number(i * 7 % 40)}, value_of(3000, i));
         for (std::size_t i = 0; i < 40; i += 2) w.erase({number(i)});
       },
       [](World& w) { w.compact(); }});
}
TEST_CASE("killed anywhere in the compaction of index segments") {
  run({small(),
       [](World& w) {
         put_many(w, 0, 2, 20);
         w.begin();
         for (std::size_t i = 0; i < 1500; ++i) {
           w.create({"n" + std::to_string(i)});
           w.put({"n" + std::to_string(i), "v"}, "1");
         }
         w.commit();
         w.begin();
         for (std::size_t i = 0; i < 1500; ++i)
           if (i % 100 != 0) w.erase({"n" + std::to_string(i)});
         w.commit();
       },
       [](World& w) { w.compact(); }});
}

// ---- transactions and snapshots -------------------------------------------------------------------------------------------

TEST_CASE("killed anywhere in a transaction over values and dicts") {
  run({small(), a_tree, [](World& w) {
         w.begin();
         w.put({number(0)}, value_of(50, 1));
         w.erase({number(1)});
         w.put({"de", "berlin"}, "11");
         w.create({"it"});
         w.put({"it", "rome"}, "4");
         w.erase({"fr"});
         w.add({"de", "bonn"}, 5);
         w.commit();
       }});
}
TEST_CASE("killed anywhere in an update and a transaction that a serializer refuses") {
  run({small(), a_tree, [](World& w) {
         w.refuse({number(0)});
         w.begin();
         w.put({number(0)}, value_of(50, 1));
         w.create({"it"});
         w.refuse({"de", "bonn"});
         w.abort();
         w.put({"after"}, "1");
       }});
}
TEST_CASE("killed anywhere in a transaction that is as long as to grow its redo list's memory") {
  run({small(), [](World& w) { put_many(w, 0, 1200, 20); },
       [](World& w) {
         w.begin();
         put_many(w, 0, 1200, 40); /* a word of the list for each: new ones need less */
         w.commit();
       }});
}
namespace {
std::vector<std::pair<std::string, std::string>> entries(std::size_t from, std::size_t to, std::size_t size) {
  std::vector<std::pair<std::string, std::string>> all;
  for (std::size_t k = from; k < to; ++k) all.emplace_back(number(k), value_of(size, k));
  return all;
}
} // namespace
TEST_CASE("killed anywhere in a batch over old keys, new keys and a dict") {
  run({small(), a_tree, [](World& w) {
         auto all = entries(0, 12, 30);
         all.emplace_back("de", "no dict any more");
         all.emplace_back(number(3), "twice");
         w.put_all({}, all);
       }});
}
TEST_CASE("killed anywhere in a batch that lets a nested dict grow and split") {
  run({small(), a_tree, [](World& w) { w.put_all({"de", "districts"}, entries(3, 500, 10)); }});
}
TEST_CASE("killed anywhere in batches within a transaction, and while a snapshot is held") {
  Scenario s = {small(), a_tree, [](World& w) {
                  w.put_all({}, entries(0, 5, 30));
                  w.begin();
                  w.put_all({}, entries(2, 8, 40));
                  w.erase({number(3)});
                  w.put_all({}, entries(3, 5, 9000));
                  w.commit();
                }};
  s.snapshot = true;
  run(s);
}
TEST_CASE("killed anywhere in writes while a snapshot is held") {
  Scenario s = {small(), a_tree, [](World& w) {
                  w.erase({number(1)});
                  w.put({number(0)}, "x");
                  w.erase({"de", "bonn"});
                  w.erase({"fr"});
                  w.put({number(1)}, "again");
                }};
  s.snapshot = true;
  run(s);
}
TEST_CASE("killed anywhere in the clear of the root while a snapshot is held") {
  Scenario s = {small(), a_tree, [](World& w) {
                  w.clear({});
                  put_many(w, 50, 52, 20);
                  w.clear({});
                }};
  s.snapshot = true;
  run(s);
}
TEST_CASE("killed anywhere in the end of ghosts") {
  run({small(),
       [](World& w) {
         a_tree(w);
         shmd_snapshot* s = nullptr;
         if (w.dict()) support::must(shmd_snapshot_open(w.dict(), &s), "snapshot_open");
         w.erase({number(1)});
         w.erase({"de", "bonn"});
         w.erase({number(2)});
         shmd_snapshot_close(s);
       },
       [](World& w) { put_many(w, 10, 12, 3000); }});
}

// ---- coming and going -----------------------------------------------------------------------------------------------------

namespace {

std::string object_path(const std::string& name) { return "/dev/shm/shmdict." + name; }
bool exists(const std::string& name) { return ::access(object_path(name).c_str(), F_OK) == 0; }

// Runs `body` in a child killed at each of its stores; `before` makes the state, `after` looks at it and cleans up.
void run_cold(const std::function<void(const std::string&)>& before,
              const std::function<void(const std::string&, Progress&)>& body,
              const std::function<void(const std::string&, std::size_t acknowledged)>& after) {
  const std::string test = Catch::getResultCapture().getCurrentTestName();
  crash::Page<Progress> progress;
  Tally tally;
  std::string name = support::unique_name("crash");
  before(name);
  REQUIRE_FALSE(killed_at(0, *progress, [&] { body(name, *progress); }));
  after(name, progress->acknowledged);
  const std::uint64_t total = progress->points;
  compare_count(test, total);
  for (const std::uint64_t n : chosen_points(*progress)) {
    INFO(place(*progress, n) << " of " << total);
    name = support::unique_name("crash");
    before(name);
    REQUIRE(killed_at(n, *progress, [&] { body(name, *progress); }));
    ++tally.kills;
    after(name, progress->acknowledged);
  }
  tally.print(test, total);
}

shmd_options opened(int mode, int unlink) {
  auto o = small();
  o.mode = mode;
  o.unlink = unlink;
  return o;
}

} // namespace

// Guards: the creator builds a nameless object and names it last (object.c, attach.c: create_steps).
TEST_CASE("killed anywhere in a creation") {
  const auto fill = [](shmd_dict* d, void*) {
    World w(d);
    w.put({"a"}, "1");
    w.put({"b"}, "2");
    return 0;
  };
  Tree two;
  two.values = {{"a", "1"}, {"b", "2"}};
  const std::vector<Tree> history = {two};
  Newcomer newcomer(history);
  run_cold([](const std::string&) {},
           [&](const std::string& name, Progress& progress) {
             auto o = opened(SHMD_CREATE_ONLY, SHMD_UNLINK_NEVER);
             o.init = fill;
             shmd_dict* d = nullptr;
             support::must(shmd_open(name.c_str(), &o, &d), "open");
             progress.acknowledged = 1;
           },
           [&](const std::string& name, std::size_t acknowledged) {
             if (acknowledged) REQUIRE(exists(name));
             auto o = opened(SHMD_OPEN_OR_CREATE, SHMD_UNLINK_NEVER);
             o.init = fill;
             std::size_t first = 0, last = 0;
             Dict d(name, o);
             REQUIRE(crash::inspect(d, history, first, last, crash::Repair::try_lock) == crash::nothing);
             REQUIRE(newcomer.ask('n', name, first, last) == crash::nothing);
           });
}

TEST_CASE("killed anywhere in attaching, writing and detaching") {
  const auto fill = [](World& w) { put_many(w, 0, 3, 20); };
  World model;
  model.record = true;
  fill(model);
  model.history = {model.tree};
  model.put({"new"}, "1");
  Newcomer survivor(model.history);
  std::size_t first = 0, last = 1, turn = 0;
  run_cold(
      [&](const std::string& name) {
        Dict d(name, opened(SHMD_CREATE_ONLY, SHMD_UNLINK_NEVER));
        World w(d);
        fill(w);
        REQUIRE(survivor.ask('h', name, first, last) == crash::nothing);
        d.leave_object();
      },
      [&](const std::string& name, Progress& progress) {
        Dict d(name, opened(SHMD_OPEN_ONLY, SHMD_UNLINK_NEVER));
        d.put("new", "1");
        progress.acknowledged = 1;
        d.leave_object();
      },
      [&](const std::string& name, std::size_t acknowledged) {
        first = acknowledged;
        last = 1;
        Dict newcomer(name, opened(SHMD_OPEN_ONLY, SHMD_UNLINK_NEVER));
        if (turn++ % 2 == 0) { // either order
          REQUIRE(survivor.ask('i', name, first, last) == crash::nothing);
          REQUIRE(crash::inspect(newcomer, model.history, first, last, crash::Repair::try_lock) == crash::nothing);
        } else {
          REQUIRE(crash::inspect(newcomer, model.history, first, last, crash::Repair::try_lock) == crash::nothing);
          REQUIRE(survivor.ask('i', name, first, last) == crash::nothing);
        }
        REQUIRE(newcomer.stat().attached == 2); // the dead one's slot counts no more
        REQUIRE(survivor.ask('d', name, first, last) == crash::nothing);
      });
}

TEST_CASE("killed anywhere when the last one closes") {
  const auto fill = [](World& w) { put_many(w, 0, 3, 20); };
  World model;
  fill(model);
  const std::vector<Tree> history = {model.tree};
  run_cold([](const std::string&) {},
           [&](const std::string& name, Progress& progress) {
             const std::uint64_t at = shmd_crash_at;
             shmd_crash_at = 0; // the creation is another test's
             auto* d = new Dict(name, opened(SHMD_CREATE_ONLY, SHMD_UNLINK_LAST_CLOSES));
             World w(*d);
             fill(w);
             d->leave_object();
             shmd_crash_count = 0;
             progress.sites = 0;
             shmd_crash_at = at;
             delete d;
             progress.acknowledged = 1;
           },
           [&](const std::string& name, std::size_t acknowledged) {
             if (acknowledged) {
               REQUIRE_FALSE(exists(name));
             } else if (exists(name)) {
               std::size_t first = 0, last = 0;
               Dict d(name, opened(SHMD_OPEN_ONLY, SHMD_UNLINK_LAST_CLOSES));
               REQUIRE(crash::inspect(d, history, first, last, crash::Repair::try_lock) == crash::nothing);
               d.leave_object();
             }
             REQUIRE_FALSE(exists(name)); // the last one to close has unlinked what the dead one did not
           });
}

TEST_CASE("killed anywhere in unlink") {
  const auto fill = [](World& w) { put_many(w, 0, 3, 20); };
  World model;
  fill(model);
  const std::vector<Tree> history = {model.tree};
  std::unique_ptr<Dict> d;
  run_cold(
      [&](const std::string& name) {
        d = std::make_unique<Dict>(name, opened(SHMD_CREATE_ONLY, SHMD_UNLINK_NEVER));
        World w(*d);
        fill(w);
      },
      [&](const std::string& name, Progress& progress) {
        support::must(shmd_unlink(name.c_str()), "unlink");
        progress.acknowledged = 1;
      },
      [&](const std::string& name, std::size_t acknowledged) {
        if (acknowledged) REQUIRE_FALSE(exists(name));
        std::size_t first = 0, last = 0;
        REQUIRE(crash::inspect(*d, history, first, last, crash::Repair::try_lock) == crash::nothing);
        const int result = shmd_unlink(name.c_str()); // the next one succeeds, or finds it done
        REQUIRE((result == 0 || result == SHMD_ERR_NO_SUCH_DICT));
        REQUIRE_FALSE(exists(name));
        Dict fresh(name, opened(SHMD_CREATE_ONLY, SHMD_UNLINK_NEVER));
        REQUIRE(fresh.count() == 0);
        d.reset();
      });
}
