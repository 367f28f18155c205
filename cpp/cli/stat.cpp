// SPDX-License-Identifier: Apache-2.0
// stat, check: how a dict is.
#include <fmt/format.h>

#include "commands.hpp"
#include "dict_handle.hpp"
#include "failure_of.hpp"
#include "json_writer.hpp"
#include "objects.hpp"
#include "output.hpp"
#include "shm/error.hpp"
#include "status.hpp"
#include "units.hpp"

namespace cli {
namespace {

std::vector<std::string> names_of_all() {
  std::vector<std::string> out;
  for (const auto& o : all_objects()) out.emplace_back(o.name);
  return out;
}

struct checked {
  std::vector<std::string> findings; // none: it is clean
  shmd_stats stats;
};

checked check_one(const std::string& name, const check_arguments& a) {
  dict_handle d(name, a.no_lock ? access::look : access::hold, a.timeout);
  checked c;
  const int result = shmd_check(
      d.get(), [](void* to, const char* finding) { static_cast<std::vector<std::string>*>(to)->emplace_back(finding); },
      &c.findings);
  if (result < 0 && (result != SHMD_ERR_CORRUPT || c.findings.empty())) shm::detail::throw_last(result);
  c.stats = d.stats();
  return c;
}

void print_checked(const std::string& name, const checked& c, bool as_json) {
  const bool clean = c.findings.empty();
  if (as_json) {
    print(json_text({{"name", name}, {"clean", clean}, {"findings", c.findings}, {"keys", c.stats.keys}}) + "\n");
  } else if (clean) {
    print(fmt::format("{}: {}, {}, {} of memory\n", printable(name), styled(style::green, "clean"),
                      counted(c.stats.keys, "key"), bytes_text(c.stats.memory)));
  } else {
    print(fmt::format("{}: {}: restore a backup, or unlink it\n", printable(name), styled(style::red, "damaged")));
    for (const auto& finding : c.findings) print("  " + printable(finding) + "\n");
  }
}

} // namespace

exit_code run_stat(const stat_arguments& a) {
  std::vector<status> all;
  for (const auto& name : a.names.empty() ? names_of_all() : a.names) {
    try {
      all.push_back(status_of(dict_handle(name, access::look)));
    } catch (const std::exception& e) {
      if (!a.names.empty()) throw;
      note(e.what()); // among all, one that cannot be opened
    }
  }
  if (a.prometheus) {
    print(prometheus_text(all));
  } else if (a.json) {
    if (a.names.size() == 1)
      print(json_text(status_json(all[0])) + "\n");
    else
      for (const auto& s : all) print(json_text(status_json(s)) + "\n");
  } else {
    bool first = true;
    for (const auto& s : all) {
      if (!first) print("\n");
      first = false;
      print(status_text(s));
    }
  }
  return exit_code::ok;
}

exit_code run_check(const check_arguments& a) {
  auto code = exit_code::ok;
  for (const auto& name : a.names) {
    checked c;
    try {
      c = check_one(name, a);
    } catch (const std::exception& e) { // the others are checked all the same
      const auto f = failure_of(e);
      note(f.what());
      if (code == exit_code::ok || f.code() == exit_code::corrupt) code = f.code();
      continue;
    }
    print_checked(name, c, a.json);
    if (!c.findings.empty()) code = exit_code::corrupt;
  }
  return code;
}

} // namespace cli
