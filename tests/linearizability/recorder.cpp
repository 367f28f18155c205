// SPDX-License-Identifier: Apache-2.0
// Records what several processes do to one dict while they are killed:  recorder FILE OPERATIONS [SEED]
//
// Four processes, two of them with two threads, call everything that a dict has for single keys, transactions over two to
// four keys of a group, and snapshots; some keys lie in nested dicts, which are erased and come again. Values that are not
// recorded fill the log between, so that the cleaner moves records and memory is reused all the time. The parent kills
// whole processes at random instants, others fall at a random store to shared memory, which is in the middle of a commit as
// a rule; a successor goes on where the dead one was.
//
// A history must be short to be checked. So time is cut into rounds: at the end of each all clients stand still, the parent
// takes and gives back the lock, which repairs what the dead left, and reads everything: that ends this round's history,
// and the next one begins with what was read. An operation that still took effect in a later round would be found there.
//
// A clock and the dict's memory are two ways by which processes hear of each other. The barriers in begin() and end() make
// them one: what a returned call stored is visible before its time of return is read, and nothing that a call reads is read
// before its time of call.
#include <shmdict/atomics.h>
#include <shmdict/shmdict.h>

#include <algorithm>
#include <iostream>
#include <optional>
#include <random>
#include <shm/dict.hpp>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "linearizability/history.hpp"
#include "support/process.hpp"

extern "C" { // of the core with crash points: the number of the store at which the process falls, 0 = never; stores so far
extern std::uint64_t shmd_crash_at;
extern std::uint64_t shmd_crash_count;
}

namespace {

using history::absent;
using history::Op;
using history::Record;
using history::Step;
using history::Value;
using support::must;

// ---- keys ---------------------------------------------------------------------------------------------------------------

using DictKey = std::uint64_t;
using Dict = shm::dict<DictKey, Value>;

constexpr std::size_t singles = 8, groups = 3, group_keys = 4, keys = singles + groups * group_keys;

// Levels above a key: 0, 1 or 2.
std::size_t depth(std::size_t key) {
  if (key < singles) return key < 5 ? 0 : key < 7 ? 1 : 2;
  const std::size_t i = (key - singles) % group_keys;
  return i < 2 ? 0 : i - 1;
}
std::size_t group_of(std::size_t key) { return (key - singles) / group_keys; }
std::size_t first_of(std::size_t group) { return singles + group * group_keys; }
std::string name_of(std::size_t key) {
  if (key < singles) return "k" + std::to_string(key);
  return "g" + std::to_string(group_of(key)) + "." + std::to_string((key - singles) % group_keys);
}
// The nested dict, in the root, of a group; of the singles that are nested.
DictKey nest_of(std::size_t key) { return 1000 + (key < singles ? groups : group_of(key)); }
constexpr DictKey deeper = 2000, filler = 3000;

// A dict of one type has either values or dicts under its keys. The nested ones beside its values are reached through what
// d["nest"]["key"] is made of.
using Nest = shm::detail::child_place<shm::detail::root_place, DictKey>;
using Deeper = shm::detail::child_place<Nest, DictKey>;
template <class Place>
using At = shm::detail::bound_proxy<Place, DictKey, Value>;

template <class F>
void with_place(Dict& d, std::size_t key, F f) {
  if (depth(key) == 0) return f(d);
  const Nest nest(d.place(), nest_of(key));
  if (depth(key) == 1) {
    At<Nest> at(nest);
    return f(at);
  }
  At<Deeper> at(Deeper(nest, deeper));
  f(at);
}

// ---- operations ---------------------------------------------------------------------------------------------------------

Value or_absent(const std::optional<Value>& v) { return v ? *v : absent; }

template <class Where>
Value perform_at(Where& at, DictKey key, const Step& s) {
  switch (s.op) {
    case Op::get:
      return or_absent(at.get(key));
    case Op::put:
      at[key] = s.first;
      return 0;
    case Op::insert:
      return at.insert({key, s.first}).second ? 1 : 0;
    case Op::replace:
      return at.replace(key, s.first) ? 1 : 0;
    case Op::erase:
      return static_cast<Value>(at.erase(key));
    case Op::take:
      return or_absent(at.extract(key));
    case Op::add:
      return at[key] += s.first;
    case Op::affine:
      return at[key].update([&](Value v) { return (3 * v + s.first) % history::affine_modulus; });
    case Op::toggle:
      return or_absent(at[key].update(
          [&](std::optional<Value> v) { return v ? std::optional<Value>() : std::optional<Value>(s.first); }));
    case Op::cas: {
      std::optional<Value> expected;
      if (s.first != absent) expected = s.first;
      const bool done = at[key].compare_exchange(expected, s.second);
      if (!done && or_absent(expected) == s.first)
        throw std::runtime_error("compare_exchange failed with the value that it expected");
      return or_absent(expected);
    }
    case Op::drop:
      break;
  }
  return 0;
}

void perform(Dict& d, Step& s) {
  if (s.op == Op::drop)
    d.erase(nest_of(s.key));
  else
    with_place(d, s.key, [&](auto& at) { s.result = perform_at(at, s.key, s); });
}

void read_snapshot(Dict& d, Record& r) {
  shmd_snapshot* s = nullptr;
  must(shmd_snapshot_open(d.native_handle(), &s), "snapshot_open");
  const std::unique_ptr<shmd_snapshot, void (*)(shmd_snapshot*)> closer(s, shmd_snapshot_close);
  for (std::size_t i = 0; i < r.count; ++i) {
    const DictKey key = r.step[i].key, path[] = {nest_of(r.step[i].key), deeper};
    shmd_node node = shmd_root();
    int result = 0;
    for (std::size_t level = 0; level < depth(r.step[i].key) && result == 0; ++level)
      result = must(shmd_snapshot_node(s, node, &path[level], sizeof path[level], &node), "snapshot_node");
    Value value = absent;
    std::size_t size = 0;
    if (result == 0) result = must(shmd_snapshot_get(s, node, &key, sizeof key, &value, sizeof value, &size), "get");
    r.step[i].result = result == 0 ? value : absent;
  }
}

// ---- clients ------------------------------------------------------------------------------------------------------------

constexpr std::size_t workers = 4, slots = 6, quota = 1500; // operations of a slot in a round
constexpr std::array<std::size_t, workers> threads = {2, 1, 2, 1}, first_slot = {0, 2, 3, 5};

// What a client thread has done: outlives it.
struct Slot {
  std::atomic<std::uint64_t> begun{0}, ended{0}; // operations of this round; ended: its number
  std::uint64_t values = 0;                      // how many different values were made
  std::array<Record, quota> record;
};

struct Shared {
  std::atomic<std::uint64_t> round{0};
  std::atomic<bool> stop{false}, failed{false};
  std::array<std::uint8_t, 2> hot{}; // the single and the group that most operations of the round go to
  std::array<Slot, slots> slot;
  char message[512] = {};
  void fail(const std::string& text) {
    if (!failed.exchange(true)) std::snprintf(message, sizeof message, "%s", text.c_str());
  }
};

void begin(Record& r) {
  r.called.store(support::now_ns(), std::memory_order_seq_cst);
  shmd_full_barrier();
}
void end(Record& r) {
  shmd_full_barrier();
  r.returned.store(support::now_ns(), std::memory_order_release);
}

class Client {
 public:
  Client(Shared& shared, Dict& d, std::size_t slot, std::uint64_t seed)
      : shared_(shared), d_(d), slot_(shared.slot[slot]), number_(slot), random_(seed) {
    std::fill(seen_.begin(), seen_.end(), absent);
  }

  void run() {
    while (!shared_.stop) {
      const std::uint64_t round = shared_.round.load(std::memory_order_acquire);
      if (slot_.ended.load(std::memory_order_relaxed) == round) {
        ::usleep(100);
        continue;
      }
      while (slot_.begun.load(std::memory_order_relaxed) < quota) one();
      slot_.ended.store(round, std::memory_order_release);
    }
  }

 private:
  void one() {
    const std::uint64_t n = slot_.begun.load(std::memory_order_relaxed);
    Record& r = slot_.record[n];
    r.called.store(0, std::memory_order_relaxed);
    r.returned.store(0, std::memory_order_relaxed);
    r.count = 1;
    r.aborted = false;
    const std::uint64_t what = random_() % 64;
    if (what < 2) return fill();
    if (what < 42) return single(r, n, random_() % 8 < 5 ? shared_.hot[0] : random_() % singles);
    if (what < 54) return single(r, n, first_of(any_group()) + random_() % group_keys);
    if (what < 55) return drop(r, n);
    if (what < 59) return snapshot(r, n);
    transaction(r, n);
  }
  std::size_t any_group() { return random_() % 4 != 0 ? shared_.hot[1] : random_() % groups; }

  void single(Record& r, std::uint64_t n, std::size_t key) {
    r.step[0] = any_step(key);
    started(r, n);
    perform(d_, r.step[0]);
    end(r);
    learn(r);
  }
  void drop(Record& r, std::uint64_t n) {
    r.step[0] = {Op::drop, static_cast<std::uint8_t>(first_of(any_group())), 0, 0, 0};
    started(r, n);
    perform(d_, r.step[0]);
    end(r);
  }
  void snapshot(Record& r, std::uint64_t n) {
    const std::size_t group = any_group();
    r.count = group_keys;
    for (std::size_t i = 0; i < group_keys; ++i)
      r.step[i] = {Op::get, static_cast<std::uint8_t>(first_of(group) + i), 0, 0, 0};
    started(r, n);
    read_snapshot(d_, r);
    end(r);
    learn(r);
  }
  void transaction(Record& r, std::uint64_t n) {
    const std::size_t group = any_group(), over = 2 + random_() % 3;
    std::array<std::size_t, group_keys> order = {0, 1, 2, 3};
    std::shuffle(order.begin(), order.end(), random_);
    r.count = static_cast<std::uint8_t>(over + random_() % (history::most_steps - over + 1));
    r.aborted = random_() % 8 == 0;
    bool stored_in_nest = false;
    for (std::size_t i = 0; i < r.count; ++i) {
      r.step[i] = any_step(first_of(group) + order[i % over]);
      // Single reads may see what a commit stores in a dict that it then erases (shmdict.h, shmd_begin).
      if (random_() % 16 == 0 && !stored_in_nest)
        r.step[i] = {Op::drop, static_cast<std::uint8_t>(first_of(group)), 0, 0, 0};
      else
        stored_in_nest = stored_in_nest || (r.step[i].op != Op::get && depth(r.step[i].key) != 0);
    }
    started(r, n);
    d_.transact([&](auto& tx) {
      for (std::size_t i = 0; i < r.count; ++i) perform(d_, r.step[i]);
      if (r.aborted) tx.abort();
    });
    end(r);
    if (!r.aborted) learn(r);
  }
  // A value that is not recorded, of any size: memory that becomes garbage, now or late.
  void fill() {
    const std::string value(random_() % 3000, 'f');
    const DictKey key = filler + random_() % (random_() % 4 == 0 ? 512 : 16);
    must(shmd_put(d_.native_handle(), shmd_root(), &key, sizeof key, value.data(), value.size(), 0), "put");
  }

  void started(Record& r, std::uint64_t n) {
    slot_.begun.store(n + 1, std::memory_order_release);
    begin(r);
  }
  void learn(const Record& r) {
    for (std::size_t i = 0; i < r.count; ++i) {
      const Step& s = r.step[i];
      if (s.op == Op::put) seen_[s.key] = s.first;
      if (s.op == Op::get || s.op == Op::add || s.op == Op::affine || s.op == Op::toggle || s.op == Op::cas)
        seen_[s.key] = s.result;
    }
  }
  Value fresh() { return static_cast<Value>(1000000 * (number_ + 1) + ++slot_.values % 1000000); }
  Step any_step(std::size_t key) {
    static constexpr Op often[] = {Op::get,  Op::get,    Op::get,    Op::get,    Op::get,     Op::get,
                                   Op::get,  Op::put,    Op::put,    Op::put,    Op::put,     Op::add,
                                   Op::add,  Op::cas,    Op::cas,    Op::insert, Op::replace, Op::erase,
                                   Op::take, Op::affine, Op::toggle, Op::insert};
    Step s;
    s.op = often[random_() % std::size(often)];
    s.key = static_cast<std::uint8_t>(key);
    s.first = s.op == Op::add || s.op == Op::affine ? static_cast<Value>(1 + random_() % 9) : fresh();
    if (s.op == Op::cas) {
      s.first = seen_[key];
      s.second = fresh();
    }
    return s;
  }

  Shared& shared_;
  Dict& d_;
  Slot& slot_;
  std::size_t number_;
  std::mt19937_64 random_;
  std::array<Value, keys> seen_{};
};

shm::options options() {
  return shm::options{}
      .max_size(std::uint64_t{64} << 20)
      .segment_size(65536)
      .buffer_size(65536)
      .timeout(std::chrono::minutes(2))
      .unlink(shm::never);
}

// Half of them attach anew, the others go on with what they inherited. Half of them fall by themselves.
int work(Shared& shared, Dict& inherited, const std::string& name, std::size_t w, std::uint64_t seed) {
  ::alarm(300);
  try {
    Dict own;
    if (seed % 2 == 0) own = Dict(shm::open_only, name, options());
    Dict& d = seed % 2 == 0 ? own : inherited;
    if (seed / 2 % 2 == 0) shmd_crash_at = shmd_crash_count + 1 + seed / 4 % 20000;
    const auto client = [&](std::size_t i) {
      try {
        Client(shared, d, first_slot[w] + i, seed + i).run();
      } catch (const std::exception& e) {
        shared.fail("client " + std::to_string(first_slot[w] + i) + ": " + e.what());
      }
    };
    std::vector<std::thread> others;
    for (std::size_t i = 1; i < threads[w]; ++i) others.emplace_back(client, i);
    client(0);
    for (auto& t : others) t.join();
  } catch (const std::exception& e) {
    shared.fail("worker " + std::to_string(w) + ": " + e.what());
  }
  return 0;
}

// ---- the parent -----------------------------------------------------------------------------------------------------------

std::string check(Dict& d) {
  std::string findings;
  const int result = shmd_check(
      d.native_handle(),
      [](void* context, const char* text) { *static_cast<std::string*>(context) += std::string("\n  ") + text; },
      &findings);
  if (result != 0 && findings.empty()) findings = shmd_last_error()->message;
  return findings;
}

class Recorder {
 public:
  Recorder(std::FILE* out, std::uint64_t seed)
      : random_(seed), d_(shm::create_only, name_, options()), writer_(out), values_(keys, absent) {}

  void run(std::uint64_t operations) {
    for (std::size_t w = 0; w < workers; ++w) start(w);
    while (operations_ < operations && !shared_->failed) round();
    shared_->stop = true;
    for (auto& child : child_) {
      const int status = child->join();
      if (status != 0 && status != -SIGKILL) shared_->fail("a worker ended with " + std::to_string(status));
    }
    if (!shared_->failed) verify();
    if (shared_->failed) throw std::runtime_error(shared_->message);
  }
  void summary(std::ostream& out) {
    shmd_stats stats;
    must(shmd_stat(d_.native_handle(), &stats), "stat");
    out << operations_ << " operations in " << rounds_ << " rounds, " << pending_ << " pending, " << kills_
        << " kills, " << held_ << " found the lock held; " << stats.recoveries << " recoveries, " << stats.replays
        << " of them finished a committed write; " << stats.cleaned_bytes / 1024 << " KiB cleaned\n";
  }

 private:
  void start(std::size_t w) {
    const std::uint64_t seed = random_();
    child_[w].emplace([this, w, seed] { return work(*shared_, d_, name_, w, seed); });
  }
  bool ended(std::size_t slot) { return shared_->slot[slot].ended.load(std::memory_order_acquire) == rounds_; }
  // Whoever has the lock, if that can be seen within some microseconds, or anybody.
  std::size_t victim() {
    shmd_lock_info lock;
    for (std::size_t i = random_() % 2 * 200; i != 0; --i) {
      must(shmd_lock_status(d_.native_handle(), &lock), "lock_status");
      for (std::size_t w = 0; w < workers && lock.held; ++w)
        if (lock.pid == child_[w]->pid()) return w;
    }
    return random_() % workers;
  }
  bool fallen(std::size_t w) {
    siginfo_t info = {};
    const auto pid = static_cast<id_t>(child_[w]->pid());
    return ::waitid(P_PID, pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid != 0;
  }
  void replace(std::size_t w) {
    const pid_t pid = child_[w]->pid();
    if (child_[w]->join() != -SIGKILL) shared_->fail("a worker ended by itself");
    shmd_lock_info lock;
    must(shmd_lock_status(d_.native_handle(), &lock), "lock_status");
    ++kills_;
    held_ += lock.held && lock.pid == pid;
    start(w);
  }
  void verify() {
    const std::string findings = check(d_);
    if (!findings.empty()) shared_->fail("check after round " + std::to_string(rounds_) + ":" + findings);
  }

  void round() {
    const std::uint64_t start = support::now_ns();
    for (auto& slot : shared_->slot) slot.begun.store(0, std::memory_order_relaxed);
    shared_->hot = {static_cast<std::uint8_t>(random_() % singles), static_cast<std::uint8_t>(random_() % groups)};
    shared_->round.store(++rounds_, std::memory_order_release);
    for (std::size_t kills = random_() % 5;;) {
      std::this_thread::sleep_for(std::chrono::microseconds(50 + random_() % 800));
      bool over = true;
      for (std::size_t s = 0; s < slots; ++s) over = ended(s) && over;
      if (over || shared_->failed) break;
      if (kills != 0) {
        --kills;
        const std::size_t w = victim();
        child_[w]->signal(SIGKILL);
        replace(w);
      }
      for (std::size_t w = 0; w < workers; ++w)
        if (fallen(w)) replace(w);
    }
    if (shared_->failed) return;

    d_.lock(); // repairs what the dead left
    d_.unlock();
    std::vector<std::unique_ptr<Record>> last = read_all();
    if (rounds_ % 16 == 0) verify();

    writer_.round(rounds_, values_, name_of);
    for (std::size_t s = 0; s < slots; ++s) {
      const Slot& slot = shared_->slot[s];
      const std::uint64_t begun = slot.begun.load(std::memory_order_acquire);
      for (std::size_t i = 0; i < begun; ++i) write(s, slot.record[i], start);
    }
    for (const auto& r : last) {
      write(slots, *r, start);
      for (std::size_t i = 0; i < r->count; ++i) values_[r->step[i].key] = r->step[i].result;
    }
    writer_.end();
  }
  void write(std::size_t client, const Record& r, std::uint64_t start) {
    if (r.called.load(std::memory_order_relaxed) == 0) return; // killed before the call
    writer_.record(client, r, start, name_of);
    const bool pending = r.returned.load(std::memory_order_relaxed) == 0;
    operations_ += !pending;
    pending_ += pending;
  }
  // Each single key by a get, each group by a snapshot.
  std::vector<std::unique_ptr<Record>> read_all() {
    std::vector<std::unique_ptr<Record>> all;
    for (std::size_t k = 0; k < keys; k += k < singles ? 1 : group_keys) {
      all.push_back(std::make_unique<Record>());
      Record& r = *all.back();
      r.count = k < singles ? 1 : group_keys;
      for (std::size_t i = 0; i < r.count; ++i) r.step[i].key = static_cast<std::uint8_t>(k + i);
      begin(r);
      if (k < singles)
        perform(d_, r.step[0]);
      else
        read_snapshot(d_, r);
      end(r);
    }
    return all;
  }

  std::mt19937_64 random_;
  support::Name name_{"linearizability"};
  Dict d_;
  support::Shared<Shared> shared_;
  history::Writer writer_;
  std::array<std::optional<support::Child>, workers> child_;
  std::vector<Value> values_;
  std::uint64_t rounds_ = 0, operations_ = 0, pending_ = 0, kills_ = 0, held_ = 0;
};

} // namespace

int main(int argc, char** argv) {
  if (argc < 3) {
    std::cerr << "usage: recorder FILE OPERATIONS [SEED]\n";
    return 2;
  }
  const std::uint64_t seed = argc > 3 ? std::stoull(argv[3]) : std::random_device{}();
  std::FILE* out = std::fopen(argv[1], "w");
  if (out == nullptr) {
    std::cerr << "cannot write " << argv[1] << "\n";
    return 2;
  }
  ::alarm(300);
  std::cout << "seed " << seed << std::endl;
  try {
    Recorder recorder(out, seed);
    recorder.run(std::stoull(argv[2]));
    recorder.summary(std::cout);
  } catch (const std::exception& e) {
    std::cerr << "FAILED: " << e.what() << "\n";
    return 1;
  }
  const bool written = std::ferror(out) == 0;
  if (std::fclose(out) != 0 || !written) {
    std::cerr << "FAILED: " << argv[1] << " could not be written\n";
    return 1;
  }
  return 0;
}
