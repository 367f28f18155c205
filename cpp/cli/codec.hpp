// SPDX-License-Identifier: Apache-2.0
// Stored bytes <-> JSON, directed by a type name. Both directions agree: encode(decode(bytes)) gives the same bytes for
// every value of a known type that JSON can express.
//
//   type                          JSON
//   i8 ... u64, f32, f64, bool    number, true, false; NaN and infinities as "NaN", "Infinity", "-Infinity"
//   str                           string
//   bytes                         "0x" and hex digits
//   no type name (C interface)    the text if it is printable UTF-8 and does not start with "0x"; else as bytes
//   unit                          null
//   vec, set, arr, tuple          array
//   dur, system_time, steady_time the number of parts of a second
//   map                           array of [key, value]; with str keys an object
//   opt<T>                        null or the value; [] or [value] if the value itself may be null
//   var<...>                      the value, if the first alternative that takes it is the right one; else
//                                 {"alternative": index, "value": ...}
//   json, cbor, json_text, ...    the document
//   a user's type                 {"type": name, "hex": digits}
#pragma once

#include <cstddef>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "type.hpp"

namespace cli {

using json = nlohmann::json;

// A whole key or value. Bytes that are not a value of their type throw shm::error (corrupt).
json decode(const type& t, std::string_view bytes);

// Throws failure (refused) that says what is expected; `where` names the place in its message.
std::string encode_value(const type& t, const json& j, const std::string& where);
std::string encode_key(const type& t, const json& j, const std::string& where);

// Whether JSON text says the same as the value, so that it comes back: no NaN in a document, no broken UTF-8.
bool is_expressible(const json& j);

// Order of keys in listings: numbers by value, text by bytes.
bool key_less(const json& a, const json& b);

std::string to_hex(std::string_view bytes); // "0x..."
// False if the text is not "0x" and pairs of hex digits.
bool from_hex(std::string_view text, std::string& bytes);
bool is_utf8(std::string_view bytes);

} // namespace cli
