// SPDX-License-Identifier: Apache-2.0
// ls, unlink: all dicts there are.
#include <pwd.h>
#include <sys/types.h>

#include <algorithm>
#include <iostream>

#include <fmt/format.h>

#include "commands.hpp"
#include "dict_handle.hpp"
#include "failure_of.hpp"
#include "json_writer.hpp"
#include "named_locks.hpp"
#include "objects.hpp"
#include "output.hpp"
#include "shm/error.hpp"
#include "status.hpp"
#include "table.hpp"
#include "units.hpp"

namespace cli {
namespace {

std::string user_name(std::uint32_t id) {
  const passwd* user = getpwuid(id); // NOLINT(concurrency-mt-unsafe): the command has one thread
  return user != nullptr ? user->pw_name : std::to_string(id);
}

// What is to be said about an object, most pressing first.
cell state_of(const shmd_object_info& o) {
  if (o.result != 0) return {reason_of(o), style::red};
  if (o.lock.held && !o.lock.alive) return {"lock owner died", style::yellow};
  if (o.orphaned) return {"orphan", style::yellow};
  if (!o.present) return {"nobody has it open", style::dim};
  return {"in use", style::plain};
}

std::string locks_text(const std::vector<named_lock>& locks) {
  std::string out;
  for (const auto& l : locks)
    out += fmt::format("{}{}: {} ({}){}", out.empty() ? "" : "; ", l.name, l.program, l.pid, l.alive ? "" : ", dead");
  return out;
}

// Taking a look must not fail because of one dict.
std::vector<named_lock> locks_of(const shmd_object_info& o) {
  if (o.result != 0) return {};
  try {
    return named_locks(dict_handle(o.name, access::look));
  } catch (const std::exception&) {
    return {};
  }
}

json object_json(const shmd_object_info& o) {
  json j{{"name", o.name}, {"user", user_name(o.user)}, {"memory_bytes", o.memory}};
  if (o.result != 0) {
    j["error"] = shmd_error_name(o.result);
    if (o.layout_version != 0) j["layout"] = o.layout_version;
    return j;
  }
  j["keys"] = o.keys;
  j["attached"] = o.attached;
  j["in_use"] = o.present != 0;
  j["orphan"] = o.orphaned != 0;
  j["unlink"] = unlink_policy(o.unlink);
  j["key_type"] = o.key_type;
  j["value_type"] = o.value_type;
  j["creator_pid"] = o.creator_pid;
  j["max_size_bytes"] = o.max_size;
  j["lock"] = lock_json(o.lock);
  j["named_locks"] = json::array();
  for (const auto& l : locks_of(o)) j["named_locks"].push_back(named_lock_json(l));
  return j;
}

void print_table(const std::vector<shmd_object_info>& objects) {
  std::vector<std::string> locks;
  locks.reserve(objects.size());
  for (const auto& o : objects) locks.push_back(locks_text(locks_of(o)));
  const bool any_lock = std::any_of(locks.begin(), locks.end(), [](const std::string& l) { return !l.empty(); });
  std::vector<column> columns{{"NAME", false, true}, {"KEYS", true}, {"MEMORY", true},
                              {"PROCESSES", true},   {"USER"},       {"WRITE LOCK", false, true},
                              {"STATE", false, true}};
  if (any_lock) columns.push_back({"NAMED LOCKS", false, true});
  table t(columns);
  for (std::size_t i = 0; i < objects.size(); ++i) {
    const auto& o = objects[i];
    const bool known = o.result == 0;
    std::vector<cell> row{{o.name, o.orphaned ? style::yellow : style::plain},
                          {known ? grouped(o.keys) : "?"},
                          {bytes_text(o.memory)},
                          {known ? std::to_string(o.attached) : "?"},
                          {user_name(o.user)},
                          {known ? holder_text(o.lock) : "?", o.lock.held ? style::yellow : style::dim},
                          state_of(o)};
    if (any_lock) row.push_back({locks[i]});
    t.add(std::move(row));
  }
  t.print();
}

bool confirmed(const std::string& question) {
  say(fmt::format("{} [y/N] ", printable(question)));
  std::string answer;
  if (!std::getline(std::cin, answer)) return false;
  for (char& c : answer)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return answer == "y" || answer == "yes";
}

std::string description(const std::string& name) {
  for (const auto& o : all_objects()) {
    if (name != o.name) continue;
    if (o.result != 0) return fmt::format("{} ({})", name, reason_of(o));
    return fmt::format("{} ({}, {}, {})", name, counted(o.keys, "key"), bytes_text(o.memory),
                       o.attached == 0 ? "nobody attached" : counted(o.attached, "process") + " attached");
  }
  return name;
}

} // namespace

exit_code run_ls(const list_arguments& a) {
  auto objects = all_objects();
  if (a.orphans)
    objects.erase(std::remove_if(objects.begin(), objects.end(), [](const auto& o) { return !o.orphaned; }),
                  objects.end());
  if (a.zero) {
    for (const auto& o : objects) print(std::string(o.name) + '\0');
  } else if (a.names) {
    for (const auto& o : objects) print(printable(o.name) + "\n");
  } else if (a.json) {
    for (const auto& o : objects) print(json_text(object_json(o)) + "\n");
  } else if (objects.empty()) {
    note(a.orphans ? "there are no orphans" : "there are no dicts");
  } else {
    print_table(objects);
  }
  return exit_code::ok;
}

exit_code run_unlink(const unlink_arguments& a) {
  if (a.orphans && !a.names.empty())
    throw failure(exit_code::usage, "name dicts, or take all orphans with --orphans, not both");
  auto names = a.names;
  if (a.orphans)
    for (const auto& o : all_objects())
      if (o.orphaned) names.emplace_back(o.name);
  if (names.empty()) {
    if (!a.orphans) throw failure(exit_code::usage, "which dict? `shmdict ls` shows all; --orphans takes all orphans");
    note("there are no orphans");
    return exit_code::ok;
  }
  auto code = exit_code::ok;
  const auto failed = [&code](exit_code why) {
    if (code == exit_code::ok) code = why;
  };
  for (const auto& name : names) {
    if (!a.yes && input_is_terminal() && errors_are_terminal() &&
        !confirmed(fmt::format("unlink {}?", description(name)))) {
      failed(exit_code::no);
      continue;
    }
    const int result = shmd_unlink(name.c_str());
    if (result == SHMD_ERR_NO_SUCH_DICT) {
      if (a.orphans) continue; // somebody else was faster
      note(fmt::format("no dict is called '{}': `shmdict ls` shows all", name));
      failed(exit_code::no_dict);
      continue;
    }
    try {
      shm::detail::check(result);
    } catch (const shm::error& e) { // the others go all the same
      const auto f = failure_of(e);
      note(f.what());
      failed(f.code());
      continue;
    }
    if (a.json)
      print(json_text({{"unlinked", name}}) + "\n");
    else if (a.orphans)
      print(fmt::format("unlinked {}\n", printable(name)));
  }
  return code;
}

} // namespace cli
