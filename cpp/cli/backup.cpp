// SPDX-License-Identifier: Apache-2.0
// backup, restore: a dict as one binary file.
#include <sys/stat.h>

#include <cerrno>

#include <fmt/format.h>

#include "commands.hpp"
#include "dict_handle.hpp"
#include "json_writer.hpp"
#include "output.hpp"
#include "shm/error.hpp"
#include "units.hpp"

namespace cli {

exit_code run_backup(const backup_arguments& a) {
  if (a.file == "-")
    throw failure(exit_code::usage,
                  "a backup cannot go into a pipe: name a file, or use `shmdict dump` ('./-' is a file "
                  "of that name)");
  dict_handle d(a.name, access::hold);
  shm::detail::check(shmd_backup(d.get(), a.file.c_str()));
  struct stat file {};
  if (stat(a.file.c_str(), &file) != 0) file.st_blocks = 0;
  const auto bytes = static_cast<std::uint64_t>(file.st_blocks) * 512;
  if (a.json)
    print(json_text({{"name", a.name}, {"file", a.file}, {"bytes", bytes}}) + "\n");
  else if (output_is_terminal())
    print(fmt::format("{}: {} in {}\n", printable(a.name), bytes_text(bytes), printable(a.file)));
  return exit_code::ok;
}

exit_code run_restore(const backup_arguments& a) {
  shmd_options options;
  shmd_options_init(&options);
  options.unlink = SHMD_UNLINK_NEVER;
  const int result = shmd_restore(a.file.c_str(), a.name.c_str(), &options, nullptr);
  if (result == SHMD_ERR_ALREADY_EXISTS)
    throw failure(exit_code::refused, fmt::format("a dict called '{0}' exists already: restore to another name, or "
                                                  "`shmdict unlink {0}` first",
                                                  a.name));
  if (result == SHMD_ERR_SYSTEM && shmd_last_error()->system_error == ENOENT)
    throw failure(exit_code::no, fmt::format("cannot read '{}': there is no such file", a.file));
  shm::detail::check(result);
  if (a.json) print(json_text({{"name", a.name}, {"file", a.file}}) + "\n");
  return exit_code::ok;
}

} // namespace cli
