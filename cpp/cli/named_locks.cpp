// SPDX-License-Identifier: Apache-2.0
#include "named_locks.hpp"

#include <algorithm>

#include "shm/error.hpp"
#include "tree.hpp"

namespace cli {

std::vector<named_lock> named_locks(const dict_handle& d) {
  std::vector<named_lock> out;
  const auto add = [](void* to, const shmd_named_lock_info* l) {
    const auto name = bytes_of(l->name, l->name_size);
    static_cast<std::vector<named_lock>*>(to)->push_back({l->is_key ? "key " + to_hex(name) : std::string(name),
                                                          l->is_key != 0, l->alive != 0, l->pid, l->held_ns,
                                                          l->program});
    return 0;
  };
  // A read-only handle cannot hold the list still while others lock.
  int result = SHMD_ERR_BUSY;
  for (int tries = 0; result == SHMD_ERR_BUSY && tries < 100; ++tries) {
    out.clear();
    result = shmd_named_locks(d.get(), add, &out);
  }
  shm::detail::check(result);
  std::sort(out.begin(), out.end(), [](const named_lock& a, const named_lock& b) { return a.name < b.name; });
  return out;
}

json named_lock_json(const named_lock& l) {
  return {{"name", l.name},       {"of_a_key", l.is_key}, {"pid", l.pid},
          {"program", l.program}, {"alive", l.alive},     {"held_ns", l.held_ns}};
}

} // namespace cli
