// SPDX-License-Identifier: Apache-2.0
// backup, restore: a dict as a stream of bytes, in a file or a pipe.
#include <sys/stat.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <exception>
#include <memory>

#include <fmt/format.h>

#include "commands.hpp"
#include "dict_handle.hpp"
#include "json_writer.hpp"
#include "output.hpp"
#include "shm/error.hpp"
#include "units.hpp"

namespace cli {
namespace {

// What is thrown while the library calls comes out behind that call.
struct thrown {
  std::exception_ptr error;

  template <class F>
  int catching(F f) noexcept {
    try {
      return f();
    } catch (...) {
      error = std::current_exception();
      return -1;
    }
  }
  int result(int returned) const {
    if (error != nullptr) std::rethrow_exception(error);
    return returned;
  }
};

void backup_to_output(const backup_arguments& a) {
  if (a.json) throw failure(exit_code::usage, "--json and a backup on standard output exclude each other: name a file");
  if (output_is_terminal())
    throw failure(exit_code::usage,
                  "a backup is binary, and standard output is a terminal: redirect it, or name a file");
  const dict_handle d(a.name, access::hold);
  thrown t;
  const auto write = [](void* context, const void* bytes, std::size_t size) {
    return static_cast<thrown*>(context)->catching([&] {
      print({static_cast<const char*>(bytes), size});
      return 0;
    });
  };
  shm::detail::check(t.result(shmd_backup_to(d.get(), write, &t)));
}

struct input : thrown {
  std::FILE* file = nullptr;
  const char* name = nullptr;

  static int read(void* context, void* bytes, std::size_t size) {
    auto& self = *static_cast<input*>(context);
    return self.catching([&] {
      const std::size_t n = std::fread(bytes, 1, size, self.file);
      if (n == 0 && std::ferror(self.file) != 0)
        throw failure(exit_code::failed, fmt::format("cannot read '{}': {}", self.name,
                                                     std::strerror(errno))); // NOLINT(concurrency-mt-unsafe)
      return static_cast<int>(n);
    });
  }
};

// From a pipe, a socket, a device.
int restore_stream(const backup_arguments& a, const shmd_options& options) {
  const bool standard = a.file == "-";
  if (standard && input_is_terminal())
    throw failure(exit_code::usage,
                  "a backup is binary, and standard input is a terminal: redirect it, or name a file");
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(
      standard ? stdin : std::fopen(a.file.c_str(), "rb"),
      [](std::FILE* f) { return f == stdin ? 0 : std::fclose(f); });
  if (!file)
    throw failure(errno == EACCES ? exit_code::permission : exit_code::failed,
                  fmt::format("cannot read '{}': {}", a.file, std::strerror(errno))); // NOLINT(concurrency-mt-unsafe)
  std::setvbuf(file.get(), nullptr, _IONBF, 0); // what is behind the backup is for who reads next
  input in;
  in.file = file.get();
  in.name = standard ? "standard input" : a.file.c_str();
  return in.result(shmd_restore_from(input::read, &in, a.name.c_str(), &options, nullptr));
}

// Whether it can only be read from front to back, as what a shell makes of <(...) can.
bool is_stream(const std::string& file) {
  struct stat s {};
  return file == "-" || (stat(file.c_str(), &s) == 0 && !S_ISREG(s.st_mode) && !S_ISDIR(s.st_mode));
}

} // namespace

exit_code run_backup(const backup_arguments& a) {
  if (a.file == "-") {
    backup_to_output(a);
    return exit_code::ok;
  }
  const dict_handle d(a.name, access::hold);
  const int result = shmd_backup(d.get(), a.file.c_str());
  if (result == SHMD_ERR_FOREIGN_OBJECT)
    throw failure(exit_code::refused, fmt::format("'{0}' is there and is no regular file, so it stays: name another "
                                                  "file, or write into it with `shmdict backup {1} - > {0}`",
                                                  a.file, a.name));
  shm::detail::check(result);
  struct stat file {};
  if (stat(a.file.c_str(), &file) != 0) file.st_size = 0;
  const auto bytes = static_cast<std::uint64_t>(file.st_size);
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
  const int result =
      is_stream(a.file) ? restore_stream(a, options) : shmd_restore(a.file.c_str(), a.name.c_str(), &options, nullptr);
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
