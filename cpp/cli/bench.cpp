// SPDX-License-Identifier: Apache-2.0
// bench: what this machine does with a dict, in about ten seconds.
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <functional>
#include <vector>

#include <fmt/format.h>

#include "commands.hpp"
#include "json_writer.hpp"
#include "output.hpp"
#include "shm/dict.hpp"
#include "table.hpp"
#include "units.hpp"

namespace cli {
namespace {

using clock = std::chrono::steady_clock;
using dict = shm::dict<std::int64_t, std::int64_t>;

constexpr std::int64_t keys = 10'000;
constexpr std::size_t most_samples = 4096;

// What one process did.
struct tally {
  std::uint64_t operations = 0;
  double seconds = 0;
  std::size_t samples = 0;
  std::uint32_t ns[most_samples]; // some of them, timed alone

  void add(std::uint64_t took) {
    ns[samples++ % most_samples] = static_cast<std::uint32_t>(std::min<std::uint64_t>(took, UINT32_MAX));
  }
};

struct result {
  std::string what;
  double per_second = 0;
  std::vector<std::uint32_t> ns; // sorted
};

std::uint64_t nanoseconds(clock::time_point since) {
  return static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(clock::now() - since).count());
}

// Cheap and good enough to pick keys.
class random_keys {
 public:
  std::int64_t next() {
    state_ = state_ * 6364136223846793005u + 1442695040888963407u;
    return static_cast<std::int64_t>((state_ >> 33) % static_cast<std::uint64_t>(keys));
  }

 private:
  std::uint64_t state_ = static_cast<std::uint64_t>(getpid());
};

// Repeats a step until the time is over, once at least; every 64th is timed.
template <class Step>
void repeat(tally& t, double seconds, std::uint64_t weight, Step step) {
  const auto start = clock::now();
  const auto end = start + std::chrono::nanoseconds(static_cast<std::int64_t>(seconds * 1e9));
  for (auto before = start; t.operations == 0 || before < end; before = clock::now()) {
    step();
    t.add(nanoseconds(before) / weight);
    const std::uint64_t more = weight > 1 ? 0 : 63;
    for (std::uint64_t i = 0; i < more; ++i) step();
    t.operations += weight * (more + 1);
  }
  t.seconds = std::chrono::duration<double>(clock::now() - start).count();
}

using work = std::function<void(tally&)>;
using company = std::function<void(int over)>; // goes on until the other end of this pipe is closed
bool is_over(int over, int wait_ms) {
  pollfd p{over, POLLIN, 0};
  return poll(&p, 1, wait_ms) != 0;
}

struct process {
  pid_t pid;
  int from; // its tally
};

struct both_ends {
  both_ends() {
    if (pipe(fd) != 0) throw failure(exit_code::failed, "cannot make a pipe");
  }
  int fd[2];
};

process start(const work& w) {
  const both_ends ends;
  std::fflush(nullptr);
  const pid_t pid = fork();
  if (pid < 0) throw failure(exit_code::failed, "cannot start a process");
  if (pid == 0) {
    tally t;
    try {
      w(t);
    } catch (const std::exception& e) {
      note(e.what());
      _exit(1);
    }
    const auto* p = reinterpret_cast<const char*>(&t);
    for (std::size_t done = 0; done < sizeof t;) {
      const auto n = write(ends.fd[1], p + done, sizeof t - done);
      if (n <= 0) _exit(1);
      done += static_cast<std::size_t>(n);
    }
    _exit(0);
  }
  close(ends.fd[1]);
  return {pid, ends.fd[0]};
}

// Waits for it. False if it failed.
bool finish(const process& of, tally& t) {
  auto* p = reinterpret_cast<char*>(&t);
  std::size_t done = 0;
  while (done < sizeof t) {
    const auto n = read(of.from, p + done, sizeof t - done);
    if (n <= 0) break;
    done += static_cast<std::size_t>(n);
  }
  close(of.from);
  int status = 0;
  waitpid(of.pid, &status, 0);
  return done == sizeof t;
}

// Each piece of work in a process of its own, at the same time, and its company for as long as any of them. Their results
// are summed up.
result in_processes(const std::string& what, const std::vector<work>& measured,
                    const std::vector<company>& beside = {}) {
  const both_ends over;
  std::vector<process> others, counted;
  for (const auto& c : beside)
    others.push_back(start([&](tally&) {
      close(over.fd[1]);
      c(over.fd[0]);
    }));
  for (const auto& w : measured) counted.push_back(start(w));

  result r;
  r.what = what;
  bool whole = true;
  tally t;
  for (const auto& p : counted) {
    if (!finish(p, t)) {
      whole = false;
      continue;
    }
    r.per_second += static_cast<double>(t.operations) / t.seconds;
    r.ns.insert(r.ns.end(), t.ns, t.ns + std::min(t.samples, most_samples));
  }
  close(over.fd[0]);
  close(over.fd[1]);
  for (const auto& p : others) whole = finish(p, t) && whole;
  if (!whole) throw failure(exit_code::failed, "a measuring process failed");
  std::sort(r.ns.begin(), r.ns.end());
  return r;
}

work reading(dict& d, double seconds) {
  return [&d, seconds](tally& t) {
    random_keys random;
    std::int64_t sum = 0;
    repeat(t, seconds, 1, [&] { sum += d.get(random.next(), 0); });
    if (sum == -1) t.operations = 0; // so that the reads are not optimised away
  };
}
work writing(dict& d, double seconds) {
  return [&d, seconds](tally& t) {
    random_keys random;
    std::int64_t i = 0;
    repeat(t, seconds, 1, [&] { d[random.next()] = ++i; });
  };
}
company writing_on(dict& d) {
  return [&d](int over) {
    random_keys random;
    for (std::int64_t i = 0; !is_over(over, 0);)
      for (int n = 0; n < 1000; ++n) d[random.next()] = ++i;
  };
}
work committing(dict& d, double seconds) {
  return [&d, seconds](tally& t) {
    random_keys random;
    repeat(t, seconds, 100, [&] {
      d.transact([&](auto& tx) {
        for (int i = 0; i < 100; ++i) tx[random.next()] = i;
      });
    });
  };
}
work scanning(dict& d, double seconds) {
  return [&d, seconds](tally& t) {
    std::int64_t sum = 0;
    repeat(t, seconds, static_cast<std::uint64_t>(keys), [&] {
      for (const auto& [key, value] : d.snapshot()) sum += key + value;
    });
    if (sum == -1) t.operations = 0;
  };
}

// One process stores the time now and then, the other wakes up and looks how long ago that was.
work being_woken(dict& d, double seconds) {
  return [&d, seconds](tally& t) {
    shmd_follower* f = nullptr;
    shm::detail::check(shmd_follow_open(d.native_handle(), SHMD_NOW, &f));
    const auto start = clock::now();
    do {
      shm::detail::check(shmd_follow_wait(f, 50'000'000));
      const std::int64_t now = clock::now().time_since_epoch().count();
      shmd_change c;
      std::int64_t then = 0;
      while (shm::detail::check(shmd_follow_next(f, &c)) == 0)
        if (c.kind == SHMD_CHANGE_PUT && c.value_size == sizeof then) std::memcpy(&then, c.value, sizeof then);
      if (then != 0 && now >= then) {
        t.add(static_cast<std::uint64_t>(now - then));
        ++t.operations;
      }
      t.seconds = std::chrono::duration<double>(clock::now() - start).count();
    } while (t.seconds < seconds || (t.operations == 0 && t.seconds < 60)); // whoever wakes it may be held up
    shmd_follow_close(f);
  };
}
company waking(dict& d) {
  return [&d](int over) {
    while (!is_over(over, 2)) d[-1] = clock::now().time_since_epoch().count();
  };
}

std::string at(const std::vector<std::uint32_t>& ns, double part) {
  if (ns.empty()) return "-";
  return time_text(ns[std::min(ns.size() - 1, static_cast<std::size_t>(static_cast<double>(ns.size()) * part))]);
}

} // namespace

exit_code run_bench(const bench_arguments& a) {
  const auto name = fmt::format("shmdict.bench.{}", getpid());
  dict d(shm::create_only, name, shm::options{}.unlink(shm::last_closes));
  d.unlink(); // nothing stays behind, however this ends; measuring children inherit the handle
  for (std::int64_t k = 0; k < keys; ++k) d[k] = k;
  if (output_is_terminal() && !a.json)
    print(fmt::format("10,000 keys, int64 -> int64, {:.0f} s; other load on this machine changes the figures\n\n",
                      a.seconds));
  flush_output();

  const double part = a.seconds / 8;
  std::vector<result> results;
  const auto run = [&](const char* what, const std::vector<work>& measured, const std::vector<company>& beside = {}) {
    results.push_back(in_processes(what, measured, beside));
  };
  run("reads, one process", {reading(d, part)});
  run("reads, two processes", {reading(d, part), reading(d, part)});
  run("reads beside a writer", {reading(d, part)}, {writing_on(d)});
  run("writes, one process", {writing(d, part)});
  run("writes, two processes", {writing(d, part), writing(d, part)});
  run("writes, 100 a commit", {committing(d, part)});
  run("entries of a snapshot", {scanning(d, part)});
  run("wake-ups of a follower", {being_woken(d, part)}, {waking(d)});

  table t({{"WHAT"}, {"PER SECOND", true}, {"P50", true}, {"P99", true}, {"P99.9", true}});
  for (const auto& r : results) {
    if (a.json)
      print(json_text({{"what", r.what},
                       {"per_second", r.per_second},
                       {"p50_ns", r.ns.empty() ? 0 : r.ns[r.ns.size() / 2]},
                       {"p99_ns", r.ns.empty() ? 0 : r.ns[r.ns.size() * 99 / 100]},
                       {"p999_ns", r.ns.empty() ? 0 : r.ns[r.ns.size() * 999 / 1000]}}) +
            "\n");
    else
      t.add({{r.what}, {rate_text(r.per_second)}, {at(r.ns, 0.5)}, {at(r.ns, 0.99)}, {at(r.ns, 0.999)}});
  }
  if (!a.json) t.print();
  return exit_code::ok;
}

} // namespace cli
