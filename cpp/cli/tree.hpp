// SPDX-License-Identifier: Apache-2.0
// The tree of dicts that a handle or a snapshot shows, and where a path leads in it.
#pragma once

#include <shmdict/shmdict.h>

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "codec.hpp"
#include "dict_handle.hpp"

namespace cli {

// A dict of the tree with the types of what is in it. Refers to the dict_handle's types.
struct level {
  shmd_node node;
  const type* keys;
  const type* values;
};
level root_of(const dict_handle& d);
// The dict under an entry of `above`.
level below(const level& above, shmd_node node);

// The whole tree as it was after one commit.
class snapshot {
 public:
  explicit snapshot(const dict_handle& d);
  ~snapshot() { shmd_snapshot_close(s_); }
  snapshot(const snapshot&) = delete;
  snapshot& operator=(const snapshot&) = delete;

  shmd_snapshot* get() const noexcept { return s_; }
  std::uint64_t position() const noexcept { return shmd_snapshot_position(s_); }
  // Calls visit(entry) until it returns false. The entry's bytes are valid during the call.
  void each(const level& l, const std::function<bool(const shmd_entry&)>& visit) const;
  // The bytes of a value; empty if there is none any more or a dict.
  std::optional<std::string> value(const level& l, std::string_view key) const;

 private:
  shmd_snapshot* s_ = nullptr;
};

// What a path leads to.
struct found {
  enum { nothing, dict, leaf } what = nothing;
  level at{};                     // the dict itself; or the one that holds, or would hold, the leaf
  std::string key;                // of the leaf in it, as bytes
  std::vector<std::string> inner; // the rest of the path, inside the leaf
  json value;                     // leaf: what is there, inner followed
  std::string bytes;              // leaf: the whole leaf as stored
  std::string problem;            // leaf: why its bytes are no value of its type, so that there is none; else empty
};

// Present state of the live dict; of the snapshot.
found look_up(const dict_handle& d, const std::string& path);
found look_up(const dict_handle& d, const snapshot& s, const std::string& path);

// Follows a path inside a value; nullptr if it leads nowhere.
const json* descend(const json& from, const std::vector<std::string>& tokens);
json* descend(json& from, const std::vector<std::string>& tokens);

inline std::string_view bytes_of(const void* data, std::size_t size) { return {static_cast<const char*>(data), size}; }

} // namespace cli
