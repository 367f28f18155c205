// SPDX-License-Identifier: Apache-2.0
// Text is not made of 0 and nullptr.
#include <shm/json.hpp>
#include <shm/shm.hpp>

void keys(shm::dict<std::string, int>& d, const shm::dict<std::string, int>& c,
          shm::dict<std::string, shm::dict<std::string, int>>& nested, shm::dict<std::string, std::string>& texts,
          shm::json_dict& j, shm::dict<int, double>& numbers, shm::dict<double, int>& reals) {
  nested["a"]["b"] = 0;
  // what stays possible
  numbers[0] = 0;
  reals[0] = 0;
  d["a"] = 0;
  d[std::string("a")] = d[std::string_view("a")];
  const char* text = "a";
  d[text] = d.get(text, 0);
  texts["a"] = "b";
  texts["a"] = std::string_view("b");
  j["a"] = nullptr;
  j["list"] = {1, 2};
  static_cast<void>(j["list"].value()[0]);
#if defined(MUST_NOT_COMPILE_ZERO_KEY)
  d[0] = 1;
#elif defined(MUST_NOT_COMPILE_NULL_KEY)
  d[nullptr] = 1;
#elif defined(MUST_NOT_COMPILE_ZERO_GET)
  d.get(0);
#elif defined(MUST_NOT_COMPILE_NULL_GET)
  d.get(nullptr, 1);
#elif defined(MUST_NOT_COMPILE_ZERO_AT)
  d.at(0);
#elif defined(MUST_NOT_COMPILE_NULL_CONTAINS)
  d.contains(nullptr);
#elif defined(MUST_NOT_COMPILE_ZERO_ERASE)
  d.erase(0);
#elif defined(MUST_NOT_COMPILE_ZERO_FIND)
  d.find(0);
#elif defined(MUST_NOT_COMPILE_NULL_SCAN)
  d.scan(nullptr);
#elif defined(MUST_NOT_COMPILE_ZERO_POP)
  d.pop(0);
#elif defined(MUST_NOT_COMPILE_ZERO_CONST_KEY)
  static_cast<void>(c[0].value());
#elif defined(MUST_NOT_COMPILE_ZERO_NESTED_KEY)
  nested["a"][0] = 1;
#elif defined(MUST_NOT_COMPILE_NULL_NESTED_KEY)
  nested[nullptr]["a"] = 1;
#elif defined(MUST_NOT_COMPILE_ZERO_SNAPSHOT_KEY)
  d.snapshot().get(0);
#elif defined(MUST_NOT_COMPILE_ZERO_TRANSACTION_KEY)
  d.transact([](auto& tx) { tx[0] = 1; });
#elif defined(MUST_NOT_COMPILE_NULL_WAIT)
  d.wait(nullptr, [](int) { return true; });
#elif defined(MUST_NOT_COMPILE_ZERO_JSON_KEY)
  j[0] = 1;
#elif defined(MUST_NOT_COMPILE_NULL_JSON_KEY)
  j[nullptr] = 1;
#elif defined(MUST_NOT_COMPILE_ZERO_JSON_INDEX)
  j["list"][0].value();
#elif defined(MUST_NOT_COMPILE_ZERO_JSON_GET)
  j.get(0);
#elif defined(MUST_NOT_COMPILE_NULL_JSON_SCAN)
  j.scan(nullptr);
#elif defined(MUST_NOT_COMPILE_ZERO_TEXT)
  texts["a"] = 0;
#elif defined(MUST_NOT_COMPILE_NULL_TEXT)
  texts["a"] = nullptr;
#elif defined(MUST_NOT_COMPILE_NUMBER_TEXT)
  texts["a"] = 65;
#endif
  static_cast<void>(c);
}
