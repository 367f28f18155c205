// SPDX-License-Identifier: Apache-2.0
// A dict through the C ABI, for tests of the core: unique name, unlinked whatever happens, results checked.
#pragma once

#include <shmdict/shmdict.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

namespace support {

inline std::string unique_name(const std::string& what) {
  static std::atomic<int> counter{0};
  return "test." + what + "." + std::to_string(getpid()) + "." + std::to_string(++counter);
}

inline int must(int result, const char* what) {
  if (result < 0) throw std::runtime_error(std::string(what) + ": " + shmd_last_error()->message);
  return result;
}

inline shmd_options small_options(std::uint64_t max_size = std::uint64_t{64} << 20) {
  shmd_options o;
  shmd_options_init(&o);
  o.max_size = max_size;
  return o;
}

class Dict {
 public:
  explicit Dict(const std::string& name, shmd_options options = small_options()) : name_(name) {
    must(shmd_open(name.c_str(), &options, &d_), "open");
  }
  ~Dict() {
    if (d_ == nullptr) return;
    if (owner_) shmd_unlink_this(d_);
    shmd_close(d_);
  }
  Dict(const Dict&) = delete;
  Dict& operator=(const Dict&) = delete;

  operator shmd_dict*() const { return d_; }
  const std::string& name() const { return name_; }
  void leave_object() { owner_ = false; }

  int put(const std::string& key, const std::string& value, shmd_node node = shmd_root(), std::uint32_t flags = 0) {
    return must(shmd_put(d_, node, key.data(), key.size(), value.data(), value.size(), flags), "put");
  }
  std::optional<std::string> get(const std::string& key, shmd_node node = shmd_root()) {
    std::string buffer(256, '\0');
    for (;;) {
      std::size_t size = 0;
      const int result = must(shmd_get(d_, node, key.data(), key.size(), buffer.data(), buffer.size(), &size), "get");
      if (result == SHMD_NOT_FOUND) return std::nullopt;
      const bool fits = result == SHMD_OK;
      buffer.resize(size);
      if (fits) return buffer;
    }
  }
  int erase(const std::string& key, shmd_node node = shmd_root()) {
    return must(shmd_erase(d_, node, key.data(), key.size()), "erase");
  }
  shmd_node child(const std::string& key, shmd_node node = shmd_root(), std::uint32_t flags = SHMD_NODE_CREATE) {
    shmd_node out = {0, 0};
    must(shmd_node_open(d_, node, key.data(), key.size(), flags, &out), "node_open");
    return out;
  }
  std::uint64_t count(shmd_node node = shmd_root()) {
    std::uint64_t n = 0;
    must(shmd_count(d_, node, &n), "count");
    return n;
  }
  shmd_stats stat() {
    shmd_stats s;
    must(shmd_stat(d_, &s), "stat");
    return s;
  }
  // Findings of a check, empty if it is clean.
  std::string check() {
    std::string findings;
    const int result = shmd_check(
        d_, [](void* context, const char* text) { *static_cast<std::string*>(context) += std::string(text) + "\n"; },
        &findings);
    if (result < 0 && findings.empty()) findings = shmd_last_error()->message;
    return findings;
  }

 private:
  std::string name_;
  shmd_dict* d_ = nullptr;
  bool owner_ = true;
};

} // namespace support
