// SPDX-License-Identifier: Apache-2.0
// Errors of the facade: one class for all, sub-classes where a caller would catch them apart.
//
// Every failure throws shm::error or one of its sub-classes, unless said otherwise: std::overflow_error and
// std::domain_error come from arithmetic on values, std::length_error and std::bad_alloc from where they always do.
// code() compares with shm::errc and, where there is a likeness, with std::errc. what() is one sentence that names the
// dict, the key, and what to do. Whatever throws leaves the dict as it was.
// Thread safety: an exception object belongs to the thread that caught it; copies never throw.
#pragma once

#include <shmdict/shmdict.h>

#include <chrono>
#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <type_traits>

#include "detail/namespace.hpp"

#if defined(__GNUC__)
#define SHM_VISIBLE __attribute__((visibility("default")))
#define SHM_COLD __attribute__((noinline, cold))
#define SHM_INLINE __attribute__((always_inline)) inline
#else
#define SHM_VISIBLE
#define SHM_COLD
#define SHM_INLINE inline
#endif

SHM_NAMESPACE_BEGIN

// Values of error::code(). The same numbers as the C interface's, see shmdict/shmdict.h for the sentences.
enum class errc : int {
  not_found = SHMD_NOT_FOUND,
  invalid_argument = SHMD_ERR_INVALID_ARGUMENT,
  invalid_name = SHMD_ERR_INVALID_NAME,
  name_too_long = SHMD_ERR_NAME_TOO_LONG,
  no_such_dict = SHMD_ERR_NO_SUCH_DICT,
  already_exists = SHMD_ERR_ALREADY_EXISTS,
  foreign_object = SHMD_ERR_FOREIGN_OBJECT,
  incomplete_object = SHMD_ERR_INCOMPLETE_OBJECT,
  layout_mismatch = SHMD_ERR_LAYOUT_MISMATCH,
  type_mismatch = SHMD_ERR_TYPE_MISMATCH,
  permission_denied = SHMD_ERR_PERMISSION_DENIED,
  other_owner = SHMD_ERR_OTHER_OWNER,
  no_space = SHMD_ERR_NO_SPACE,
  too_many_processes = SHMD_ERR_TOO_MANY_PROCESSES,
  too_many_dicts = SHMD_ERR_TOO_MANY_DICTS,
  too_many_collisions = SHMD_ERR_TOO_MANY_COLLISIONS,
  key_too_long = SHMD_ERR_KEY_TOO_LONG,
  value_too_long = SHMD_ERR_VALUE_TOO_LONG,
  transaction_too_large = SHMD_ERR_TRANSACTION_TOO_LARGE,
  closed = SHMD_ERR_CLOSED,
  removed = SHMD_ERR_REMOVED,
  read_only = SHMD_ERR_READ_ONLY,
  not_attached = SHMD_ERR_NOT_ATTACHED,
  busy = SHMD_ERR_BUSY,
  would_deadlock = SHMD_ERR_WOULD_DEADLOCK,
  lock_timeout = SHMD_ERR_LOCK_TIMEOUT,
  not_locked = SHMD_ERR_NOT_LOCKED,
  corrupt = SHMD_ERR_CORRUPT,
  snapshot_too_old = SHMD_ERR_SNAPSHOT_TOO_OLD,
  is_a_dict = SHMD_ERR_IS_A_DICT,
  not_a_dict = SHMD_ERR_NOT_A_DICT,
  in_transaction = SHMD_ERR_IN_TRANSACTION,
  no_transaction = SHMD_ERR_NO_TRANSACTION,
  out_of_memory = SHMD_ERR_OUT_OF_MEMORY,
  unsupported = SHMD_ERR_UNSUPPORTED,
  system = SHMD_ERR_SYSTEM,
  aborted = SHMD_ERR_ABORTED,
  owner_alive = SHMD_ERR_OWNER_ALIVE
};

// The category "shmdict". Lives for ever.
SHM_VISIBLE inline const std::error_category& category() noexcept;
inline std::error_code make_error_code(errc e) noexcept { return {static_cast<int>(e), category()}; }

// The base of all. Details are of the failed call; they are 0 or empty where the failure has none.
class SHM_VISIBLE error : public std::system_error {
 public:
  error(errc code, const std::string& message) : error(static_cast<int>(code), message, nullptr) {}
  error(int code, const std::string& message, const shmd_error_info* info)
      : std::system_error(code, category()), text_(message) {
    if (info == nullptr) return;
    os_error_ = info->system_error;
    pid_ = info->pid;
    thread_ = info->thread;
    held_ = std::chrono::nanoseconds(static_cast<std::int64_t>(info->held_ns));
    waited_ = std::chrono::nanoseconds(static_cast<std::int64_t>(info->waited_ns));
    std::memcpy(program_, info->program, sizeof program_ - 1);
  }

  const char* what() const noexcept override { return text_.what(); }
  int os_error() const noexcept { return os_error_; } // errno, or 0

  // Who was in the way: the holder of the lock (lock_timeout, lock_busy), or of a pin that keeps memory (no_space).
  std::int64_t blocking_pid() const noexcept { return pid_; } // as the holder sees itself; 0 = unknown
  std::int64_t thread() const noexcept { return thread_; }    // system thread id; 0 = unknown
  const char* program() const noexcept { return program_; }   // its program's name; lives as long as the exception
  std::chrono::nanoseconds held_for() const noexcept { return held_; }
  std::chrono::nanoseconds waited() const noexcept { return waited_; }

 private:
  std::runtime_error text_; // a string whose copies do not throw
  int os_error_ = 0;
  std::int64_t pid_ = 0;
  std::int64_t thread_ = 0;
  std::chrono::nanoseconds held_{0};
  std::chrono::nanoseconds waited_{0};
  char program_[sizeof(shmd_error_info::program)] = {};
};

// A value was asked for under a key that is not there.
class SHM_VISIBLE key_not_found : public error {
  using error::error;
};
// shm::open_only, and no dict has this name.
class SHM_VISIBLE no_such_dict : public error {
  using error::error;
};
// shm::create_only, and a dict has this name.
class SHM_VISIBLE already_exists : public error {
  using error::error;
};
// The dict was made with other types, or by another layout version of the library: see code(). Sizes and policies are not
// compared: see options.
class SHM_VISIBLE mismatch : public error {
  using error::error;
};
// The file system or max_size is full. Nothing changed; erase keys or unlink dicts.
class SHM_VISIBLE no_space : public error {
  using error::error;
};
// The lock was not free in time. Somebody alive holds it: see blocking_pid().
class SHM_VISIBLE lock_timeout : public error {
  using error::error;
};
// std::try_to_lock, and the lock is held.
class SHM_VISIBLE lock_busy : public error {
  using error::error;
};
// The dict was closed, moved from, or never opened.
class SHM_VISIBLE closed : public error {
  using error::error;
};
// A dict_ref whose dict was erased, replaced or cleared.
class SHM_VISIBLE removed : public error {
  using error::error;
};

namespace detail {

// Thrown where neither the dict nor the key is known, such as in a serializer. Whoever knows them throws it on as an error
// that names them: throw_placed() in detail/place.hpp. `path` is where it is, as far as it is known.
class SHM_VISIBLE unplaced : public error {
 public:
  unplaced(errc code, const std::string& problem, const std::string& path = {})
      : unplaced(static_cast<int>(code), problem, path, false) {}
  unplaced(int code, const std::string& problem, const std::string& path, bool of_core)
      : error(code, path.empty() ? problem : problem + " (at " + path + ")", nullptr),
        problem_(problem),
        path_(path),
        of_core_(of_core) {}
  unplaced below(const std::string& key) const { return {code().value(), problem(), key + path(), of_core_}; }
  const char* problem() const noexcept { return problem_.what(); }
  const char* path() const noexcept { return path_.what(); } // ["list"][3]
  bool of_core() const noexcept { return of_core_; }         // then last_error() knows more

 private:
  std::runtime_error problem_, path_; // strings whose copies do not throw
  bool of_core_;
};

class SHM_VISIBLE error_category final : public std::error_category {
 public:
  const char* name() const noexcept override { return "shmdict"; }
  std::string message(int code) const override { return shmd_error_message(code); }
  std::error_condition default_error_condition(int code) const noexcept override {
    switch (static_cast<errc>(code)) {
      case errc::invalid_argument:
      case errc::invalid_name:
        return std::errc::invalid_argument;
      case errc::name_too_long:
        return std::errc::filename_too_long;
      case errc::no_such_dict:
        return std::errc::no_such_file_or_directory;
      case errc::already_exists:
        return std::errc::file_exists;
      case errc::permission_denied:
      case errc::other_owner:
        return std::errc::permission_denied;
      case errc::no_space:
        return std::errc::no_space_on_device;
      case errc::read_only:
        return std::errc::read_only_file_system;
      case errc::busy:
        return std::errc::resource_unavailable_try_again;
      case errc::would_deadlock:
        return std::errc::resource_deadlock_would_occur;
      case errc::lock_timeout:
        return std::errc::timed_out;
      case errc::out_of_memory:
        return std::errc::not_enough_memory;
      case errc::unsupported:
        return std::errc::not_supported;
      default:
        return {code, *this};
    }
  }
};

// Throws what `code` stands for: a negative result of the core, SHMD_NOT_FOUND, or SHMD_TIMED_OUT (of a try-lock).
[[noreturn]] SHM_COLD inline void throw_as(int code, const std::string& message, const shmd_error_info* info) {
  switch (code) {
    case SHMD_NOT_FOUND:
      throw key_not_found(code, message, info);
    case SHMD_TIMED_OUT:
      throw lock_busy(SHMD_ERR_LOCK_TIMEOUT, message, info);
    case SHMD_ERR_OWNER_ALIVE:
      throw lock_busy(code, message, info);
    case SHMD_ERR_NO_SUCH_DICT:
      throw no_such_dict(code, message, info);
    case SHMD_ERR_ALREADY_EXISTS:
      throw already_exists(code, message, info);
    case SHMD_ERR_LAYOUT_MISMATCH:
    case SHMD_ERR_TYPE_MISMATCH:
      throw mismatch(code, message, info);
    case SHMD_ERR_NO_SPACE:
      throw no_space(code, message, info);
    case SHMD_ERR_LOCK_TIMEOUT:
      throw lock_timeout(code, message, info);
    case SHMD_ERR_CLOSED:
      throw closed(code, message, info);
    case SHMD_ERR_REMOVED:
      throw removed(code, message, info);
    default:
      throw error(code, message, info);
  }
}

// What the core says about the calling thread's last failure, if that was `code`; else nullptr.
inline const shmd_error_info* last_error(int code) noexcept {
  const shmd_error_info* info = shmd_last_error();
  const bool lock = code == SHMD_ERR_LOCK_TIMEOUT || code == SHMD_TIMED_OUT;
  const bool known =
      info->code == code || (lock && (info->code == SHMD_TIMED_OUT || info->code == SHMD_ERR_LOCK_TIMEOUT));
  return known ? info : nullptr;
}
// Its words, for those who never called a C function: "shmd_put: the key ..." begins with the dict instead.
SHM_COLD inline std::string last_message(int code, const std::string& dict) {
  if (code == SHMD_ERR_CLOSED) return "the dict is closed: it was never opened, or it was closed or moved from";
  const shmd_error_info* info = last_error(code);
  std::string message = info != nullptr ? info->message : shmd_error_message(code);
  const auto colon = message.find(": ");
  if (message.compare(0, 5, "shmd_") == 0 && colon != std::string::npos) message.erase(0, colon + 2);
  for (std::size_t at = 0; (at = message.find(" shmd_", at)) != std::string::npos;) // a dict's name stands in quotes
    message.compare(at + 1, 10, "shmd_check") == 0 ? message.replace(at + 1, 10, "`shmdict check`")
                                                   : message.erase(at + 1, 5);
  const std::string prefix = "dict '" + dict + "'";
  if (!dict.empty() && message.find(prefix) == std::string::npos) message.insert(0, prefix + ": ");
  return message;
}

// Of a long path the ends: messages are for people.
inline std::string shortened(std::string_view path) {
  constexpr std::size_t end = 100;
  if (path.size() <= 2 * end + 5) return std::string(path);
  return std::string(path.substr(0, end)) + " ... " + std::string(path.substr(path.size() - end));
}

// The same with the core's own words about the calling thread's last failure. `path` says where in the tree, may be "".
[[noreturn]] SHM_COLD inline void throw_last(int code, std::string_view path = {}, const std::string& dict = {}) {
  std::string message = last_message(code, dict);
  if (!path.empty()) message.append(" (at ").append(shortened(path)).append(")");
  throw_as(code, message, last_error(code));
}

inline int check(int result) {
  if (result < 0) throw_last(result);
  return result;
}

} // namespace detail

inline const std::error_category& category() noexcept {
  static const detail::error_category instance;
  return instance;
}

SHM_NAMESPACE_END

template <>
struct std::is_error_code_enum<shm::errc> : std::true_type {};
