// SPDX-License-Identifier: Apache-2.0
#include "objects.hpp"

#include <algorithm>
#include <cstring>

#include <fmt/format.h>

#include "exit_code.hpp"
#include "shm/error.hpp"

namespace cli {

std::vector<shmd_object_info> all_objects() {
  std::vector<shmd_object_info> out;
  const auto add = [](void* to, const shmd_object_info* o) {
    static_cast<std::vector<shmd_object_info>*>(to)->push_back(*o);
    return 0;
  };
  shm::detail::check(shmd_list(add, &out));
  std::sort(out.begin(), out.end(), [](const auto& a, const auto& b) { return std::strcmp(a.name, b.name) < 0; });
  return out;
}

const char* reason_of(const shmd_object_info& o) {
  switch (o.result) {
    case SHMD_ERR_PERMISSION_DENIED:
      return "no permission";
    case SHMD_ERR_FOREIGN_OBJECT:
      return "not a dict";
    case SHMD_ERR_INCOMPLETE_OBJECT:
      return "half made: unlink";
    case SHMD_ERR_LAYOUT_MISMATCH:
      return "another layout version";
    case SHMD_ERR_CORRUPT:
      return "damaged";
    default:
      return shmd_error_message(o.result);
  }
}

shmd_object_info object_called(const std::string& name) {
  for (const auto& o : all_objects())
    if (name == o.name) return o;
  throw failure(exit_code::no_dict, fmt::format("no dict is called '{}': `shmdict ls` shows all", name));
}

} // namespace cli
