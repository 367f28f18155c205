// SPDX-License-Identifier: Apache-2.0
// Nothing converts by accident, and owners are not copied.
#include <shm/json.hpp>
#include <shm/shm.hpp>

using ints = shm::dict<std::string, int>;
void take(const ints&);

void conversions(ints& d, shm::dict<int, bool>& flags, shm::json_dict& j) {
  ints moved = std::move(d);
  j["a"] = 1;
  flags[1] = true;
#if defined(MUST_NOT_COMPILE_COPIED_DICT)
  ints copy = d;
#elif defined(MUST_NOT_COMPILE_COPY_ASSIGNED_DICT)
  moved = d;
#elif defined(MUST_NOT_COMPILE_DICT_FROM_NAME)
  take("name");
#elif defined(MUST_NOT_COMPILE_DICT_FROM_LIST)
  moved = {"name", {{"a", 1}}};
#elif defined(MUST_NOT_COMPILE_JSON_DICT_FROM_LIST)
  j = {"name", 1};
#elif defined(MUST_NOT_COMPILE_BOOL_ARITHMETIC)
  ++flags[1];
#elif defined(MUST_NOT_COMPILE_WRONG_KEY)
  flags["a"] = true;
#elif defined(MUST_NOT_COMPILE_WRONG_VALUE)
  d["a"] = "text";
#elif defined(MUST_NOT_COMPILE_GUARD_COPY)
  shm::guard g{d};
  shm::guard h = g;
#elif defined(MUST_NOT_COMPILE_NAMED_JSON_PROXY)
  auto x = j["a"];
  x = 1;
#endif
}
