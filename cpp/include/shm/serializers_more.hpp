// SPDX-License-Identifier: Apache-2.0
// Serializers of types of the standard library whose headers are large. Opt-in by include.
//
//   type                   name           bytes
//   complex<T>             tuple<T,T>     real and imaginary part
//   filesystem::path       str            u32 length, bytes; as a whole value without the length. Not for keys: equal paths
//                                         may be spelled in several ways; take its string()
#pragma once

#include <complex>
#include <filesystem>
#include <vector>

#include "serializers_std.hpp"

SHM_NAMESPACE_BEGIN

template <class T>
struct serializer<std::complex<T>> {
  static constexpr std::string_view name =
      detail::applied<detail::name_tuple, serializer<T>::name, serializer<T>::name>;
  static constexpr bool canonical = is_key_v<T>;
  static constexpr std::size_t size(const std::complex<T>&) noexcept { return 2 * sizeof(T); }
  static void write(const std::complex<T>& c, writer& w) {
    w.number(c.real());
    w.number(c.imag());
  }
  static std::complex<T> read(reader& r) {
    const T real = r.template number<T>(), imaginary = r.template number<T>();
    return {real, imaginary};
  }
};

template <>
struct serializer<std::filesystem::path> {
  static_assert(std::is_same_v<std::filesystem::path::value_type, char>, "shm: paths are bytes here");
  static constexpr std::string_view name = detail::name_str;
  static std::size_t size(const std::filesystem::path& p) noexcept { return 4 + p.native().size(); }
  static void write(const std::filesystem::path& p, writer& w) { w.value(p.native()); }
  static std::filesystem::path read(reader& r) { return {r.value<std::string>()}; }
  static std::vector<unsigned char> whole(const std::filesystem::path& p) {
    return {p.native().begin(), p.native().end()};
  }
  static std::filesystem::path from_whole(const void* data, std::size_t size) {
    return {std::string(static_cast<const char*>(data), size)};
  }
};

SHM_NAMESPACE_END
