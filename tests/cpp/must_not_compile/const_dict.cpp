// SPDX-License-Identifier: Apache-2.0
// A const dict is read only.
#include <shm/shm.hpp>

void const_dict(const shm::dict<std::string, int>& d,
                const shm::dict<std::string, shm::dict<std::string, int>>& nested) {
  int n = d["a"];
  n += nested["a"]["b"];
  n += nested.at("a").at("b");
  static_cast<void>(n);
#if defined(MUST_NOT_COMPILE_CONST_ASSIGN)
  d["a"] = 1;
#elif defined(MUST_NOT_COMPILE_CONST_ADD)
  d["a"] += 1;
#elif defined(MUST_NOT_COMPILE_CONST_ERASE)
  d.erase("a");
#elif defined(MUST_NOT_COMPILE_CONST_CLEAR)
  d.clear();
#elif defined(MUST_NOT_COMPILE_CONST_LOCK)
  shm::guard g{d};
#elif defined(MUST_NOT_COMPILE_CONST_NESTED)
  nested["a"]["b"] = 1;
#elif defined(MUST_NOT_COMPILE_CONST_REF)
  auto ref = nested.at("a");
  ref["b"] = 1;
#elif defined(MUST_NOT_COMPILE_CONST_CAST_AWAY)
  shm::dict_ref<std::string, int> ref = nested.at("a");
#elif defined(MUST_NOT_COMPILE_ASSIGN_THROUGH_ITERATION)
  for (auto& [k, v] : d) v = 1;
#endif
}
