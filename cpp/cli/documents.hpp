// SPDX-License-Identifier: Apache-2.0
// What both directions of the codec need: documents in the formats of shm/json.hpp, and shapes that JSON cannot tell apart.
#pragma once

#include "codec.hpp"

namespace cli {

// The formats of shm::json_serializer and its kin. Throw shm::error (corrupt, invalid_argument).
json read_document(kind format, std::string_view bytes);
std::string write_document(kind format, const json& j);

// Whether a value of the type can be JSON's null.
bool may_be_null(const type& t);

// A variant's JSON for a value of alternative `index`.
json variant_json(const type& t, std::size_t index, json value);

// The bytes of a value inside another; false if the JSON does not fit the type.
bool encode_part(const type& t, const json& j, bool key, std::string& out);

} // namespace cli
