// SPDX-License-Identifier: Apache-2.0
#include <fmt/color.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>

#include "run.hpp"

namespace demo {

namespace {

constexpr int line_width = 78;

struct styles {
  fmt::text_style heading, faint, good, bad;
  explicit styles(bool colours) {
    if (!colours) return;
    heading = fmt::emphasis::bold;
    faint = fmt::emphasis::faint;
    good = fmt::fg(fmt::terminal_color::green);
    bad = fmt::fg(fmt::terminal_color::red) | fmt::emphasis::bold;
  }
};

void row(const fmt::text_style& style, const std::string& name, const std::array<std::string, 5>& columns) {
  fmt::print(style, "  {:<16}{:>10}{:>13}{:>11}{:>14}{:>12}", name, columns[0], columns[1], columns[2], columns[3],
             columns[4]);
  fmt::print("\n");
}

void rule(const styles& style) {
  std::string dashes;
  for (int i = 0; i < line_width - 2; ++i) dashes += "─";
  fmt::print(style.faint, "  {}", dashes);
  fmt::print("\n");
}

void fact(const styles& style, const char* name, const std::string& text) {
  fmt::print(style.heading, "  {:<11}", name);
  fmt::print("{}\n", text);
}

std::string rate(double n, double seconds) {
  return seconds > 0 ? grouped(static_cast<std::uint64_t>(std::llround(n / seconds))) : "-";
}
std::string mib(std::uint64_t bytes) { return fmt::format("{:.1f} MiB", static_cast<double>(bytes) / (1 << 20)); }

void worker_table(const styles& style, const crew& all, const results& r) {
  fmt::print("\n");
  row(style.heading, "worker", {"lookups/s", "languages", "countries", "subdivisions", "snapshots"});
  rule(style);
  std::array<std::uint64_t, domain_count> sum{};
  double rates = 0;
  std::uint64_t snapshots = 0;
  for (const member& m : all.members) {
    if (&m == &all.members.back()) break; // the editor
    const bool killed = &m == &all.members[r.death.victim];
    for (std::size_t i = 0; i < domain_count; ++i) sum[i] += m.hits[i];
    snapshots += m.checked;
    if (m.seconds() > 0) rates += static_cast<double>(m.lookups()) / m.seconds();
    row(killed ? style.bad : fmt::text_style{}, m.program.name() + (killed ? ", killed" : ""),
        {rate(static_cast<double>(m.lookups()), m.seconds()), grouped(m.hits[0]), grouped(m.hits[1]),
         grouped(m.hits[2]), grouped(m.checked)});
  }
  rule(style);
  row(style.heading, "acknowledged",
      {rate(rates, 1), grouped(sum[0]), grouped(sum[1]), grouped(sum[2]), grouped(snapshots)});
  std::array<std::string, 5> stored;
  bool equal = true;
  for (std::size_t i = 0; i < domain_count; ++i) {
    stored[i + 1] = grouped(static_cast<std::uint64_t>(r.hits[i]));
    equal = equal && static_cast<std::uint64_t>(r.hits[i]) == sum[i];
  }
  stored[4] = equal ? "equal" : "NOT EQUAL";
  row(equal ? style.good : style.bad, "in the dict", stored);
}

void facts(const styles& style, const crew& all, const results& r) {
  const member& editor = all.members.back();
  const rescue& d = r.death;
  const std::string& victim = all.members[d.victim].program.name();
  fmt::print("\n");
  fact(style, "editing",
       fmt::format("{} edits/s, each a transaction over many keys of two entries",
                   rate(static_cast<double>(editor.edits), editor.seconds())));
  fact(style, "death",
       fmt::format("{} was killed after {:.1f} s, holding the lock, amid a transaction", victim, d.after_s));
  fact(style, "recovery",
       fmt::format("{:.1f} ms from SIGKILL to the next write; {:.1f} ms until all others had written", d.first_ms,
                   d.all_ms));
  fact(style, "reading",
       fmt::format("{} lookups/s by the parent while the lock was held",
                   rate(static_cast<double>(d.reads) * 1000, d.read_ms)));
  fact(style, "memory",
       fmt::format("{} of shared memory for {} of entries and {} of index", mib(r.stats.memory),
                   mib(r.stats.live_bytes), mib(r.stats.index_bytes)));
  fact(style, "",
       fmt::format("{} were written in all: the space of what is replaced is used again", mib(r.stats.position)));
  fmt::print("\n");
  for (std::size_t i = 0; i < r.samples.size(); ++i) fact(style, i == 0 ? "entries" : "", r.samples[i]);
}

} // namespace

bool report(const crew& all, const results& r, bool terminal) {
  const styles style(terminal && std::getenv("NO_COLOR") == nullptr); // NOLINT(concurrency-mt-unsafe): one thread
  worker_table(style, all, r);
  facts(style, all, r);

  fmt::print("\n");
  std::size_t failed = 0;
  for (const check& c : r.checks) {
    fmt::print(c.passed ? style.good : style.bad, "  {}", c.passed ? "✓" : "✗");
    fmt::print(" {}{}{}\n", c.text, c.passed ? "" : ": ", c.found);
    failed += c.passed ? 0 : 1;
  }
  fmt::print("\n");
  if (failed == 0)
    fmt::print(style.good, "  All of it checked out.");
  else
    fmt::print(style.bad, "  {} of {} checks FAILED.", failed, r.checks.size());
  fmt::print("\n");
  std::fflush(stdout);
  return failed == 0;
}

} // namespace demo
