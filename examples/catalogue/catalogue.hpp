// SPDX-License-Identifier: Apache-2.0
// The catalogue: iso-codes' JSON as each process reads it for itself, and the dict that they share.
//
//   catalogue[domain][code][field]       "languages" "isl" "name" -> "Icelandic"
//   catalogue["hits"][domain]["lookups"] how often workers looked into a domain
// Some countries are edited while everybody reads, each together with its first subdivision: a pair. A pair's entries
// have a "revision" and in odd revisions a "note", and their names end with the revision. All of it changes at once.
#pragma once

#include <shm/shm.hpp>

#include <array>
#include <cstdint>
#include <filesystem>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace demo {

// What a field holds: a number, which += counts up, or a text.
struct field {
  std::variant<std::int64_t, std::string> value; // 0 unless said otherwise

  field() = default;
  field(std::int64_t number) : value(number) {}
  field(std::string text) : value(std::move(text)) {}
  field(const char* text) : value(text) {}

  std::int64_t number() const { return std::get<std::int64_t>(value); }    // throws std::bad_variant_access
  const std::string& text() const { return std::get<std::string>(value); } // likewise
  field& operator+=(std::int64_t n) {
    std::get<std::int64_t>(value) += n;
    return *this;
  }
};

} // namespace demo

// Stored as the variant in it.
template <>
struct shm::serializer<demo::field> : shm::serializer<decltype(demo::field::value)> {
  using base = shm::serializer<decltype(demo::field::value)>;
  static std::size_t size(const demo::field& f) { return base::size(f.value); }
  static void write(const demo::field& f, writer& w) { base::write(f.value, w); }
  static demo::field read(reader& r) {
    demo::field f;
    f.value = base::read(r);
    return f;
  }
};

namespace demo {

using dict = shm::dict<std::string, shm::dict<std::string, shm::dict<std::string, field>>>;
using transaction = shm::transaction<std::string, shm::dict<std::string, shm::dict<std::string, field>>>;
using snapshot = shm::snapshot<std::string, shm::dict<std::string, shm::dict<std::string, field>>>;

enum domain : unsigned { languages, countries, subdivisions };
inline constexpr std::array<const char*, 3> domain_names{"languages", "countries", "subdivisions"};
inline constexpr std::size_t domain_count = domain_names.size();

struct entry {
  domain in;
  std::string code;
  std::vector<std::pair<std::string, std::string>> fields; // the name is one of them
  bool edited = false;                                     // part of a pair

  const std::string& name() const;
};

// Indices into iso_codes::entries.
struct pair {
  std::size_t country;
  std::size_t subdivision;
};

struct iso_codes {
  std::vector<entry> entries; // of all domains
  std::vector<pair> pairs;
  std::size_t fields = 0; // of all entries

  // Reads iso_639-3.json, iso_3166-1.json and iso_3166-2.json. Throws std::runtime_error.
  static iso_codes load(const std::filesystem::path& directory);
};

// Fills a new catalogue.
void fill(dict& catalogue, const iso_codes& codes);

// What lookup(entry, field) answers is right, or for the name of an edited entry at least begins so.
bool is_right(const entry& e, const std::pair<std::string, std::string>& expected, const field& answer);

// The next revision of both entries of a pair. Returns its number.
std::int64_t edit(transaction& tx, const iso_codes& codes, const pair& p);

// Empty if both entries of the pair are of one revision, else what is wrong.
std::string find_half(const snapshot& view, const iso_codes& codes, const pair& p);

} // namespace demo
