// SPDX-License-Identifier: Apache-2.0
#include "documents.hpp"

#include <algorithm>
#include <utility>
#include <vector>

#include "shm/json.hpp"

namespace cli {
namespace {

using shm::detail::json_depth;

// Takes a parser's events. Stored bytes are untrusted: depth is bounded, and so are values, of which some formats announce
// any number that takes no bytes.
class bounded_builder : public nlohmann::json_sax<json> {
 public:
  explicit bounded_builder(std::size_t most) : left_(most) {}
  json take() { return std::move(root_); }

  bool null() override { return add(nullptr) != nullptr; }
  bool boolean(bool v) override { return add(v) != nullptr; }
  bool number_integer(number_integer_t v) override { return add(v) != nullptr; }
  bool number_unsigned(number_unsigned_t v) override { return add(v) != nullptr; }
  bool number_float(number_float_t v, const string_t&) override { return add(v) != nullptr; }
  bool string(string_t& v) override { return add(std::move(v)) != nullptr; }
  bool binary(binary_t& v) override { return add(std::move(v)) != nullptr; } // with its subtype
  bool start_object(std::size_t) override { return open(json::object()); }
  bool start_array(std::size_t) override { return open(json::array()); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }
  bool key(string_t& v) override {
    key_ = std::move(v);
    return true;
  }
  bool parse_error(std::size_t, const std::string&, const nlohmann::detail::exception&) override { return false; }

 private:
  json* add(json v) {
    if (left_ == 0) return nullptr;
    --left_;
    if (open_.empty()) return &(root_ = std::move(v));
    json& parent = *open_.back();
    if (parent.is_object()) return &(parent[key_] = std::move(v));
    parent.push_back(std::move(v));
    return &parent.back();
  }
  bool open(json empty) {
    json* const at = open_.size() < static_cast<std::size_t>(json_depth) ? add(std::move(empty)) : nullptr;
    if (at != nullptr) open_.push_back(at);
    return at != nullptr;
  }
  bool close() {
    open_.pop_back();
    return true;
  }

  json root_;
  std::size_t left_;
  std::vector<json*> open_; // a parent changes only while it is the last, so none of these moves
  std::string key_;
};

json::input_format_t format_of(kind format) {
  switch (format) {
    case kind::msgpack:
      return json::input_format_t::msgpack;
    case kind::ubjson:
      return json::input_format_t::ubjson;
    case kind::bson:
      return json::input_format_t::bson;
    default:
      return json::input_format_t::json;
  }
}

std::vector<unsigned char> bytes_of(kind format, const json& j) {
  shm::detail::check_storable(j, json_depth - 1, format == kind::msgpack || format == kind::bson);
  try {
    switch (format) {
      case kind::msgpack:
        return json::to_msgpack(j);
      case kind::ubjson:
        return json::to_ubjson(j);
      case kind::bson:
        return json::to_bson(j);
      case kind::json_text: {
        const auto text = j.dump();
        return {text.begin(), text.end()};
      }
      default:
        return json::to_cbor(j);
    }
  } catch (const json::exception& e) { // such as BSON of a number
    throw shm::error(shm::errc::invalid_argument, e.what());
  }
}

} // namespace

json read_document(kind format, std::string_view bytes) {
  if (format == kind::json || format == kind::cbor) return shm::detail::from_leaf(bytes.data(), bytes.size());
  bounded_builder b(bytes.size());
  const bool ends_early = format == kind::json_text && bytes.find('\0') != std::string_view::npos; // for the parser
  try {
    if (!bytes.empty() && !ends_early && json::sax_parse(bytes.begin(), bytes.end(), &b, format_of(format)))
      return b.take();
  } catch (const json::exception&) { // some errors throw in spite of the handler
  }
  throw shm::error(shm::errc::corrupt, "the stored bytes are not JSON in the format of their type");
}

std::string write_document(kind format, const json& j) {
  const auto bytes = bytes_of(format, j);
  return {bytes.begin(), bytes.end()};
}

bool may_be_null(const type& t) {
  return t.what == kind::unit || t.what == kind::opt || t.is_document() ||
         (t.what == kind::var && std::any_of(t.args.begin(), t.args.end(), may_be_null));
}

json variant_json(const type& t, std::size_t index, json value) {
  std::string plain;
  // Plain if encoding it again picks the same alternative.
  if (encode_part(t, value, false, plain)) {
    shm::reader r(plain.data(), plain.size());
    if (r.number<std::uint32_t>() == index) return value;
  }
  return {{"alternative", index}, {"value", std::move(value)}};
}

} // namespace cli
