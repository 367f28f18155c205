#include "documents.hpp"

#include <algorithm>

#include "shm/json.hpp"

namespace cli {

json read_document(kind format, std::string_view bytes) {
  if (format != kind::json && format != kind::cbor)
    throw shm::error(shm::errc::unsupported, "documents of this format are not supported");
  return shm::detail::from_leaf(bytes.data(), bytes.size());
}

std::string write_document(kind format, const json& j) {
  if (format != kind::json && format != kind::cbor)
    throw shm::error(shm::errc::unsupported, "documents of this format are not supported");
  const auto bytes = shm::detail::to_leaf(j);
  return std::string(bytes.begin(), bytes.end());
}

bool may_be_null(const type& t) {
  return t.what == kind::unit || t.what == kind::opt || t.is_document() ||
         (t.what == kind::var && std::any_of(t.args.begin(), t.args.end(), may_be_null));
}

json variant_json(const type& t, std::size_t index, json value) {
  std::string first, right;
  // Plain if encoding it again picks the same alternative.
  if (encode_part(t, value, false, first)) {
    shm::reader r(first.data(), first.size());
    if (r.number<std::uint32_t>() == index) return value;
  }
  return {{"alternative", index}, {"value", std::move(value)}};
}

} // namespace cli
