// SPDX-License-Identifier: Apache-2.0
#include "failure_of.hpp"

#include <cerrno>
#include <new>

#include "shm/error.hpp"

namespace cli {
namespace {

exit_code code_of(const shm::error& e) {
  if (e.os_error() == EFBIG) return exit_code::no_space; // ulimit -f
  switch (static_cast<shm::errc>(e.code().value())) {
    case shm::errc::no_such_dict:
      return exit_code::no_dict;
    case shm::errc::not_found:
      return exit_code::no;
    case shm::errc::invalid_name:
    case shm::errc::name_too_long:
    case shm::errc::invalid_argument:
      return exit_code::usage;
    case shm::errc::already_exists:
    case shm::errc::foreign_object:
    case shm::errc::layout_mismatch:
    case shm::errc::type_mismatch:
    case shm::errc::key_too_long:
    case shm::errc::value_too_long:
    case shm::errc::is_a_dict:
    case shm::errc::not_a_dict:
    case shm::errc::removed:
      return exit_code::refused;
    case shm::errc::busy:
    case shm::errc::lock_timeout:
    case shm::errc::would_deadlock:
    case shm::errc::snapshot_too_old:
      return exit_code::busy;
    case shm::errc::permission_denied:
    case shm::errc::other_owner:
    case shm::errc::read_only:
      return exit_code::permission;
    case shm::errc::no_space:
    case shm::errc::too_many_processes:
    case shm::errc::too_many_dicts:
    case shm::errc::too_many_collisions:
    case shm::errc::transaction_too_large:
    case shm::errc::out_of_memory:
      return exit_code::no_space;
    case shm::errc::corrupt:
    case shm::errc::incomplete_object:
      return exit_code::corrupt;
    default:
      return exit_code::failed;
  }
}

// The library's words speak to programmers.
std::string words_of(const shm::error& e) {
  std::string text = e.what();
  const auto replace = [&](const std::string& from, const std::string& to) {
    const auto at = text.find(from);
    if (at != std::string::npos) text.replace(at, from.size(), to);
  };
  replace("run a check, restore a backup or unlink it", "run `shmdict check`, restore a backup or unlink it");
  replace("lower max_size, or raise `ulimit -f`", "raise `ulimit -f`"); // there is no option for the other
  return text;
}

} // namespace

failure failure_of(const std::exception& e) {
  if (const auto* f = dynamic_cast<const failure*>(&e)) return *f;
  if (const auto* s = dynamic_cast<const shm::error*>(&e)) return {code_of(*s), words_of(*s)};
  if (dynamic_cast<const std::bad_alloc*>(&e) != nullptr) return {exit_code::no_space, "out of memory"};
  return {exit_code::failed, e.what()};
}

} // namespace cli
