// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include "status.hpp"

namespace cli {
namespace {

struct metric {
  const char* name;
  const char* help;
  bool counter;
  double (*value)(const status&);
};

constexpr metric metrics[] = {
    {"keys", "Keys of the root dict.", false, [](const status& s) { return static_cast<double>(s.stats.keys); }},
    {"nested_dicts", "Nested dicts.", false, [](const status& s) { return static_cast<double>(s.stats.nodes); }},
    {"memory_bytes", "Memory of the shared object in use.", false,
     [](const status& s) { return static_cast<double>(s.stats.memory); }},
    {"max_size_bytes", "Memory that the object may use.", false,
     [](const status& s) { return static_cast<double>(s.stats.max_size); }},
    {"live_bytes", "Bytes of live records.", false,
     [](const status& s) { return static_cast<double>(s.stats.live_bytes); }},
    {"index_bytes", "Bytes of index blocks in use.", false,
     [](const status& s) { return static_cast<double>(s.stats.index_bytes); }},
    {"attached_processes", "Processes attached for writing.", false,
     [](const status& s) { return static_cast<double>(s.stats.attached); }},
    {"followers", "Open followers of the stream of changes.", false,
     [](const status& s) { return static_cast<double>(s.stats.followers); }},
    {"orphan", "1 if nobody has the dict open and its name should have gone.", false,
     [](const status& s) { return s.orphan ? 1.0 : 0.0; }},
    {"lock_held", "1 while somebody holds the writer lock.", false,
     [](const status& s) { return s.lock.held != 0 ? 1.0 : 0.0; }},
    {"lock_waiters", "1 while somebody may sleep for the writer lock.", false,
     [](const status& s) { return s.lock.waiters != 0 ? 1.0 : 0.0; }},
    {"lock_held_seconds", "How long the present holder has held the writer lock explicitly.", false,
     [](const status& s) { return s.lock.held != 0 ? static_cast<double>(s.lock.held_ns) / 1e9 : 0.0; }},
    {"pinned_bytes", "Bytes written since the oldest snapshot that is still open.", false,
     [](const status& s) {
       return s.stats.oldest_pin < s.stats.position ? static_cast<double>(s.stats.position - s.stats.oldest_pin) : 0.0;
     }},
    {"commits_total", "Committed writes and transactions.", true,
     [](const status& s) { return static_cast<double>(s.stats.commits); }},
    {"written_bytes_total", "Bytes appended to the log.", true,
     [](const status& s) { return static_cast<double>(s.stats.position); }},
    {"recoveries_total", "Take-overs of the lock from dead owners.", true,
     [](const status& s) { return static_cast<double>(s.stats.recoveries); }},
    {"cleaned_bytes_total", "Bytes moved by the cleaner.", true,
     [](const status& s) { return static_cast<double>(s.stats.cleaned_bytes); }},
};

std::string label(const char* value) {
  std::string out;
  for (const char* c = value; *c != '\0'; ++c) {
    if (*c == '\n')
      out += "\\n";
    else if (*c == '\\' || *c == '"')
      out += {'\\', *c};
    else
      out += *c;
  }
  return out;
}

} // namespace

// The text format, version 0.0.4: `shmdict stat --prometheus > node_exporter's textfile directory`.
std::string prometheus_text(const std::vector<status>& all) {
  std::string out;
  for (const metric& m : metrics) {
    out += fmt::format("# HELP shmdict_{0} {1}\n# TYPE shmdict_{0} {2}\n", m.name, m.help,
                       m.counter ? "counter" : "gauge");
    for (const status& s : all)
      out += fmt::format("shmdict_{}{{dict=\"{}\"}} {}\n", m.name, label(s.stats.name), m.value(s));
  }
  return out;
}

} // namespace cli
