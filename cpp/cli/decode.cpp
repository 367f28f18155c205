// SPDX-License-Identifier: Apache-2.0
#include <cstdlib>

#include <fmt/format.h>

#include "codec.hpp"
#include "documents.hpp"
#include "shm/serializer.hpp"

namespace cli {
namespace {

json from_double(double v) {
  if (shm::detail::is_nan(v)) return "NaN";
  if (!shm::detail::is_finite(v)) return shm::detail::is_negative(v) ? "-Infinity" : "Infinity";
  return v;
}

// The double whose shortest digits are the float's shortest digits: 0.1f prints as 0.1.
json from_float(float v) {
  if (!shm::detail::is_finite(v)) return from_double(static_cast<double>(v));
  return std::strtod(fmt::format("{}", v).c_str(), nullptr);
}

json decode_part(const type& t, shm::reader& r);

json decode_elements(const type& t, shm::reader& r, std::uint64_t n) {
  auto out = json::array();
  for (; n > 0; --n) out.push_back(decode_part(t, r));
  return out;
}

json decode_map(const type& t, shm::reader& r) {
  const bool object = t.args[0].what == kind::str;
  auto out = object ? json::object() : json::array();
  for (std::size_t n = r.count(); n > 0; --n) {
    auto key = decode_part(t.args[0], r);
    auto value = decode_part(t.args[1], r);
    if (!object)
      out.push_back(json::array({std::move(key), std::move(value)}));
    else if (!out.emplace(key.get<std::string>(), std::move(value)).second)
      r.fail("an element appears twice");
  }
  return out;
}

json decode_variant(const type& t, shm::reader& r) {
  const std::size_t index = r.number<std::uint32_t>();
  if (index >= t.args.size()) r.fail("a variant has no such alternative");
  auto value = decode_part(t.args[index], r);
  return variant_json(t, index, std::move(value));
}

json decode_tuple(const type& t, shm::reader& r) {
  auto out = json::array();
  if (t.args.empty() && r.number<std::uint8_t>() != 0) r.fail("something stands where nothing can");
  for (const type& part : t.args) out.push_back(decode_part(part, r));
  return out;
}

// A value inside another: texts and documents have their length in front.
json decode_part(const type& t, shm::reader& r) {
  switch (t.what) {
    case kind::i8:
      return r.number<std::int8_t>();
    case kind::i16:
      return r.number<std::int16_t>();
    case kind::i32:
      return r.number<std::int32_t>();
    case kind::i64:
      return r.number<std::int64_t>();
    case kind::u8:
    case kind::character:
      return r.number<std::uint8_t>();
    case kind::u16:
      return r.number<std::uint16_t>();
    case kind::u32:
      return r.number<std::uint32_t>();
    case kind::u64:
      return r.number<std::uint64_t>();
    case kind::f32:
      return from_float(r.number<float>());
    case kind::f64:
      return from_double(r.number<double>());
    case kind::boolean:
      return r.number<bool>();
    case kind::str: {
      const std::size_t n = r.count();
      return std::string(r.text(n));
    }
    case kind::bytes: {
      const std::size_t n = r.count();
      return to_hex(r.text(n));
    }
    case kind::unit:
      if (r.number<std::uint8_t>() != 0) r.fail("something stands where nothing can");
      return nullptr;
    case kind::vec:
    case kind::set: {
      const std::size_t n = r.count();
      return decode_elements(t.args[0], r, n);
    }
    case kind::arr:
      if (t.count == 0 && r.number<std::uint8_t>() != 0) r.fail("something stands where nothing can");
      if (t.count > r.left()) r.fail("it is truncated");
      return decode_elements(t.args[0], r, t.count);
    case kind::map:
      return decode_map(t, r);
    case kind::opt: {
      const bool there = r.number<bool>();
      if (!may_be_null(t.args[0])) return there ? decode_part(t.args[0], r) : json(nullptr);
      return decode_elements(t.args[0], r, there ? 1 : 0);
    }
    case kind::tuple:
      return decode_tuple(t, r);
    case kind::dur:
    case kind::system_time:
    case kind::steady_time:
      return decode_part(t.args[0], r);
    case kind::var:
      return decode_variant(t, r);
    case kind::json:
    case kind::cbor:
    case kind::json_text:
    case kind::msgpack:
    case kind::ubjson:
    case kind::bson: {
      const std::size_t n = r.count();
      return read_document(t.what, r.text(n));
    }
    default:
      r.fail("a value cannot hold what its type says"); // a dict inside a value
  }
}

} // namespace

json decode(const type& t, std::string_view bytes) {
  if (!t.known()) return {{"type", t.name}, {"hex", to_hex(bytes)}};
  if (t.what == kind::untyped) {
    std::string ignored;
    const bool text = is_utf8(bytes) && !from_hex(bytes, ignored) &&
                      bytes.find_first_of(std::string_view("\0\1\2\3\4\5\6\7\10\13\14\16\17\20\21\22\23\24\25\26\27\30"
                                                           "\31\32\33\34\35\36\37\177",
                                                           29)) == std::string_view::npos;
    return text ? std::string(bytes) : to_hex(bytes);
  }
  if (t.what == kind::str) return std::string(bytes);
  if (t.what == kind::bytes) return to_hex(bytes);
  if (t.is_document()) return read_document(t.what, bytes);
  shm::reader r(bytes.data(), bytes.size());
  auto out = decode_part(t, r);
  if (r.left() != 0) r.fail("there are bytes left over");
  return out;
}

} // namespace cli
