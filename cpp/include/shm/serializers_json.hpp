// SPDX-License-Identifier: Apache-2.0
// Serializers through nlohmann/json, for whatever has its to_json and from_json. Opt-in. Not for keys.
//
//   serializer         name        bytes of a whole value
//   json_text<T>       json_text   JSON as text, for people and programs that read nothing else; NaN becomes null
//   cbor<T>            cbor        RFC 8949: small, exact numbers
//   msgpack<T>         msgpack     MessagePack
//   ubjson<T>          ubjson      Universal Binary JSON, draft 12
//   bson<T>            bson        BSON 1.1: what T converts to has to be an object
// Of one dict:                 shm::dict<std::string, job, shm::msgpack<job>> d{"jobs"};
// Wherever the type is stored: template <> struct shm::serializer<job> : shm::cbor<job> {};
// The name is compared at attach, the shape of T is not: a value of another shape throws nlohmann's exception when it is
// read. Bytes that are not of the format, or that nest deeper than 1,000, throw shm::error (corrupt). What a format cannot
// express (text that is not UTF-8, BSON of a number) throws nlohmann's exception when it is written; what could not be read
// again (a discarded value, binary data with a subtype but in MessagePack and BSON, deeper nesting) throws shm::error
// (invalid_argument), which names dict, key and the part. Nothing is stored then.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "detail/json_leaf.hpp"
#include "serializer.hpp"

SHM_NAMESPACE_BEGIN

namespace detail {

// Takes the parser's events. Refuses too deep a nesting, and more values than bytes: some formats announce any number of
// values that take none.
class json_builder {
 public:
  using json = nlohmann::json;
  json_builder(json& root, std::size_t budget) : root_(root), budget_(budget) {}

  bool null() { return add(nullptr); }
  bool boolean(bool v) { return add(v); }
  bool number_integer(json::number_integer_t v) { return add(v); }
  bool number_unsigned(json::number_unsigned_t v) { return add(v); }
  bool number_float(json::number_float_t v, const std::string&) { return add(v); }
  bool string(std::string& v) { return add(std::move(v)); }
  bool binary(json::binary_t& v) { return add(std::move(v)); } // with its subtype
  bool start_object(std::size_t) { return open(json::object()); }
  bool start_array(std::size_t) { return open(json::array()); }
  bool end_object() { return close(); }
  bool end_array() { return close(); }
  bool key(std::string& k) {
    key_ = std::move(k);
    return true;
  }
  bool parse_error(std::size_t, const std::string&, const json::exception&) { return false; }

 private:
  json* place(json&& v) {
    if (budget_ == 0) return nullptr;
    --budget_;
    if (open_.empty()) return &(root_ = std::move(v));
    json& parent = *open_.back();
    if (parent.is_object()) return &(parent[key_] = std::move(v));
    parent.push_back(std::move(v));
    return &parent.back();
  }
  template <class V>
  bool add(V&& v) {
    return place(json(std::forward<V>(v))) != nullptr;
  }
  bool open(json&& empty) {
    if (open_.size() >= static_cast<std::size_t>(json_depth)) return false;
    json* const at = place(std::move(empty));
    if (at != nullptr) open_.push_back(at);
    return at != nullptr;
  }
  bool close() {
    open_.pop_back();
    return true;
  }

  json& root_;
  std::size_t budget_;
  std::vector<json*> open_; // a parent changes only while it is the last, so none of these moves
  std::string key_;
};

inline nlohmann::json parse_json(const void* data, std::size_t size, nlohmann::json::input_format_t format,
                                 const char* what) {
  const auto* p = static_cast<const unsigned char*>(data);
  nlohmann::json out;
  json_builder builder(out, size);
  try {
    const bool ends_early = // for the parser, which takes a NUL in a text for its end
        format == nlohmann::json::input_format_t::json && size != 0 && std::memchr(p, 0, size) != nullptr;
    if (size != 0 && !ends_early && nlohmann::json::sax_parse(p, p + size, &builder, format)) return out;
  } catch (const nlohmann::json::exception&) { // some errors throw in spite of the handler
  }
  throw unplaced(errc::corrupt, std::string("the stored bytes are not JSON in ") + what);
}

using json_bytes = std::vector<unsigned char>;
using json_format = nlohmann::json::input_format_t;

// JSON text has no NaN and no infinity. nlohmann's own test for them is the compiler's, see floating.hpp.
inline bool has_unfinished_numbers(const nlohmann::json& j) {
  if (j.is_number_float()) return !is_finite(*j.get_ptr<const nlohmann::json::number_float_t*>());
  return j.is_structured() && std::any_of(j.begin(), j.end(), has_unfinished_numbers);
}
inline void finish_numbers(nlohmann::json& j) {
  if (j.is_number_float() && has_unfinished_numbers(j)) j = nullptr;
  if (j.is_structured()) std::for_each(j.begin(), j.end(), finish_numbers);
}

struct text_format {
  static constexpr std::string_view name = "json_text";
  static constexpr bool subtypes = false;
  static json_bytes write(const nlohmann::json& j) {
    if (has_unfinished_numbers(j)) {
      auto finished = j;
      finish_numbers(finished);
      return write(finished);
    }
    const std::string text = j.dump();
    return json_bytes(text.begin(), text.end());
  }
  static nlohmann::json read(const void* p, std::size_t n) { return parse_json(p, n, json_format::json, "text"); }
};
struct cbor_format {
  static constexpr bool subtypes = false;
  static constexpr std::string_view name = "cbor";
  static json_bytes write(const nlohmann::json& j) { return nlohmann::json::to_cbor(j); }
  static nlohmann::json read(const void* p, std::size_t n) { return from_leaf(p, n); }
};
struct msgpack_format {
  static constexpr bool subtypes = true;
  static constexpr std::string_view name = "msgpack";
  static json_bytes write(const nlohmann::json& j) { return nlohmann::json::to_msgpack(j); }
  static nlohmann::json read(const void* p, std::size_t n) {
    return parse_json(p, n, json_format::msgpack, "MessagePack");
  }
};
struct ubjson_format {
  static constexpr bool subtypes = false;
  static constexpr std::string_view name = "ubjson";
  static json_bytes write(const nlohmann::json& j) { return nlohmann::json::to_ubjson(j); }
  static nlohmann::json read(const void* p, std::size_t n) { return parse_json(p, n, json_format::ubjson, "UBJSON"); }
};
struct bson_format {
  static constexpr std::string_view name = "bson";
  static constexpr bool subtypes = true;
  static json_bytes write(const nlohmann::json& j) { return nlohmann::json::to_bson(j); }
  static nlohmann::json read(const void* p, std::size_t n) { return parse_json(p, n, json_format::bson, "BSON"); }
};

// As part of another value its bytes stand behind their length.
template <class T, class Format>
struct formatted {
  static constexpr std::string_view name = Format::name;
  static json_bytes whole(const T& v) {
    if constexpr (std::is_same_v<T, nlohmann::json>) {
      check_storable(v, json_depth - 1, Format::subtypes);
      return Format::write(v);
    } else {
      return formatted<nlohmann::json, Format>::whole(nlohmann::json(v));
    }
  }
  static T from_whole(const void* data, std::size_t size) {
    if constexpr (std::is_same_v<T, nlohmann::json>)
      return Format::read(data, size);
    else
      return Format::read(data, size).template get<T>();
  }
  static std::size_t size(const T& v) { return 4 + whole(v).size(); }
  static void write(const T& v, writer& w) {
    const auto bytes = whole(v);
    w.count(bytes.size());
    w.bytes(bytes.data(), bytes.size());
  }
  static T read(reader& r) {
    const std::size_t n = r.count();
    return from_whole(r.bytes(n), n);
  }
};

} // namespace detail

template <class T>
struct json_text : detail::formatted<T, detail::text_format> {};
template <class T>
struct cbor : detail::formatted<T, detail::cbor_format> {};
template <class T>
struct msgpack : detail::formatted<T, detail::msgpack_format> {};
template <class T>
struct ubjson : detail::formatted<T, detail::ubjson_format> {};
template <class T>
struct bson : detail::formatted<T, detail::bson_format> {};

template <class T>
using json_serializer = cbor<T>; // what to take if it does not matter
template <>
struct serializer<nlohmann::json> : cbor<nlohmann::json> {};

SHM_NAMESPACE_END
