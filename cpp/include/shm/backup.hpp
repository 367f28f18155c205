// SPDX-License-Identifier: Apache-2.0
// Backups: a dict as a stream of bytes, about as long as what is in it, in a file or wherever bytes go.
//
//   d.backup("/var/backups/hits.shm");                     // a consistent snapshot; writers go on
//   shm::restore("/var/backups/hits.shm", "hits.again");   // a new dict, visible whole or not at all
//   d.backup(std::cout);  shm::restore(std::cin, "hits.again");   // or through a pipe
//
// c-core/doc/backup-format.md describes the bytes. They are checked as they are read, and do not depend on the layout of shared
// memory. Named locks are not part of them.
#pragma once

#include <exception>
#include <istream>
#include <ostream>
#include <string>

#include "options.hpp"

SHM_NAMESPACE_BEGIN

namespace detail {

// A stream of the user's that the library calls for bytes, or gives them to. What it throws comes out behind the call.
struct backup_stream {
  std::ostream* out = nullptr;
  std::istream* in = nullptr;
  std::exception_ptr error;

  static constexpr int gave_up = SHMD_ERR_ABORTED;

  [[noreturn]] static void fail() {
    throw shm::error(errc::system, "the stream took no more of a backup: what it has is no good, write it again");
  }
  template <class F>
  int guarded(F f) noexcept {
    try {
      return f();
    } catch (...) {
      error = std::current_exception();
      return gave_up;
    }
  }
  static int write(void* context, const void* bytes, std::size_t size) {
    auto& self = *static_cast<backup_stream*>(context);
    return self.guarded([&] {
      if (self.out->write(static_cast<const char*>(bytes), static_cast<std::streamsize>(size))) return 0;
      fail();
    });
  }
  static int read(void* context, void* bytes, std::size_t size) {
    auto& self = *static_cast<backup_stream*>(context);
    return self.guarded([&] {
      self.in->read(static_cast<char*>(bytes), static_cast<std::streamsize>(size));
      if (self.in->bad()) throw shm::error(errc::system, "the stream gave no more of a backup: nothing was restored");
      return static_cast<int>(self.in->gcount());
    });
  }
  int finish(int result) {
    if (error != nullptr) std::rethrow_exception(error);
    return check(result);
  }
};

} // namespace detail

// Makes the dict `name` of the backup at `path`: types, nested dicts, and sizes that the options leave open are the
// backup's. Unlike a dict that is opened it stays when nobody has it open (options::unlink counts once somebody opens and
// closes it), and shm::list() does not call it an orphan: so open it, or unlink it.
// Errors: already_exists, permission_denied; no_space, too_many_dicts, value_too_long, invalid_argument (if options::max_size
// is too small they name a size that would do); system (no such file); of a file that is no whole backup:
// foreign_object, incomplete_object, corrupt, layout_mismatch.
inline void restore(const std::string& path, const std::string& name, const options& o = {}) {
  detail::check_name(name);
  detail::check_name(path);
  detail::check(shmd_restore(path.c_str(), name.c_str(), &o.native(), nullptr));
}

// The same from a stream, of which nothing behind the backup's end is read. What the stream throws comes out.
inline void restore(std::istream& from, const std::string& name, const options& o = {}) {
  detail::check_name(name);
  detail::backup_stream s;
  s.in = &from;
  s.finish(shmd_restore_from(detail::backup_stream::read, &s, name.c_str(), &o.native(), nullptr));
}

SHM_NAMESPACE_END
