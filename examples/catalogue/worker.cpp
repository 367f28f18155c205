// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <random>
#include <string>
#include <utility>

#include "process.hpp"
#include "roles.hpp"

namespace demo {

namespace {

constexpr int lookups_at_a_time = 256; // counted with one += a domain

using counts = std::array<std::int64_t, domain_count>;
using generator = std::minstd_rand;

std::size_t below(std::size_t n, generator& random) {
  return std::uniform_int_distribution<std::size_t>(0, n - 1)(random);
}

// Looks up a field of some entry.
void look(const dict& catalogue, const iso_codes& codes, generator& random, counts& hits) {
  const entry& e = codes.entries[below(codes.entries.size(), random)];
  const auto& expected = e.fields[below(e.fields.size(), random)];
  const field answer = catalogue[domain_names[e.in]][e.code][expected.first];
  if (!is_right(e, expected, answer))
    tell(kind::mistake, 0, e.in, fmt::format("{} {} is not '{}'", e.code, expected.first, expected.second));
  ++hits[e.in];
}

void count(dict& catalogue, const counts& hits) {
  for (const domain in : {languages, countries, subdivisions}) {
    if (hits[in] == 0) continue;
    catalogue["hits"][domain_names[in]]["lookups"] += hits[in];
    tell(kind::hits, static_cast<std::uint64_t>(hits[in]), in); // only now: what returned must never be lost
  }
}

void look_and_count(dict& catalogue, const iso_codes& codes, generator& random) {
  counts hits{};
  for (int i = 0; i < lookups_at_a_time; ++i) look(std::as_const(catalogue), codes, random, hits);
  count(catalogue, hits);
}

// Dies here, if all goes well: with the lock, and in the middle of a transaction. What it counted is exactly what it
// told, for it is killed only after it said that it waits; and what the transaction did must never be seen.
void hold_lock_until_killed(dict& catalogue, const iso_codes& codes, generator& random) {
  shm::guard lock{catalogue};
  look_and_count(catalogue, codes, random);
  transaction half{catalogue};
  half["unfinished"]["by"]["pid"] = std::to_string(getpid());
  for (const char* name : domain_names) half["hits"][name]["lookups"] += 1'000'000'000;
  half.erase("subdivisions");
  tell(kind::holding);
  while (next_order(true) != order::stop) continue; // the parent ended early: the transaction is forgotten
}

} // namespace

void work(const std::string& dict_name, const iso_codes& codes) {
  dict catalogue{shm::open_only, dict_name};
  generator random{std::random_device{}()};
  tell(kind::ready);
  for (order next; (next = next_order()) != order::stop;) {
    if (next == order::take_lock) return hold_lock_until_killed(catalogue, codes, random);
    look_and_count(catalogue, codes, random);
    const pair& p = codes.pairs[below(codes.pairs.size(), random)];
    const std::string wrong = find_half(catalogue.snapshot(), codes, p);
    tell(wrong.empty() ? kind::checked : kind::half, 1, 0, wrong);
  }
}

} // namespace demo
