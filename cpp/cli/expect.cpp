// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstring>
#include <limits>

#include <fmt/format.h>

#include "codec.hpp"
#include "documents.hpp"
#include "exit_code.hpp"
#include "json_writer.hpp"
#include "output.hpp"
#include "shm/detail/floating.hpp"
#include "shm/error.hpp"

namespace cli {
namespace {

template <class T>
std::string integer_range() {
  return fmt::format("an integer from {} to {}", +std::numeric_limits<T>::min(), +std::numeric_limits<T>::max());
}

// What the type takes, in words.
std::string expected(const type& t) {
  switch (t.what) {
    case kind::i8:
      return integer_range<std::int8_t>();
    case kind::i16:
      return integer_range<std::int16_t>();
    case kind::i32:
      return integer_range<std::int32_t>();
    case kind::i64:
      return integer_range<std::int64_t>();
    case kind::u8:
    case kind::character:
      return integer_range<std::uint8_t>();
    case kind::u16:
      return integer_range<std::uint16_t>();
    case kind::u32:
      return integer_range<std::uint32_t>();
    case kind::u64:
      return integer_range<std::uint64_t>();
    case kind::f32:
    case kind::f64:
      return "a number that " + t.name + " can hold, or \"NaN\", \"Infinity\", \"-Infinity\"";
    case kind::boolean:
      return "true or false";
    case kind::untyped:
    case kind::str:
      return "a string";
    case kind::bytes:
      return "bytes, as a string of 0x and hex digits";
    case kind::unit:
      return "null";
    case kind::vec:
      return "an array of " + t.args[0].name;
    case kind::set:
      return "an array of different " + t.args[0].name;
    case kind::arr:
      return fmt::format("an array of {} times {}", t.count, t.args[0].name);
    case kind::map:
      return t.args[0].what == kind::str ? "an object" : "an array of pairs [key, value]";
    case kind::dict:
      return "an object: here is a nested dict";
    case kind::dur:
      return fmt::format("how many times {}/{} of a second: {}", t.count, t.denominator, expected(t.args[0]));
    case kind::system_time:
      return "the time since 1970: " + expected(t.args[0]);
    case kind::steady_time:
      return "the time since the machine started: " + expected(t.args[0]);
    default:
      return "a value of this type";
  }
}

std::string encode(const type& t, const json& j, bool key, const std::string& where) {
  std::string out;
  bool fits = false;
  if (!t.known()) {
    fits = j.is_object() && j.size() == 2 && j.contains("hex") && j.contains("type") && j["type"] == t.name &&
           j["hex"].is_string() && from_hex(j["hex"].get_ref<const std::string&>(), out);
    if (!fits)
      throw failure(exit_code::refused, fmt::format("{}: values of type {} are the program's own; give the bytes as "
                                                    "{{\"type\": \"{}\", \"hex\": \"0x...\"}}",
                                                    where, t.name, t.name));
    return out;
  }
  if (t.what == kind::untyped || t.what == kind::str) {
    fits = j.is_string();
    if (fits && (t.what == kind::str || !from_hex(j.get_ref<const std::string&>(), out)))
      out = j.get_ref<const std::string&>();
  } else if (t.what == kind::bytes) {
    fits = j.is_string() && from_hex(j.get_ref<const std::string&>(), out);
  } else if (t.is_document()) {
    try {
      return write_document(t.what, j);
    } catch (const shm::error& e) {
      throw failure(exit_code::refused, fmt::format("{}: {}", where, e.what()));
    }
  } else {
    try {
      fits = encode_part(t, j, key, out);
    } catch (const shm::error& e) {
      throw failure(exit_code::refused, fmt::format("{}: {}", where, e.what()));
    }
  }
  if (!fits)
    throw failure(exit_code::refused,
                  fmt::format("{}: {} is not of type {}; it takes {}", where, shortened(json_text(j), 60),
                              t.what == kind::untyped ? "bytes" : t.name, expected(t)));
  return out;
}

} // namespace

std::string encode_value(const type& t, const json& j, const std::string& where) { return encode(t, j, false, where); }
std::string encode_key(const type& t, const json& j, const std::string& where) { return encode(t, j, true, where); }

bool is_expressible(const json& j) {
  if (j.is_number_float()) return shm::detail::is_finite(*j.get_ptr<const json::number_float_t*>());
  if (j.is_string()) return is_utf8(j.get_ref<const std::string&>());
  if (j.is_binary()) return false;
  if (!j.is_structured()) return true;
  if (j.is_object())
    for (const auto& [key, value] : j.items())
      if (!is_utf8(key) || !is_expressible(value)) return false;
  return j.is_object() || std::all_of(j.begin(), j.end(), is_expressible);
}

bool key_less(const json& a, const json& b) { return a < b; }

} // namespace cli
