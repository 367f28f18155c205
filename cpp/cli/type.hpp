// SPDX-License-Identifier: Apache-2.0
// Type names as they stand in a dict's superblock (grammar: c-core/doc/format.md), parsed.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace cli {

enum class kind {
  unknown, // a user's type, or a name that this command does not know: bytes without meaning
  untyped, // a dict of the C interface whose maker named no type
  i8,
  i16,
  i32,
  i64,
  u8,
  u16,
  u32,
  u64,
  f32,
  f64,
  boolean,
  character,
  str,
  bytes,
  unit,
  vec,
  set,
  map,
  arr,
  opt,
  tuple,
  var,
  dict,
  dur,         // so many parts of a second
  system_time, // a dur since 1970
  steady_time, // a dur since the machine started
  json,        // a leaf of a dynamic dict: a CBOR document, or a nested dict
  cbor,
  json_text,
  msgpack,
  ubjson,
  bson
};

struct type {
  kind what = kind::unknown;
  std::string name; // as it is spelled
  std::vector<type> args;
  std::uint64_t count = 0;       // arr: elements; dur: numerator of what it counts, in seconds
  std::uint64_t denominator = 0; // dur

  bool is_number() const noexcept { return what >= kind::i8 && what <= kind::f64; }
  bool is_document() const noexcept { return what >= kind::json; }
  bool holds_dicts() const noexcept { return what == kind::dict || what == kind::json; }
  // Whether every value can be told from its bytes: no part is of an unknown type.
  bool known() const noexcept;
};

// Never fails: what is not in the grammar, or nests deeper than 64, is unknown as a whole. Names are untrusted.
type parse_type(std::string_view name);

} // namespace cli
