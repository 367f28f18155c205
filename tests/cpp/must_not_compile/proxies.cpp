// SPDX-License-Identifier: Apache-2.0
// Proxies live for one expression.
#include <shm/shm.hpp>

void proxies(shm::dict<std::string, int>& d, shm::dict<std::string, shm::dict<std::string, int>>& nested) {
  int n = d["a"];
  static_cast<void>(n);
#if defined(MUST_NOT_COMPILE_NAMED_PROXY_READ)
  auto x = d["a"];
  int m = x;
  static_cast<void>(m);
#elif defined(MUST_NOT_COMPILE_NAMED_PROXY_VALUE)
  auto x = d["a"];
  x.value();
#elif defined(MUST_NOT_COMPILE_NAMED_PROXY_WRITE)
  auto x = d["a"];
  x = 1;
#elif defined(MUST_NOT_COMPILE_NAMED_PROXY_ADD)
  auto x = d["a"];
  x += 1;
#elif defined(MUST_NOT_COMPILE_COPIED_PROXY)
  auto x = d["a"];
  auto y = x;
#elif defined(MUST_NOT_COMPILE_NAMED_NESTED_PROXY)
  auto x = nested["a"];
  x["b"] = 1;
#elif defined(MUST_NOT_COMPILE_NAMED_NESTED_READ)
  auto x = nested["a"];
  std::unordered_map<std::string, int> m = x;
#elif defined(MUST_NOT_COMPILE_LOOP_OVER_PROXY)
  for (auto [k, v] : nested["a"]) static_cast<void>(v);
#endif
  for (auto [k, v] : nested["a"].items()) static_cast<void>(v);
}
