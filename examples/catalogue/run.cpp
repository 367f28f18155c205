// SPDX-License-Identifier: Apache-2.0
#include "run.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <random>
#include <stdexcept>
#include <utility>

namespace demo {

namespace {

using namespace std::chrono_literals;

double ms(clock::duration d) { return std::chrono::duration<double, std::milli>(d).count(); }
double seconds(clock::duration d) { return std::chrono::duration<double>(d).count(); }

// Listens until `done`. False when patience ends first.
template <class Done>
bool listen_until(crew& all, std::chrono::milliseconds patience, Done done) {
  for (const auto until = clock::now() + patience; !done();) {
    if (clock::now() > until) return false;
    all.listen(20ms);
  }
  return true;
}

void fail_on_complaints(const crew& all) {
  if (!all.complaints.empty()) throw std::runtime_error("a check failed: " + all.complaints.front());
}

void start(const settings& s, crew& all) {
  const std::vector<std::string> names{"Aïcha", "Björn", "Chloé", "Đorđe", "Eirík", "Françoise", "Gül", "Håkon"};
  const std::vector<std::string> common{"--name", s.name, "--data", s.data.string()};
  const auto launch = [&](const std::string& name, const char* role) {
    std::vector<std::string> arguments{"--role", role};
    arguments.insert(arguments.end(), common.begin(), common.end());
    all.start(name, arguments);
  };
  for (unsigned i = 0; i < s.workers; ++i)
    launch(i < names.size() ? names[i] : fmt::format("worker {}", i + 1), "worker");
  launch("editor", "editor");
  const auto is_ready = [](const member& m) { return m.ready.has_value(); };
  const bool ready = listen_until(all, 60s, [&] {
    return !all.complaints.empty() || std::all_of(all.members.begin(), all.members.end(), is_ready);
  });
  fail_on_complaints(all);
  if (!ready) throw std::runtime_error("a started program was not ready within 60 s");
}

// Lets everybody work until a time.
void go_on(const settings& s, crew& all, progress& line, clock::time_point began, clock::time_point until) {
  std::uint64_t lookups = all.lookups(), edits = all.edits();
  clock::time_point shown = clock::now();
  while (clock::now() < until) {
    all.listen(50ms);
    fail_on_complaints(all);
    const auto now = clock::now();
    if (now < shown + line.interval()) continue;
    const double passed = seconds(now - shown);
    line.update(seconds(now - began) / s.seconds,
                fmt::format("{:4.1f} s {:>9} lookups/s {:>8} edits/s", seconds(now - began),
                            short_number(static_cast<double>(all.lookups() - lookups) / passed),
                            short_number(static_cast<double>(all.edits() - edits) / passed)));
    lookups = all.lookups();
    edits = all.edits();
    shown = now;
  }
}

// Reads need no lock: they go on while somebody holds it.
void read_on(const dict& catalogue, const iso_codes& codes, rescue& r) {
  std::minstd_rand random{std::random_device{}()};
  const auto began = clock::now();
  for (; clock::now() < began + 100ms; ++r.reads) {
    const entry& e = codes.entries[random() % codes.entries.size()];
    const auto& expected = e.fields[random() % e.fields.size()];
    const auto answer = catalogue[domain_names[e.in]][e.code][expected.first].get();
    if (!answer || !is_right(e, expected, *answer)) ++r.wrong_reads;
  }
  r.read_ms = ms(clock::now() - began);
}

// Has a worker take the lock, kills it, and measures until others write again.
rescue kill_one(dict& catalogue, const iso_codes& codes, crew& all, progress& line, clock::time_point began) {
  rescue r;
  r.victim = 2;
  member& victim = all.members[r.victim];
  victim.program.give(take_lock_order);
  if (!listen_until(all, 20s, [&] { return victim.holding.has_value(); }))
    throw std::runtime_error(victim.program.name() + " did not get the lock within 20 s");
  line.event(fmt::format("  {:4.1f} s  {} (pid {}) holds the lock, with a transaction half made",
                         seconds(clock::now() - began), victim.program.name(), victim.program.pid()));
  read_on(catalogue, codes, r);

  const auto killed = clock::now();
  victim.program.kill();
  {
    const shm::guard mine{catalogue, 10s};
    catalogue["parent"]["last"]["killed"] = victim.program.name();
  }
  const auto wrote = clock::now();
  victim.status = victim.program.wait(10s);
  all.watch_from = killed;
  const auto others = [&](auto predicate) {
    return std::all_of(all.members.begin(), all.members.end(),
                       [&](const member& m) { return &m == &victim || predicate(m); });
  };
  const bool everybody = listen_until(all, 10s, [&] { return others([](const member& m) { return m.counts_again; }); });

  r.after_s = seconds(killed - began);
  r.parent_ms = r.first_ms = ms(wrote - killed);
  r.all_ms = everybody ? 0 : -1;
  others([&](const member& m) {
    if (!m.counts_again) return true;
    r.first_ms = std::min(r.first_ms, ms(*m.counts_again - killed));
    if (everybody) r.all_ms = std::max(r.all_ms, ms(*m.counts_again - killed));
    return true;
  });
  line.event(fmt::format("  {:4.1f} s  {} was killed with SIGKILL; {:.1f} ms later the next write went through",
                         r.after_s, victim.program.name(), r.first_ms));
  return r;
}

} // namespace

results run(const settings& s, const iso_codes& codes, crew& all, progress& line) {
  results r;
  const auto loading = clock::now();
  dict catalogue{shm::create_only, s.name};
  fill(catalogue, codes);
  r.load_ms = ms(clock::now() - loading);
  line.event(fmt::format("{} entries with {} fields of iso-codes are in shared memory after {:.0f} ms",
                         grouped(codes.entries.size()), grouped(codes.fields), r.load_ms));

  try {
    start(s, all);
    line.event(fmt::format("{} workers and an editor are at work, each a program of its own", s.workers));
    const auto began = clock::now();
    const auto length = std::chrono::duration_cast<clock::duration>(std::chrono::duration<double>(s.seconds));
    go_on(s, all, line, began, began + length / 2);
    r.death = kill_one(catalogue, codes, all, line, began);
    go_on(s, all, line, began, began + length);
    all.dismiss();
  } catch (...) {
    all.clear(); // before the catalogue closes
    throw;
  }
  line.clear();
  verify(catalogue, codes, all, r);
  catalogue.close();
  const auto left = leftovers(s.name);
  r.checks.push_back(
      {left.empty(), "nothing is left in shared memory", left.empty() ? "" : left.front() + " is still there"});
  return r;
}

std::vector<std::string> leftovers(const std::string& dict_name) {
  std::vector<std::string> found;
  std::error_code error;
  for (const auto& file : std::filesystem::directory_iterator("/dev/shm", error))
    if (file.path().filename().string().find(dict_name) != std::string::npos) found.push_back(file.path().string());
  try {
    const dict again{shm::open_only, dict_name, shm::options{}.read_only()};
    found.push_back("the dict '" + dict_name + "'");
  } catch (const shm::no_such_dict&) {
  }
  return found;
}

} // namespace demo
