// SPDX-License-Identifier: Apache-2.0
// Compiled with -Ofast, which lets the compiler take NaN for a number and -0.0 for 0.0: what it writes is what a program
// without has. Arguments: a dict's name. Exit code 0: all was right; else the number of the step that was not.
#include <cstdlib>
#include <shm/json.hpp>
#include <shm/shm.hpp>
#include <stdexcept>
#include <string>

namespace {

double number(const char* text) { return std::strtod(text, nullptr); } // not known to the compiler

template <class F>
bool refused(const F& f) {
  try {
    f();
  } catch (const shm::error& e) {
    return e.code() == shm::errc::invalid_argument;
  } catch (const std::overflow_error&) {
    return true;
  }
  return false;
}

template <class T>
std::string key_bytes(const T& key) {
  const shm::detail::encoded_key<T> k(key);
  return {static_cast<const char*>(k.data()), k.size()};
}

} // namespace

int main(int argc, char** argv) {
  if (argc != 2) return 1;
  shm::dict<double, int> d{shm::open_only, argv[1]};
  if (!refused([&] { d[number("nan")] = 1; })) return 2;
  if (!refused([&] { d[number("-nan")] = 1; })) return 3;
  if (d.get(number("-0.0"), -1) != 1) return 4; // 0.0 of the other program
  d[number("-0.0")] = 2;
  d[number("5e-324")] = 3; // not 0, whatever the processor is told about such numbers
  d[number("-inf")] = 4;
  if (d.size() != 3) return 5;

  using list = std::vector<double>;
  if (!refused([] { key_bytes(list{1, number("nan")}); })) return 6;
  if (key_bytes(list{number("-0.0")}) != std::string("\1\0\0\0", 4) + std::string(8, '\0')) return 7;
  using pair = std::pair<int, float>;
  if (!refused([] { key_bytes(pair{1, static_cast<float>(number("nan"))}); })) return 8;
  if (key_bytes(pair{0, static_cast<float>(number("-0.0"))}) != std::string(8, '\0')) return 9;

  shm::dict<std::string, int> counts{shm::anonymous};
  if (!refused([&] { counts["a"] += number("nan"); })) return 10;
  if (!refused([&] { counts["a"] += number("inf"); })) return 11;
  if (counts.contains("a")) return 12;

  using text = shm::json_text<nlohmann::json>;
  const auto json = text::whole({1.5, number("nan"), number("inf")});
  if (std::string(json.begin(), json.end()) != "[1.5,null,null]") return 13;
  return 0;
}
