// SPDX-License-Identifier: Apache-2.0
// top: what happens in all dicts, live. Reads leave no trace in a dict, so they are not among the figures.
#include <sys/statvfs.h>

#include <algorithm>
#include <chrono>
#include <ctime>
#include <map>
#include <optional>

#include <fmt/chrono.h>
#include <fmt/format.h>

#include "commands.hpp"
#include "dict_handle.hpp"
#include "json_writer.hpp"
#include "objects.hpp"
#include "output.hpp"
#include "screen.hpp"
#include "signals.hpp"
#include "status.hpp"
#include "table.hpp"
#include "units.hpp"

namespace cli {
namespace {

using clock = std::chrono::steady_clock;

// One dict between two looks.
struct row {
  shmd_object_info object;
  std::uint64_t commits = 0, position = 0, followers = 0;
  clock::time_point at;
  std::optional<double> writes, bytes; // per second, if there was a look before
};

class sampler {
 public:
  explicit sampler(const std::vector<std::string>& names) : names_(names) {}

  std::vector<row> look() {
    std::vector<row> out;
    std::map<std::string, row> seen;
    for (const auto& o : all_objects()) {
      if (!names_.empty() && std::find(names_.begin(), names_.end(), o.name) == names_.end()) continue;
      row r = look_at(o);
      const auto before = before_.find(identity(o));
      if (before != before_.end() && r.commits >= before->second.commits) {
        const double seconds = std::chrono::duration<double>(r.at - before->second.at).count();
        r.writes = static_cast<double>(r.commits - before->second.commits) / seconds;
        r.bytes = static_cast<double>(r.position - before->second.position) / seconds;
      }
      seen.emplace(identity(o), r);
      out.push_back(r);
    }
    before_ = std::move(seen);
    return out;
  }

 private:
  static std::string identity(const shmd_object_info& o) {
    return std::string(o.name) + std::string(reinterpret_cast<const char*>(o.id), sizeof o.id);
  }
  // Opened for a moment only: its memory is there as long as somebody maps it.
  static row look_at(const shmd_object_info& o) {
    row r{o, 0, 0, 0, clock::now(), {}, {}};
    if (o.result != 0) return r;
    try {
      const auto s = dict_handle(o.name, access::look).stats();
      r.commits = s.commits;
      r.position = s.position;
      r.followers = s.followers;
    } catch (const std::exception&) { // gone meanwhile
    }
    return r;
  }

  const std::vector<std::string>& names_;
  std::map<std::string, row> before_;
};

std::string rate(const std::optional<double>& v) { return v ? rate_text(*v) : "-"; }
std::string byte_rate(const std::optional<double>& v) {
  return v ? bytes_text(static_cast<std::uint64_t>(*v)) + "/s" : "-";
}

cell lock_cell(const shmd_object_info& o) {
  const auto text = holder_text(o.lock);
  if (!o.lock.held) return {text, style::dim};
  return {text, !o.lock.alive ? style::red : o.lock.waiters != 0 ? style::yellow : style::plain};
}

// Where all dicts lie: when it is full, writes fail with no_space.
struct file_system {
  std::string text;
  bool full = false;
};
file_system shared_memory() {
  struct statvfs fs {};
  if (statvfs("/dev/shm", &fs) != 0 || fs.f_blocks == 0) return {};
  const auto total = static_cast<std::uint64_t>(fs.f_blocks) * fs.f_frsize;
  const auto used = total - static_cast<std::uint64_t>(fs.f_bavail) * fs.f_frsize;
  const bool full = used > total / 10 * 9;
  return {fmt::format("/dev/shm {} of {}{}", bytes_text(used), bytes_text(total), full ? ", nearly full" : ""), full};
}

void sort_rows(std::vector<row>& rows, char by) {
  std::stable_sort(rows.begin(), rows.end(), [by](const row& a, const row& b) {
    switch (by) {
      case 'w':
        return a.writes.value_or(0) > b.writes.value_or(0);
      case 'm':
        return a.object.memory > b.object.memory;
      case 'k':
        return a.object.keys > b.object.keys;
      default:
        return false; // by name, as they come
    }
  });
}

// What is least missed goes first when the terminal is narrow.
table with_columns(std::size_t width, std::vector<std::size_t>& which) {
  std::vector<column> all{{"NAME", false, true}, {"KEYS", true},      {"MEMORY", true},    {"WRITES/S", true},
                          {"STREAM", true},      {"FOLLOWERS", true}, {"PROCESSES", true}, {"WRITE LOCK", false, true}};
  which = {0, 1, 2, 3, 4, 5, 6, 7};
  if (width < 100) which = {0, 1, 2, 3, 5, 6, 7};
  if (width < 84) which = {0, 1, 2, 3, 7};
  if (width < 50) which = {0, 3, 7};
  std::vector<column> columns;
  columns.reserve(which.size());
  for (const std::size_t c : which) columns.push_back(all[c]);
  return table(std::move(columns));
}

std::vector<cell> cells_of(const row& r) {
  const auto& o = r.object;
  if (o.result != 0)
    return {{o.name, style::red},      {"?"}, {bytes_text(o.memory)}, {"?"}, {"?"}, {"?"}, {"?"},
            {reason_of(o), style::red}};
  return {{o.name, o.orphaned ? style::yellow : style::plain},
          {grouped(o.keys)},
          {bytes_text(o.memory)},
          {rate(r.writes), r.writes.value_or(0) > 0 ? style::green : style::plain},
          {byte_rate(r.bytes)},
          {std::to_string(r.followers)},
          {std::to_string(o.attached)},
          o.orphaned ? cell{"orphan", style::yellow} : lock_cell(o)};
}

std::vector<std::string> page(std::vector<row> rows, char by) {
  sort_rows(rows, by);
  const std::size_t width = output_width();
  std::vector<std::size_t> which;
  table t = with_columns(width, which);
  std::uint64_t memory = 0;
  for (const auto& r : rows) {
    memory += r.object.memory;
    const auto all = cells_of(r);
    std::vector<cell> cells;
    cells.reserve(which.size());
    for (const std::size_t c : which) cells.push_back(all[c]);
    t.add(std::move(cells));
  }
  const auto fs = shared_memory();
  const auto title = fmt::format("shmdict top  {:%H:%M:%S}  {}, {}  {}", fmt::localtime(std::time(nullptr)),
                                 counted(rows.size(), "dict"), bytes_text(memory), fs.text);
  std::vector<std::string> lines;
  lines.push_back(styled(fs.full ? style::red : style::bold, shortened(title, width)));
  lines.emplace_back();
  for (auto& line : t.lines(width)) lines.push_back(std::move(line));
  const std::size_t room = std::max<std::size_t>(output_height(), 6) - 2;
  if (lines.size() > room) {
    const std::size_t more = lines.size() - room + 1;
    lines.resize(room - 1);
    lines.push_back(styled(style::dim, fmt::format("and {} more", more)));
  }
  lines.emplace_back();
  lines.push_back(styled(style::dim, shortened("q quit   sort by: n name  w writes  m memory  k keys", width)));
  return lines;
}

void live(const top_arguments& a, const stop_signals& stop) {
  sampler s(a.names);
  screen view;
  char by = 'n';
  auto rows = s.look();
  auto next = clock::now();
  for (std::uint64_t shown = 0; !stop.arrived();) {
    if (clock::now() >= next) {
      if (shown++ > 0) rows = s.look();
      if (shown > a.count) return;
      next = clock::now() + std::chrono::milliseconds(static_cast<std::int64_t>(a.interval * 1000));
    }
    view.show(page(rows, by));
    const char c = view.key(std::max(0.0, std::chrono::duration<double>(next - clock::now()).count()));
    if (c == 'q' || c == 'Q' || c == '\4') return;
    if (c == 'n' || c == 'w' || c == 'm' || c == 'k') by = c;
  }
}

json row_json(const row& r) {
  json j{{"name", r.object.name}, {"memory_bytes", r.object.memory}};
  if (r.object.result != 0) {
    j["error"] = shmd_error_name(r.object.result);
    return j;
  }
  j["keys"] = r.object.keys;
  j["writes_per_second"] = r.writes ? json(*r.writes) : json(nullptr);
  j["stream_bytes_per_second"] = r.bytes ? json(*r.bytes) : json(nullptr);
  j["followers"] = r.followers;
  j["attached"] = r.object.attached;
  j["orphan"] = r.object.orphaned != 0;
  j["lock"] = lock_json(r.object.lock);
  return j;
}

void plain(const top_arguments& a, const stop_signals& stop) {
  sampler s(a.names);
  static_cast<void>(s.look()); // rates need two
  for (std::uint64_t shown = 0; shown < a.count && !stop.arrived(); ++shown) {
    const timespec wait{
        static_cast<std::time_t>(a.interval),
        static_cast<long>((a.interval - static_cast<double>(static_cast<std::time_t>(a.interval))) * 1e9)};
    if (nanosleep(&wait, nullptr) != 0) return;
    const auto now = fmt::gmtime(std::time(nullptr));
    for (const auto& r : s.look()) {
      const auto time = fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", now);
      if (a.json) {
        auto j = row_json(r);
        j["time"] = time;
        print(json_text(j) + "\n");
      } else if (r.object.result != 0) {
        print(fmt::format("{} {} memory={} error={}\n", time, printable(r.object.name), r.object.memory,
                          shmd_error_name(r.object.result)));
      } else {
        print(fmt::format(
            "{} {} keys={} memory={} writes/s={:.1f} stream_bytes/s={:.0f} followers={} attached={} lock={}\n", time,
            printable(r.object.name), r.object.keys, r.object.memory, r.writes.value_or(0), r.bytes.value_or(0),
            r.followers, r.object.attached, printable(holder_text(r.object.lock))));
      }
    }
    flush_output();
  }
}

} // namespace

exit_code run_top(const top_arguments& a) {
  const stop_signals stop;
  for (const auto& name : a.names) static_cast<void>(object_called(name));
  if (output_is_terminal() && !a.json)
    live(a, stop);
  else
    plain(a, stop);
  return exit_code::ok;
}

} // namespace cli
