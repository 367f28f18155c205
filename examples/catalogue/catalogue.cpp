// SPDX-License-Identifier: Apache-2.0
#include "catalogue.hpp"

#include <fmt/format.h>

#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <stdexcept>

namespace demo {

namespace {

struct source {
  const char* file;
  const char* list;
  const char* code;
};
constexpr std::array<source, domain_count> sources{{{"iso_639-3.json", "639-3", "alpha_3"},
                                                    {"iso_3166-1.json", "3166-1", "alpha_2"},
                                                    {"iso_3166-2.json", "3166-2", "code"}}};
constexpr std::size_t pair_count = 24;

std::string edited_name(const entry& e, std::int64_t revision) {
  return revision == 0 ? e.name() : fmt::format("{} ⟨{}⟩", e.name(), revision);
}

// All fields of an edited entry in a revision.
shm::local_t<shm::dict<std::string, field>> fields_of(const entry& e, std::int64_t revision) {
  shm::local_t<shm::dict<std::string, field>> fields(e.fields.begin(), e.fields.end());
  if (!e.edited) return fields;
  fields["name"] = edited_name(e, revision);
  fields["revision"] = revision;
  if (revision % 2 != 0) fields["note"] = "under revision";
  return fields;
}

// Spread over all countries that have subdivisions, always the same ones.
std::vector<pair> choose_pairs(const std::vector<entry>& entries) {
  std::map<std::string, std::size_t> first; // subdivision of a country
  for (std::size_t i = 0; i < entries.size(); ++i)
    if (entries[i].in == subdivisions) first.emplace(entries[i].code.substr(0, entries[i].code.find('-')), i);
  std::vector<pair> all, chosen;
  for (std::size_t i = 0; i < entries.size(); ++i)
    if (const auto found = first.find(entries[i].code); entries[i].in == countries && found != first.end())
      all.push_back({i, found->second});
  if (all.size() < pair_count) throw std::runtime_error("iso-codes has too few countries with subdivisions");
  for (std::size_t i = 0; i < pair_count; ++i) chosen.push_back(all[i * all.size() / pair_count]);
  return chosen;
}

} // namespace

const std::string& entry::name() const {
  for (const auto& [key, value] : fields)
    if (key == "name") return value;
  throw std::runtime_error(fmt::format("{} {} has no name", domain_names[in], code));
}

iso_codes iso_codes::load(const std::filesystem::path& directory) {
  iso_codes codes;
  for (const domain in : {languages, countries, subdivisions}) {
    const auto path = directory / sources[in].file;
    std::ifstream file(path);
    if (!file) throw std::runtime_error(fmt::format("cannot read {}: install the package iso-codes", path.string()));
    try {
      const auto json = nlohmann::json::parse(file);
      for (const auto& item : json.at(sources[in].list)) {
        entry e{in, item.at(sources[in].code), {}};
        for (const auto& [key, value] : item.items()) e.fields.emplace_back(key, value.get<std::string>());
        codes.fields += e.fields.size();
        codes.entries.push_back(std::move(e));
      }
    } catch (const nlohmann::json::exception& error) {
      throw std::runtime_error(fmt::format("{} is not what is expected: {}", path.string(), error.what()));
    }
  }
  codes.pairs = choose_pairs(codes.entries);
  for (const pair& p : codes.pairs) codes.entries[p.country].edited = codes.entries[p.subdivision].edited = true;
  return codes;
}

void fill(dict& catalogue, const iso_codes& codes) {
  for (const entry& e : codes.entries) catalogue[domain_names[e.in]][e.code] = fields_of(e, 0);
}

bool is_right(const entry& e, const std::pair<std::string, std::string>& expected, const field& answer) {
  const auto* text = std::get_if<std::string>(&answer.value);
  if (text == nullptr) return false;
  if (e.edited && expected.first == "name") return text->compare(0, expected.second.size(), expected.second) == 0;
  return *text == expected.second;
}

std::int64_t edit(transaction& tx, const iso_codes& codes, const pair& p) {
  const entry& country = codes.entries[p.country];
  const entry& subdivision = codes.entries[p.subdivision];

  // The country field by field, ...
  const std::int64_t revision = (++tx["countries"][country.code]["revision"]).number();
  tx["countries"][country.code]["name"] = edited_name(country, revision);
  if (revision % 2 != 0)
    tx["countries"][country.code]["note"] = "under revision";
  else
    tx["countries"][country.code].erase("note");

  // ... its subdivision as a whole: the dict that was there goes, a new one comes.
  tx["subdivisions"][subdivision.code] = fields_of(subdivision, revision);
  return revision;
}

std::string find_half(const snapshot& view, const iso_codes& codes, const pair& p) {
  const auto country = view["countries"][codes.entries[p.country].code];
  const std::int64_t revision = country.at("revision").number();
  for (const entry* e : {&codes.entries[p.country], &codes.entries[p.subdivision]}) {
    const auto fields = view[domain_names[e->in]][e->code];
    if (const auto found = fields.at("revision").number(); found != revision)
      return fmt::format("{} is in revision {}, its country in {}", e->code, found, revision);
    if (const auto name = fields.at("name").text(); name != edited_name(*e, revision))
      return fmt::format("{} is in revision {} and its name is '{}'", e->code, revision, name);
    if (fields.contains("note") != (revision % 2 != 0))
      return fmt::format("{} is in revision {} and its note is of another", e->code, revision);
  }
  return {};
}

} // namespace demo
