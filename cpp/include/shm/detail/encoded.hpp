// SPDX-License-Identifier: Apache-2.0
// Whole keys and values as bytes, and back.
//
// A string or vector of bytes is its bytes, nothing is copied; a scalar is sizeof little-endian bytes; everything else is
// what its serializer writes, in a small buffer or on the heap.
#pragma once

#include <cstddef>
#include <cstdio>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "../local.hpp"
#include "../serializers_std.hpp"
#include "text_arg.hpp"

SHM_DETAIL_BEGIN

template <class T>
inline constexpr bool is_string = std::is_same_v<T, std::string>;
template <class T>
inline constexpr bool is_bytes =
    is_string<T> || std::is_same_v<T, std::vector<std::byte>> || std::is_same_v<T, std::vector<unsigned char>>;

template <class T>
inline constexpr bool is_word = is_scalar<T> && (sizeof(T) == 4 || sizeof(T) == 8); // a key that hashes inline

// How functions take a key: no std::string is made of a literal or string_view, and 0 and nullptr are no text.
template <class T>
using arg_t = std::conditional_t<is_string<T>, text_arg, std::conditional_t<is_scalar<T>, T, const local_t<T>&>>;

// What writes and reads a T: its serializer, or that of its dict.
template <class T>
struct serializer_choice {
  using type = serializer<T>;
};
template <class V, class S>
struct serializer_choice<stored_as<V, S>> {
  static_assert(!is_nested<V>, "shm: a dict's own serializer stores plain values; give it to the nested dict");
  using type = S;
};
template <class T>
using serializer_of = typename serializer_choice<T>::type;

// The type's name in the superblock.
template <class V>
struct type_name {
  static_assert(std::is_same_v<V, std::remove_cv_t<std::remove_reference_t<V>>>,
                "shm: key and value types are plain types, not const or references");
  static constexpr std::string_view value = serializer_of<V>::name;
};
template <class K, class V, class S>
struct type_name<dict<K, V, S>> {
  static constexpr std::string_view value = applied<name_dict, type_name<K>::value, type_name<stored<V, S>>::value>;
};
inline constexpr std::string_view name_json = "json";
template <>
struct type_name<json_dict> { // a value, or a dict of such
  static constexpr std::string_view value = name_json;
};

// Bytes on the stack while they are few. Not initialised.
template <std::size_t Inline>
class buffer {
 public:
  buffer() noexcept {} // NOLINT: leaves the bytes as they are
  explicit buffer(std::size_t size) { resize(size); }
  buffer(const buffer& other) : buffer(other.size_) { std::memcpy(data(), other.data(), size_); }
  buffer& operator=(const buffer&) = delete;

  unsigned char* data() noexcept { return heap_ ? heap_.get() : inline_; }
  const unsigned char* data() const noexcept { return heap_ ? heap_.get() : inline_; }
  std::size_t size() const noexcept { return size_; }
  // Contents are lost.
  void resize(std::size_t size) {
    if (size > Inline) heap_.reset(new unsigned char[size]);
    size_ = size;
  }

 private:
  std::unique_ptr<unsigned char[]> heap_;
  std::size_t size_ = Inline;
  unsigned char inline_[Inline];
};

// A serializer may write whole values in another way than parts of others: without the length that tells where they end.
//   std::vector<unsigned char> whole(const T&);  T from_whole(const void* data, std::size_t size);
template <class S, class = void>
struct has_whole : std::false_type {};
template <class S>
struct has_whole<S, std::void_t<decltype(&S::from_whole)>> : std::true_type {};

// Bytes of a key or value. Refers to its argument if is_bytes: keep that alive.
template <class T, bool Key, class Enable = void>
class encoded {
 public:
  using type = T;
  explicit encoded(const local_t<T>& v) : bytes_(serializer_of<T>{}.size(v)) {
    writer w(bytes_.data(), bytes_.size(), Key);
    serializer_of<T>{}.write(v, w);
    if (w.left() != 0) throw std::logic_error("shm::serializer: write() wrote fewer bytes than size() announced");
  }
  const void* data() const noexcept { return bytes_.data(); }
  std::size_t size() const noexcept { return bytes_.size(); }

 private:
  buffer<96> bytes_;
};

template <class T>
class encoded<T, false, std::enable_if_t<has_whole<serializer_of<T>>::value>> {
 public:
  using type = T;
  explicit encoded(const local_t<T>& v) : bytes_(serializer_of<T>{}.whole(v)) {}
  const void* data() const noexcept { return bytes_.data(); }
  std::size_t size() const noexcept { return bytes_.size(); }

 private:
  std::vector<unsigned char> bytes_;
};

template <class T, bool Key>
class encoded<T, Key, std::enable_if_t<is_bytes<T>>> {
 public:
  using type = T;
  explicit encoded(arg_t<T> v) noexcept : data_(v.data()), size_(v.size()) {}
  const void* data() const noexcept { return data_; }
  std::size_t size() const noexcept { return size_; }

 private:
  const void* data_;
  std::size_t size_;
};

template <class T, bool Key>
class encoded<T, Key, std::enable_if_t<is_scalar<T>>> {
 public:
  using type = T;
  explicit encoded(const T& v) noexcept(!Key || !std::is_floating_point_v<T>) {
    if constexpr (Key)
      store_number(bytes_, canonical_number(v));
    else
      store_number(bytes_, v);
  }
  const void* data() const noexcept { return bytes_; }
  static constexpr std::size_t size() noexcept { return sizeof(T); }

 private:
  alignas(T) unsigned char bytes_[sizeof(T)];
};

template <class K>
using encoded_key = encoded<K, true>;
template <class V>
using encoded_value = encoded<V, false>;

// Throws shm::error (corrupt) if the bytes are not a T.
template <class T>
local_t<T> decode(const void* data, std::size_t size) {
  if constexpr (is_string<T>) {
    return size == 0 ? T{} : T(static_cast<const char*>(data), size);
  } else if constexpr (is_bytes<T>) {
    const auto* p = static_cast<const typename T::value_type*>(data);
    return size == 0 ? T{} : T(p, p + size);
  } else if constexpr (has_whole<serializer_of<T>>::value) {
    return serializer_of<T>{}.from_whole(data, size);
  } else {
    reader r(data, size);
    local_t<T> v = serializer_of<T>{}.read(r);
    if (r.left() != 0) r.fail("there are bytes left over");
    return v;
  }
}

// A key for messages: never throws but for want of memory, whatever the bytes are.
template <class K>
struct key_text {
  static void append(std::string& out, const void* data, std::size_t size) {
    if constexpr (is_string<K>) {
      append_string(out, static_cast<const unsigned char*>(data), size);
    } else if constexpr (std::is_same_v<K, bool>) {
      out += size == 1 && *static_cast<const unsigned char*>(data) == 0 ? "false" : "true";
    } else if constexpr (std::is_arithmetic_v<K>) {
      if (size == sizeof(K)) out += std::to_string(load_number<K>(data));
    } else {
      out.append(type_name<K>::value).append(" of ").append(std::to_string(size)).append(" bytes");
    }
  }

 private:
  static void append_string(std::string& out, const unsigned char* bytes, std::size_t size) {
    constexpr std::size_t most = 80;
    out += '"';
    for (std::size_t i = 0; i < size && i < most; ++i) {
      if (bytes[i] >= 0x20 && bytes[i] != 0x7f && bytes[i] != '"' && bytes[i] != '\\') {
        out += static_cast<char>(bytes[i]);
      } else {
        char hex[5];
        std::snprintf(hex, sizeof hex, "\\x%02x", static_cast<unsigned>(bytes[i]));
        out += hex;
      }
    }
    out += size > most ? "\"..." : "\"";
  }
};
// As the alternative that it holds; a string stands behind its length here.
template <class... T>
struct key_text<std::variant<T...>> {
  static void append(std::string& out, const void* data, std::size_t size) {
    const std::size_t index = size < 4 ? sizeof...(T) : load_number<std::uint32_t>(data);
    std::size_t i = 0;
    (alternative<T>(out, data, size, index == i++), ...);
  }

 private:
  template <class A>
  static void alternative(std::string& out, const void* data, std::size_t size, bool this_one) {
    const std::size_t skipped = is_bytes<A> ? 8 : 4;
    if (this_one && size >= skipped)
      key_text<A>::append(out, static_cast<const unsigned char*>(data) + skipped, size - skipped);
  }
};

template <class K>
void describe_key(std::string& out, const void* data, std::size_t size) { // ["key"]
  out += '[';
  key_text<K>::append(out, data, size);
  out += ']';
}
template <class K>
std::string text_of_key(const void* data, std::size_t size) {
  std::string out;
  describe_key<K>(out, data, size);
  return out;
}

SHM_DETAIL_END
