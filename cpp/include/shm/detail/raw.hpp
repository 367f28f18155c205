// SPDX-License-Identifier: Apache-2.0
// The core's reading and updating calls with typed results. Every lookup of the facade ends in raw_get.
#pragma once

#include <optional>
#include <utility>

#include <shmdict/read.h>

#include "carried.hpp"
#include "encoded.hpp"

SHM_DETAIL_BEGIN

// The only call of the read path: one attempt inline; whatever is not plain (a transaction that is open in this process, an
// error, a long key) is shmd_get's.
inline int raw_get(shmd_dict* d, shmd_node node, const void* key, std::size_t key_size, void* out, std::size_t capacity,
                   std::size_t* size) {
  const shmd_reader* reader = shmd_reader_of(d);
  if (SHMD_LIKELY(reader != nullptr && key_size <= SHMD_MAX_KEY && shmd_load_relaxed(&reader->writer) == 0)) {
    const int result = shmd_read_get(reader, node, shmd_hash_key(reader->hash_seed, key, key_size), key, key_size, out,
                                     capacity, size);
    if (SHMD_LIKELY(result >= 0)) return result;
  }
  return shmd_get(d, node, key, key_size, out, capacity, size);
}

// The shortest way, for numbers under numbers. 0, SHMD_NOT_FOUND, or SHMD_READ_NOT_PLAIN: ask raw_get.
template <std::size_t KeySize, std::size_t ValueSize>
SHMD_INLINE int raw_get_word(shmd_dict* d, shmd_node node, const void* key, void* out) {
  const shmd_reader* reader = shmd_reader_of(d);
  if (SHMD_UNLIKELY(reader == nullptr || shmd_load_relaxed(&reader->writer) != 0)) return SHMD_READ_NOT_PLAIN;
  return shmd_read_word(reader, node, key, KeySize, out, ValueSize);
}

// A value of any length in one look-up. Results of raw_get, or SHMD_READ_NOT_PLAIN: ask it.
template <class V>
int raw_get_whole(shmd_dict* d, shmd_node node, const void* key, std::size_t key_size, std::optional<local_t<V>>& out) {
  const shmd_reader* reader = shmd_reader_of(d);
  if (SHMD_UNLIKELY(reader == nullptr || key_size > SHMD_MAX_KEY)) return SHMD_READ_NOT_PLAIN;
  if (SHMD_UNLIKELY(shmd_load_relaxed(&reader->writer) != 0)) return SHMD_READ_NOT_PLAIN;
  const std::uint64_t hash = shmd_hash_key(reader->hash_seed, key, key_size);
  shmd_found found{};
  std::uint64_t before = 0;
  const int result = shmd_read_locate(reader, node, hash, key, key_size, &found, &before);
  if (SHMD_UNLIKELY(result != 0)) return result == SHMD_NOT_FOUND ? result : SHMD_READ_NOT_PLAIN;
  const auto size = static_cast<std::size_t>(found.value_size);
#if defined(SHMD_PLAIN_COPIES)
  if constexpr (is_bytes<V>) {
    using byte = typename V::value_type;
    shmd_compiler_barrier();
    const auto* p = reinterpret_cast<const byte*>(found.value);
    out.emplace(p, p + size);
    shmd_compiler_barrier();
    return shmd_read_still(reader, before) ? 0 : SHMD_READ_NOT_PLAIN;
  }
#endif
  buffer<256> bytes(size);
  shmd_read_bytes(reader, bytes.data(), found.value, size);
  if (!shmd_read_still(reader, before)) return SHMD_READ_NOT_PLAIN;
  out = decode<V>(bytes.data(), size);
  return 0;
}

// Reads a value of type V with get(out, capacity, &size), which may find it larger each time. Results of raw_get.
template <class V, class Get>
int fetch(const Get& get, std::optional<local_t<V>>& out) {
  std::size_t size = 0;
  if constexpr (is_scalar<V>) {
    unsigned char bytes[sizeof(V)];
    const int result = get(bytes, sizeof bytes, &size);
    if (result == 0 || result == SHMD_TRUNCATED) out = decode<V>(bytes, result == 0 ? size : 0);
    return result == SHMD_TRUNCATED ? 0 : result;
  } else {
    buffer<256> bytes;
    int result = get(bytes.data(), bytes.size(), &size);
    while (result == SHMD_TRUNCATED) {
      bytes.resize(size);
      result = get(bytes.data(), bytes.size(), &size);
    }
    if (result == 0) out = decode<V>(bytes.data(), size);
    return result;
  }
}

// Calls change(std::optional<local_t<V>>&) with the present value (empty: absent) under the lock, and stores what it leaves there.
// It answers SHMD_OK (store; empty = erase) or SHMD_KEPT. What it throws leaves the value as it was and is thrown on.
template <class V, class Change>
class updater {
 public:
  explicit updater(Change& change) : change_(change) {}

  static int callback(void* context, const void* old, std::size_t old_size, const void** value, std::size_t* size) {
    return static_cast<updater*>(context)->run(old, old_size, value, size);
  }
  void rethrow() const { error_.rethrow(); }

 private:
  int run(const void* old, std::size_t old_size, const void** value, std::size_t* size) {
    return error_.catching(SHMD_ERR_ABORTED, [&]() -> int {
      if (old != nullptr) value_ = decode<V>(old, old_size);
      const int answer = change_(value_);
      if (answer != SHMD_OK) return answer;
      if (!value_) return SHMD_NOT_FOUND;
      bytes_.emplace(*value_);
      *value = bytes_->data();
      *size = bytes_->size();
      return SHMD_OK;
    });
  }

  Change& change_;
  std::optional<local_t<V>> value_;
  std::optional<encoded_value<V>> bytes_;
  carried error_;
};

SHM_DETAIL_END
