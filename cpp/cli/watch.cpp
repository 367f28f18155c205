// SPDX-License-Identifier: Apache-2.0
// watch: changes as they happen, a JSON line each.
#include <algorithm>
#include <memory>

#include <fmt/format.h>

#include "commands.hpp"
#include "dict_handle.hpp"
#include "json_writer.hpp"
#include "output.hpp"
#include "pointer.hpp"
#include "shm/error.hpp"
#include "signals.hpp"
#include "tree.hpp"

namespace cli {
namespace {

constexpr std::int64_t patience = 200'000'000; // ns between looks at signals

struct follower_deleter {
  void operator()(shmd_follower* f) const noexcept { shmd_follow_close(f); }
};
using follower = std::unique_ptr<shmd_follower, follower_deleter>;

follower follow(const dict_handle& d, std::uint64_t position) {
  shmd_follower* f = nullptr;
  shm::detail::check(shmd_follow_open(d.get(), position, &f));
  return follower(f);
}

const char* kind_name(int kind) {
  switch (kind) {
    case SHMD_CHANGE_PUT:
      return "put";
    case SHMD_CHANGE_ERASE:
      return "erase";
    case SHMD_CHANGE_NODE:
      return "dict";
    case SHMD_CHANGE_CLEAR:
      return "clear";
    default:
      return "unknown";
  }
}

// Where a change happened, and what it says, decoded as far as it can be.
struct change {
  std::vector<std::string> tokens; // of the entry
  json line;
};

change describe(const dict_handle& d, const shmd_change& c) {
  change out;
  level l = root_of(d);
  std::string problem; // with bytes that are no key or value of their type
  const auto token = [&](const level& at, std::string_view bytes) {
    try {
      return token_of_key(*at.keys, decode(*at.keys, bytes));
    } catch (const shm::error& e) {
      if (problem.empty()) problem = e.what();
      return to_hex(bytes);
    }
  };
  for (std::size_t i = 0; i < c.path_length; ++i) {
    out.tokens.push_back(token(l, bytes_of(c.path[i].key, c.path[i].key_size)));
    l = below(l, c.node);
  }
  out.line = {{"kind", kind_name(c.kind)},
              {"position", c.position},
              {"next", c.next},
              {"first", c.first != 0},
              {"last", c.last != 0}};
  if (c.kind != SHMD_CHANGE_CLEAR) out.tokens.push_back(token(l, bytes_of(c.key, c.key_size)));
  if (c.kind == SHMD_CHANGE_PUT) {
    try {
      out.line["value"] = decode(*l.values, bytes_of(c.value, c.value_size));
    } catch (const shm::error& e) {
      problem = e.what();
      out.line["value"] = nullptr;
    }
  }
  if (!problem.empty()) out.line["error"] = problem;
  std::string path;
  for (const auto& t : out.tokens) path += "/" + escape_token(t);
  out.line["path"] = path;
  return out;
}

// Whether a change concerns what is watched: it happened there or below, or to what is above.
bool concerns(const std::vector<std::string>& watched, const std::vector<std::string>& where) {
  const std::size_t n = std::min(watched.size(), where.size());
  return std::equal(watched.begin(), watched.begin() + static_cast<std::ptrdiff_t>(n), where.begin());
}

void print_line(const json& line) {
  // Not sorted: what one looks for stands in front.
  std::string out = "{";
  for (const char* key : {"kind", "path", "value", "error", "position", "next", "first", "last"})
    if (line.contains(key)) out += fmt::format("{}\"{}\":{}", out.size() > 1 ? "," : "", key, json_text(line[key]));
  print(out + "}\n");
}

} // namespace

exit_code run_watch(const watch_arguments& a) {
  const auto watched = parse_pointer(a.path);
  dict_handle d(a.name, access::hold);
  const stop_signals stop;
  const auto f = follow(d, a.since);
  std::uint64_t left = a.count;
  bool named = true;
  while (left > 0 && !stop.arrived()) {
    shmd_change c;
    const int result = shmd_follow_next(f.get(), &c);
    if (result == SHMD_END) {
      flush_output();
      const int waited = shm::detail::check(shmd_follow_wait(f.get(), patience));
      if (waited == SHMD_TIMED_OUT && named && d.stats().unlinked != 0) {
        named = false;
        note(fmt::format("'{}' was unlinked: this watches the old dict on; one that is made anew is another", a.name));
      }
    } else if (result == SHMD_RESYNC) {
      // Somebody wrote more than the history keeps: what happened in between is not known, the present state is.
      const snapshot s(d);
      print(fmt::format("{{\"kind\":\"resync\",\"position\":{0},\"next\":{0}}}\n", s.position()));
      note("fell behind the dict's history: changes were missed; the present state is what `shmdict get` shows");
      shm::detail::check(shmd_follow_seek(f.get(), s.position()));
    } else {
      shm::detail::check(result);
      const auto described = describe(d, c);
      if (!concerns(watched, described.tokens)) continue;
      print_line(described.line);
      --left;
    }
  }
  return exit_code::ok;
}

} // namespace cli
