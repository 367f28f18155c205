// SPDX-License-Identifier: Apache-2.0
// memcached through libmemcached over a Unix socket, binary protocol; one request, one reply. Keys are text there: numbers
// become decimal. Counters are keys of their own, because memcached adds to decimal text only.
#include <libmemcached/memcached.h>

#include <charconv>
#include <cstdlib>

#include "bytes.hpp"

namespace bench {
namespace {

class key_text {
 public:
  explicit key_text(std::int64_t key) { view_ = number(buffer_, key); }
  explicit key_text(std::string_view key) : view_(key) {}
  key_text(const key_text&) = delete;
  key_text& operator=(const key_text&) = delete;
  const char* data() const { return view_.data(); }
  std::size_t size() const { return view_.size(); }

 private:
  static std::string_view number(char (&buffer)[24], std::int64_t key) {
    return {buffer, static_cast<std::size_t>(std::to_chars(buffer, buffer + sizeof buffer, key).ptr - buffer)};
  }
  char buffer_[24]; // NOLINT: of a number only
  std::string_view view_;
};

template <class K, class V>
class memcached {
 public:
  static constexpr const char* name = "memcached";
  static constexpr bool shared = true, threads = false;
  static void remove(const config& c) {
    if (c.memcached.empty()) return;
    memcached_st* m = connect(c);
    memcached_flush(m, 0);
    memcached_free(m);
  }

  memcached(const config& c, role r) : m_(connect(c)) {
    if (r == role::create) must(memcached_flush(m_, 0));
  }
  memcached(const memcached&) = delete;
  memcached& operator=(const memcached&) = delete;
  ~memcached() { memcached_free(m_); }

  std::optional<V> get(argument_t<K> key) {
    const key_text k(key);
    std::size_t size = 0;
    std::uint32_t flags = 0;
    memcached_return_t result = MEMCACHED_SUCCESS;
    char* found = memcached_get(m_, k.data(), k.size(), &size, &flags, &result);
    if (result == MEMCACHED_NOTFOUND) return std::nullopt;
    must(result);
    std::optional<V> out(value_of<V>(found, size));
    std::free(found);
    return out;
  }
  void put(argument_t<K> key, const V& value) {
    const key_text k(key);
    const auto v = value_bytes(value);
    must(memcached_set(m_, k.data(), k.size(), v.data(), v.size(), 0, 0));
  }
  bool erase(argument_t<K> key) {
    const key_text k(key);
    const auto result = memcached_delete(m_, k.data(), k.size(), 0);
    if (result != MEMCACHED_NOTFOUND) must(result);
    return result == MEMCACHED_SUCCESS;
  }
  void add(argument_t<K> key) requires std::is_same_v<V, std::int64_t> {
    const key_text k(key);
    const std::string counter = "counter:" + std::string(k.data(), k.size());
    std::uint64_t now = 0;
    memcached_return_t result;
    do {
      result = memcached_increment_with_initial(m_, counter.data(), counter.size(), 1, 1, 0, &now);
    } while (result == MEMCACHED_NOTSTORED); // absent, and then somebody else was the first to store it
    must(result);
  }

 private:
  static memcached_st* connect(const config& c) {
    memcached_st* m = memcached_create(nullptr);
    memcached_server_add_unix_socket(m, c.memcached.c_str());
    memcached_behavior_set(m, MEMCACHED_BEHAVIOR_BINARY_PROTOCOL, 1);
    return m;
  }
  void must(memcached_return_t result) const {
    if (memcached_failed(result)) throw std::runtime_error(std::string("memcached: ") + memcached_strerror(m_, result));
  }

  memcached_st* m_;
};
template <class V>
class memcached<path, V> {}; // no nesting

const registration enlisted = enlist<memcached>();

} // namespace
} // namespace bench
