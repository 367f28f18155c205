#include "dict_handle.hpp"

#include <set>
#include <utility>

#include <fmt/format.h>

#include "exit_code.hpp"
#include "shm/error.hpp"

namespace cli {
namespace {

// What nobody else had open when this command opened it.
std::set<std::string>& left_names() {
  static std::set<std::string> names;
  return names;
}

shmd_options options_for(const open_options& o, int mode, std::uint32_t flags) {
  shmd_options out;
  shmd_options_init(&out);
  out.mode = mode;
  out.flags = flags | SHMD_ALLOW_OTHER_OWNER; // whose dict it is was decided by who typed its name
  out.timeout = static_cast<std::uint64_t>(o.timeout * 1e9);
  return out;
}

int open_as(const std::string& name, const open_options& o, std::uint32_t flags, shmd_dict** d) {
  const auto options = options_for(o, SHMD_OPEN_ONLY, flags);
  return shmd_open(name.c_str(), &options, d);
}

// What a listing says of it. Systems that cannot list have no orphans that can be seen.
struct listed {
  bool orphan = false, left = false;
};
listed ask_list(const std::string& name) {
  struct query {
    const std::string& name;
    listed answer;
  } q{name, {}};
  static_cast<void>(shmd_list(
      [](void* context, const shmd_object_info* o) {
        auto& asked = *static_cast<query*>(context);
        if (asked.name != o->name) return 0;
        asked.answer = {o->result == 0 && o->orphaned != 0, o->result == 0 && goes_if_closed(*o)};
        return 1;
      },
      &q));
  return q.answer;
}

} // namespace

bool goes_if_closed(const shmd_object_info& o) { return o.unlink != SHMD_UNLINK_NEVER && o.attached == 0; }

bool leave_as_found() noexcept { return !left_names().empty(); }

dict_handle::dict_handle(const std::string& name, access how, const open_options& o) : name_(name) {
  open(how, o);
  read_types();
}

dict_handle::dict_handle(const std::string& name, const open_options& o, init_fn init, void* context) : name_(name) {
  auto options = options_for(o, SHMD_CREATE_ONLY, 0);
  options.unlink = SHMD_UNLINK_NEVER;
  options.key_type = "str";
  options.value_type = "json";
  options.init = init;
  options.init_context = context;
  shm::detail::check(shmd_open(name.c_str(), &options, &d_));
  read_types();
}

void dict_handle::open(access how, const open_options& o) {
  how_ = how;
  const listed there = o.looked_after ? listed() : ask_list(name_); // asked first: once it is open it has a user
  orphan_ = there.orphan;
  left_ = there.left || left_names().count(name_) != 0; // or it is this command that has it open already
  const int result = open_as(name_, o, SHMD_READ_ONLY, &d_);
  if (result == SHMD_ERR_NO_SUCH_DICT)
    throw failure(exit_code::no_dict, fmt::format("no dict is called '{}': `shmdict ls` shows all", name_));
  shm::detail::check(result);
  if (left_) left_names().insert(name_);
  if (how == access::look || (how == access::hold && left_)) return;
  // The read-only handle stays open meanwhile, so that the dict is not unlinked in between.
  shmd_dict* attached = nullptr;
  const int again = open_as(name_, o, 0, &attached);
  if (again < 0 && (how == access::write || (again != SHMD_ERR_PERMISSION_DENIED && again != SHMD_ERR_READ_ONLY)))
    shm::detail::throw_last(again);
  if (again < 0) return;
  std::swap(d_, attached);
  if (!left_) static_cast<void>(shmd_close(attached));
}

void dict_handle::read_types() {
  const auto s = stats();
  keys_ = parse_type(s.key_type);
  values_ = parse_type(s.value_type);
}

dict_handle::~dict_handle() {
  if (d_ == nullptr || left_) return;
  try { // whoever had it open in the beginning may have been such a command, too, and be gone
    if (how_ == access::look && ask_list(name_).left) {
      left_names().insert(name_);
      return;
    }
  } catch (const std::exception&) {
    return; // no memory to find out: it stays
  }
  static_cast<void>(shmd_close(d_));
}

dict_handle::dict_handle(dict_handle&& other) noexcept
    : name_(std::move(other.name_)),
      d_(std::exchange(other.d_, nullptr)),
      how_(other.how_),
      orphan_(other.orphan_),
      left_(other.left_),
      keys_(std::move(other.keys_)),
      values_(std::move(other.values_)) {}

shmd_stats dict_handle::stats() const {
  shmd_stats s;
  shm::detail::check(shmd_stat(d_, &s));
  return s;
}

} // namespace cli
