// SPDX-License-Identifier: Apache-2.0
// Keys and values as bytes, for peers that store nothing else.
#pragma once

#include <cstring>

#include "harness/measure.hpp"

namespace bench {

// The bytes of a key; two levels become one key.
class key_bytes {
 public:
  explicit key_bytes(const std::int64_t& key) : view_(reinterpret_cast<const char*>(&key), sizeof key) {}
  explicit key_bytes(std::string_view key) : view_(key) {}
  explicit key_bytes(const path& key) {
    std::memcpy(buffer_, key.group.bytes.data(), key.group.bytes.size());
    std::memcpy(buffer_ + key.group.bytes.size(), &key.item, sizeof key.item);
    view_ = {buffer_, sizeof buffer_};
  }
  key_bytes(const key_bytes&) = delete;
  key_bytes& operator=(const key_bytes&) = delete;

  std::string_view view() const { return view_; }
  const char* data() const { return view_.data(); }
  std::size_t size() const { return view_.size(); }

 private:
  char buffer_[sizeof(text) + sizeof(std::int64_t)]; // NOLINT: of a path only
  std::string_view view_;
};

inline std::string_view value_bytes(const std::int64_t& value) {
  return {reinterpret_cast<const char*>(&value), sizeof value};
}
inline std::string_view value_bytes(const std::string& value) { return value; }

template <class V>
V value_of(const void* data, std::size_t size) {
  if constexpr (std::is_same_v<V, std::string>) {
    return std::string(static_cast<const char*>(data), size);
  } else {
    V value{};
    if (size != sizeof value) throw std::runtime_error("a value has the wrong size");
    std::memcpy(&value, data, sizeof value);
    return value;
  }
}

} // namespace bench
