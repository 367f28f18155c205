// SPDX-License-Identifier: Apache-2.0
#include "dict_handle.hpp"

#include <utility>

#include <fmt/format.h>

#include "exit_code.hpp"
#include "shm/error.hpp"

namespace cli {
namespace {

bool used = false;

shmd_options options_for(double timeout, int mode, std::uint32_t flags) {
  shmd_options out;
  shmd_options_init(&out);
  out.mode = mode;
  out.flags = flags | SHMD_ALLOW_OTHER_OWNER; // whose dict it is was decided by who typed its name
  out.timeout = static_cast<std::uint64_t>(timeout * 1e9);
  return out;
}

} // namespace

attendance attendance_of(const std::string& name) {
  struct query {
    const std::string& name;
    attendance answer;
  } q{name, {}};
  static_cast<void>(shmd_list(
      [](void* context, const shmd_object_info* o) {
        auto& asked = *static_cast<query*>(context);
        if (asked.name != o->name) return 0;
        if (o->result == 0) asked.answer = {o->orphaned != 0, o->unlink != SHMD_UNLINK_NEVER && o->attached == 0};
        return 1;
      },
      &q));
  return q.answer;
}

bool leave_as_found() noexcept { return used; }

dict_handle::dict_handle(const std::string& name, access how, double timeout) : name_(name) {
  open(how, timeout);
  read_types();
}

dict_handle::dict_handle(const std::string& name, double timeout, init_fn init, void* context) : name_(name) {
  auto options = options_for(timeout, SHMD_CREATE_ONLY, 0);
  options.unlink = SHMD_UNLINK_NEVER;
  options.key_type = "str";
  options.value_type = "json";
  options.init = init;
  options.init_context = context;
  shm::detail::check(shmd_open(name.c_str(), &options, &d_));
  read_types();
}

void dict_handle::open(access how, double timeout) {
  const auto open_as = [&](std::uint32_t flags) {
    const auto options = options_for(timeout, SHMD_OPEN_ONLY, flags);
    return shmd_open(name_.c_str(), &options, &d_);
  };
  used_ = how == access::use;
  // Attached, a command would be the first user of a dict that was restored, which would then be an orphan.
  const bool reads = how == access::look || (how == access::hold && attendance_of(name_).deserted);
  int result = open_as((used_ ? 0 : SHMD_OBSERVER) | (reads ? SHMD_READ_ONLY : 0));
  if (how == access::hold && (result == SHMD_ERR_PERMISSION_DENIED || result == SHMD_ERR_READ_ONLY))
    result = open_as(SHMD_OBSERVER | SHMD_READ_ONLY);
  if (result == SHMD_ERR_NO_SUCH_DICT)
    throw failure(exit_code::no_dict, fmt::format("no dict is called '{}': `shmdict ls` shows all", name_));
  shm::detail::check(result);
  if (used_) used = true;
}

void dict_handle::read_types() {
  const auto s = stats();
  keys_ = parse_type(s.key_type);
  values_ = parse_type(s.value_type);
}

dict_handle::~dict_handle() {
  if (!used_) static_cast<void>(shmd_close(d_));
}

dict_handle::dict_handle(dict_handle&& other) noexcept
    : name_(std::move(other.name_)),
      d_(std::exchange(other.d_, nullptr)),
      used_(other.used_),
      keys_(std::move(other.keys_)),
      values_(std::move(other.values_)) {}

shmd_stats dict_handle::stats() const {
  shmd_stats s;
  shm::detail::check(shmd_stat(d_, &s));
  return s;
}

} // namespace cli
