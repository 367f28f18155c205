// SPDX-License-Identifier: Apache-2.0
#include "status.hpp"

#include <fmt/format.h>

#include "output.hpp"
#include "shm/error.hpp"
#include "units.hpp"

namespace cli {
namespace {

std::string id_text(const shmd_stats& s) {
  return to_hex({reinterpret_cast<const char*>(s.id), sizeof s.id}).substr(2);
}

std::string or_none(const char* name) { return *name != '\0' ? name : "(not named: raw bytes)"; }

std::string attached_text(const status& s) {
  auto text = fmt::format("{} of at most {} processes", s.stats.attached, s.stats.max_processes);
  if (s.orphan) text += ": an orphan; `shmdict unlink --orphans` removes it";
  return text;
}

std::string pin_text(const shmd_stats& s) {
  if (s.oldest_pin == UINT64_MAX) return "none";
  return fmt::format("held by process {}, {} behind", s.oldest_pin_pid,
                     bytes_text(s.position - std::min(s.oldest_pin, s.position)));
}

} // namespace

const char* unlink_policy(int policy) {
  switch (policy) {
    case SHMD_UNLINK_LAST_CLOSES:
      return "last_closes";
    case SHMD_UNLINK_CREATOR_CLOSES:
      return "creator_closes";
    case SHMD_UNLINK_THIS_CLOSES:
      return "this_closes";
    case SHMD_UNLINK_NEVER:
      return "never";
    default:
      return "unknown";
  }
}

std::string holder_text(const shmd_lock_info& lock) {
  if (!lock.held) return "free";
  auto text = fmt::format("{} ({})", *lock.program != '\0' ? lock.program : "process", lock.pid);
  if (!lock.alive) text += ", which is dead: the next writer takes over";
  if (lock.held_ns != 0) text += " for " + time_text(lock.held_ns);
  if (lock.waiters != 0) text += ", others wait";
  return text;
}

status status_of(const dict_handle& d) {
  status s{d.stats(), {}, attendance_of(d.name()).orphan, named_locks(d), {}};
  shm::detail::check(shmd_lock_status(d.get(), &s.lock));
  shm::detail::check(shmd_processes(
      d.get(),
      [](void* to, const shmd_process_info* p) {
        if (!p->this_process) static_cast<std::vector<shmd_process_info>*>(to)->push_back(*p);
        return 0;
      },
      &s.processes));
  return s;
}

std::string status_text(const status& s) {
  const shmd_stats& t = s.stats;
  std::string out = styled(style::bold, printable(t.name)) + "\n";
  const auto line = [&](const char* what, const std::string& text) {
    out += fmt::format("  {:<12}{}\n", what, printable(text));
  };
  line("keys", fmt::format("{}, and {}", grouped(t.keys), counted(t.nodes, "nested dict")));
  line("types", fmt::format("{} -> {}", or_none(t.key_type), or_none(t.value_type)));
  line("memory", fmt::format("{} of at most {}; values {}, index {}", bytes_text(t.memory), bytes_text(t.max_size),
                             bytes_text(t.live_bytes), bytes_text(t.index_bytes)));
  line("attached", attached_text(s));
  for (const auto& p : s.processes)
    line("", fmt::format("{} ({}) for {}{}", p.program, p.pid, time_text(p.attached_ns),
                         p.pin != UINT64_MAX ? ", holds a snapshot" : ""));
  line("write lock", holder_text(s.lock));
  for (const auto& l : s.named_locks)
    line("named lock", fmt::format("{}: {} ({}) for {}{}", l.name, l.program, l.pid, time_text(l.held_ns),
                                   l.alive ? "" : ", which is dead: the next one takes it over"));
  line("commits", fmt::format("{}, {} written in all", grouped(t.commits), bytes_text(t.position)));
  line("recoveries",
       fmt::format("{} after dead owners, {} with a write to finish", grouped(t.recoveries), grouped(t.replays)));
  line("snapshots", pin_text(t));
  line("followers", fmt::format("{}, with {} of history to fall behind", t.followers, bytes_text(t.buffer_size)));
  line("unlink", fmt::format("{}{}", unlink_policy(t.unlink), t.unlinked ? "; the name is gone already" : ""));
  line("created by", fmt::format("process {}, layout {}", t.creator_pid, t.layout_version));
  return out;
}

json lock_json(const shmd_lock_info& lock) {
  json j{{"held", lock.held != 0}, {"waiters", lock.waiters != 0}, {"acquisitions", lock.acquisitions}};
  if (!lock.held) return j;
  j["pid"] = lock.pid;
  j["thread"] = lock.thread;
  j["program"] = lock.program;
  j["alive"] = lock.alive != 0;
  j["held_ns"] = lock.held_ns;
  return j;
}

json status_json(const status& s) {
  const shmd_stats& t = s.stats;
  json locks = json::array(), processes = json::array();
  for (const auto& l : s.named_locks) locks.push_back(named_lock_json(l));
  for (const auto& p : s.processes)
    processes.push_back(
        {{"pid", p.pid}, {"program", p.program}, {"attached_ns", p.attached_ns}, {"pins", p.pin != UINT64_MAX}});
  json pin;
  if (t.oldest_pin != UINT64_MAX) pin = {{"position", t.oldest_pin}, {"pid", t.oldest_pin_pid}};
  return {{"name", t.name},
          {"id", id_text(t)},
          {"key_type", t.key_type},
          {"value_type", t.value_type},
          {"keys", t.keys},
          {"nested_dicts", t.nodes},
          {"memory_bytes", t.memory},
          {"max_size_bytes", t.max_size},
          {"live_bytes", t.live_bytes},
          {"index_bytes", t.index_bytes},
          {"log_bytes", t.log_bytes},
          {"buffer_size_bytes", t.buffer_size},
          {"max_pin_bytes", t.max_pin_bytes},
          {"segment_size_bytes", t.segment_size},
          {"attached", t.attached},
          {"followers", t.followers},
          {"max_processes", t.max_processes},
          {"orphan", s.orphan},
          {"unlink", unlink_policy(t.unlink)},
          {"unlinked", t.unlinked != 0},
          {"creator_pid", t.creator_pid},
          {"layout", t.layout_version},
          {"position", t.position},
          {"commits", t.commits},
          {"recoveries", t.recoveries},
          {"replays", t.replays},
          {"cleaned_bytes", t.cleaned_bytes},
          {"recycles", t.recycles},
          {"splits", t.splits},
          {"merges", t.merges},
          {"oldest_pin", std::move(pin)},
          {"lock", lock_json(s.lock)},
          {"named_locks", std::move(locks)},
          {"processes", std::move(processes)}};
}

} // namespace cli
