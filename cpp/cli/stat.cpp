// stat, check: how a dict is.
#include <fmt/format.h>

#include "commands.hpp"
#include "dict_handle.hpp"
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
    dict_handle d(name, a.no_lock ? access::look : access::hold, a.timeout);
    std::vector<std::string> findings;
    const int result = shmd_check(
        d.get(),
        [](void* to, const char* finding) { static_cast<std::vector<std::string>*>(to)->emplace_back(finding); },
        &findings);
    if (result < 0 && result != SHMD_ERR_CORRUPT) shm::detail::throw_last(result);
    const bool clean = result >= 0;
    if (!clean) code = exit_code::corrupt;
    const auto s = d.stats();
    if (a.json) {
      print(json_text({{"name", name}, {"clean", clean}, {"findings", findings}, {"keys", s.keys}}) + "\n");
    } else if (clean) {
      print(fmt::format("{}: {}, {}, {} of memory\n", printable(name), styled(style::green, "clean"),
                        counted(s.keys, "key"), bytes_text(s.memory)));
    } else {
      print(fmt::format("{}: {}: restore a backup, or unlink it\n", printable(name), styled(style::red, "damaged")));
      for (const auto& finding : findings) print("  " + printable(finding) + "\n");
    }
  }
  return code;
}

} // namespace cli
