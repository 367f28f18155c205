// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstdlib>
#include <limits>
#include <type_traits>

#include <fmt/format.h>

#include "codec.hpp"
#include "documents.hpp"
#include "exit_code.hpp"
#include "shm/serializer.hpp"

namespace cli {
namespace {

template <class T>
void append(std::string& out, T value) {
  char raw[sizeof value];
  shm::detail::store_number(raw, value);
  out.append(raw, sizeof raw);
}
bool append_count(std::string& out, std::size_t n) {
  if (n > std::numeric_limits<std::uint32_t>::max()) return false;
  append(out, static_cast<std::uint32_t>(n));
  return true;
}

template <class T>
bool encode_integer(const json& j, std::string& out) {
  if (j.is_number_unsigned()) {
    const auto v = j.get<std::uint64_t>();
    if (v > static_cast<std::uint64_t>(std::numeric_limits<T>::max())) return false;
    append(out, static_cast<T>(v));
    return true;
  }
  if (!j.is_number_integer()) return false;
  const auto v = j.get<std::int64_t>();
  if (v < 0 && (std::is_unsigned_v<T> || v < static_cast<std::int64_t>(std::numeric_limits<T>::min()))) return false;
  if (v > 0 && static_cast<std::uint64_t>(v) > static_cast<std::uint64_t>(std::numeric_limits<T>::max())) return false;
  append(out, static_cast<T>(v));
  return true;
}

template <class T>
bool encode_float(const json& j, bool key, std::string& out) {
  T v = 0;
  if (j.is_string()) {
    const auto& s = j.get_ref<const std::string&>();
    if (s == "NaN" && !key)
      v = std::numeric_limits<T>::quiet_NaN();
    else if (s == "Infinity" || s == "-Infinity")
      v = s[0] == '-' ? -std::numeric_limits<T>::infinity() : std::numeric_limits<T>::infinity();
    else
      return false;
  } else {
    if (!j.is_number()) return false;
    // From text: numbers beyond a float become infinite by rounding, not by an undefined conversion.
    const auto wide = j.get<double>();
    v = std::is_same_v<T, float> ? static_cast<T>(std::strtof(fmt::format("{}", wide).c_str(), nullptr))
                                 : static_cast<T>(wide);
    if (!shm::detail::is_finite(v)) return false;
    // An integer that the type would round is another number. Limits are those whose conversion back is defined.
    const auto back = static_cast<double>(v);
    if (j.is_number_unsigned()) {
      if (back >= 18446744073709551616.0 || static_cast<std::uint64_t>(back) != j.get<std::uint64_t>()) return false;
    } else if (j.is_number_integer()) {
      if (back >= 9223372036854775808.0 || static_cast<std::int64_t>(back) != j.get<std::int64_t>()) return false;
    }
  }
  if (key)
    append(out, shm::detail::canonical_number(v));
  else
    append(out, v);
  return true;
}

// Of a set or map.
struct element {
  json key;
  std::string bytes, value;
};

// In the order of std::less, which canonical bytes have. False if a key comes twice.
bool append_sorted(std::vector<element>& elements, std::string& out) {
  const auto kind_of = [](const json& j) { return j.is_number() ? 1 : j.is_string() ? 2 : j.is_array() ? 3 : 0; };
  std::sort(elements.begin(), elements.end(), [&](const element& a, const element& b) {
    const int kind = kind_of(a.key);
    return kind != 0 && kind == kind_of(b.key) ? a.key < b.key : a.bytes < b.bytes;
  });
  for (std::size_t i = 0; i < elements.size(); ++i) {
    if (i > 0 && elements[i].bytes == elements[i - 1].bytes) return false;
    out += elements[i].bytes;
    out += elements[i].value;
  }
  return true;
}

bool encode_set(const type& t, const json& j, bool key, std::string& out) {
  std::vector<element> elements;
  if (!j.is_array() || !append_count(out, j.size())) return false;
  for (const json& e : j) {
    elements.push_back({e, {}, {}});
    if (!encode_part(t.args[0], e, key, elements.back().bytes)) return false;
  }
  return append_sorted(elements, out);
}

bool encode_map(const type& t, const json& j, bool key, std::string& out) {
  std::vector<element> elements;
  const bool object = t.args[0].what == kind::str;
  if ((object ? !j.is_object() : !j.is_array()) || !append_count(out, j.size())) return false;
  const auto add = [&](const json& k, const json& v) {
    elements.push_back({k, {}, {}});
    return encode_part(t.args[0], k, key, elements.back().bytes) &&
           encode_part(t.args[1], v, key, elements.back().value);
  };
  if (object) {
    for (const auto& [k, v] : j.items())
      if (!add(k, v)) return false;
  } else {
    for (const json& pair : j)
      if (!pair.is_array() || pair.size() != 2 || !add(pair[0], pair[1])) return false;
  }
  return append_sorted(elements, out);
}

bool encode_variant(const type& t, const json& j, bool key, std::string& out) {
  const auto with = [&](std::size_t index, const json& value) {
    std::string bytes;
    if (!encode_part(t.args[index], value, key, bytes)) return false;
    append(out, static_cast<std::uint32_t>(index));
    out += bytes;
    return true;
  };
  if (j.is_object() && j.size() == 2 && j.contains("alternative") && j.contains("value") &&
      j["alternative"].is_number_unsigned() && j["alternative"].get<std::uint64_t>() < t.args.size())
    return with(j["alternative"].get<std::size_t>(), j["value"]);
  for (std::size_t i = 0; i < t.args.size(); ++i)
    if (with(i, j)) return true;
  return false;
}

bool encode_elements(const type& element, const json& j, bool key, std::string& out) {
  return std::all_of(j.begin(), j.end(), [&](const json& e) { return encode_part(element, e, key, out); });
}

bool encode_tuple(const type& t, const json& j, bool key, std::string& out) {
  if (!j.is_array() || j.size() != t.args.size()) return false;
  if (t.args.empty()) out += '\0';
  for (std::size_t i = 0; i < t.args.size(); ++i)
    if (!encode_part(t.args[i], j[i], key, out)) return false;
  return true;
}

bool encode_optional(const type& t, const json& j, bool key, std::string& out) {
  const bool boxed = may_be_null(t.args[0]);
  if (boxed && (!j.is_array() || j.size() > 1)) return false;
  const bool there = boxed ? !j.empty() : !j.is_null();
  out += there ? '\1' : '\0';
  return !there || encode_part(t.args[0], boxed ? j[0] : j, key, out);
}

bool encode_bytes(const json& j, std::string& bytes) {
  return j.is_string() && from_hex(j.get_ref<const std::string&>(), bytes);
}

} // namespace

bool encode_part(const type& t, const json& j, bool key, std::string& out) {
  switch (t.what) {
    case kind::i8:
      return encode_integer<std::int8_t>(j, out);
    case kind::i16:
      return encode_integer<std::int16_t>(j, out);
    case kind::i32:
      return encode_integer<std::int32_t>(j, out);
    case kind::i64:
      return encode_integer<std::int64_t>(j, out);
    case kind::u8:
    case kind::character:
      return encode_integer<std::uint8_t>(j, out);
    case kind::u16:
      return encode_integer<std::uint16_t>(j, out);
    case kind::u32:
      return encode_integer<std::uint32_t>(j, out);
    case kind::u64:
      return encode_integer<std::uint64_t>(j, out);
    case kind::f32:
      return encode_float<float>(j, key, out);
    case kind::f64:
      return encode_float<double>(j, key, out);
    case kind::boolean:
      if (!j.is_boolean()) return false;
      out += j.get<bool>() ? '\1' : '\0';
      return true;
    case kind::str:
      if (!j.is_string() || !append_count(out, j.get_ref<const std::string&>().size())) return false;
      out += j.get_ref<const std::string&>();
      return true;
    case kind::bytes: {
      std::string bytes;
      if (!encode_bytes(j, bytes) || !append_count(out, bytes.size())) return false;
      out += bytes;
      return true;
    }
    case kind::unit:
      if (!j.is_null()) return false;
      out += '\0';
      return true;
    case kind::vec:
      return j.is_array() && append_count(out, j.size()) && encode_elements(t.args[0], j, key, out);
    case kind::arr:
      if (!j.is_array() || j.size() != t.count) return false;
      if (t.count == 0) out += '\0';
      return encode_elements(t.args[0], j, key, out);
    case kind::set:
      return encode_set(t, j, key, out);
    case kind::map:
      return encode_map(t, j, key, out);
    case kind::opt:
      return encode_optional(t, j, key, out);
    case kind::tuple:
      return encode_tuple(t, j, key, out);
    case kind::dur:
    case kind::system_time:
    case kind::steady_time:
      return encode_part(t.args[0], j, key, out);
    case kind::var:
      return encode_variant(t, j, key, out);
    default: {
      if (!t.is_document()) return false;
      const std::string bytes = write_document(t.what, j);
      if (!append_count(out, bytes.size())) return false;
      out += bytes;
      return true;
    }
  }
}

} // namespace cli
