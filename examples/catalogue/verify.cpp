// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <sys/wait.h>

#include <algorithm>
#include <csignal>
#include <random>
#include <stdexcept>

#include "run.hpp"

namespace demo {

namespace {

// For the rescue, which is promised within 100 ms: machines are busy at times. Without it a wait ends after 10 s.
constexpr double patience_ms = 8000;

template <class... T>
void expect(results& r, bool passed, std::string text, fmt::format_string<T...> found, T&&... values) {
  r.checks.push_back({passed, std::move(text), passed ? "" : fmt::format(found, std::forward<T>(values)...)});
}

void check_hits(const dict& catalogue, const crew& all, results& r) {
  std::string wrong;
  for (std::size_t in = 0; in < domain_count; ++in) {
    std::uint64_t acknowledged = 0;
    for (const member& m : all.members) acknowledged += m.hits[in];
    r.hits[in] = catalogue["hits"][domain_names[in]]["lookups"].value().number();
    if (static_cast<std::uint64_t>(r.hits[in]) != acknowledged)
      wrong = fmt::format("{}: {} in the dict, {} acknowledged", domain_names[in], r.hits[in], acknowledged);
  }
  expect(r, wrong.empty(), "the hits in the dict are the sum of all acknowledged ones, the killed worker's included",
         "{}", wrong);
}

void check_entries(const dict& catalogue, const iso_codes& codes, results& r) {
  std::size_t wrong = 0, sizes = 0;
  for (const entry& e : codes.entries) {
    const auto stored = catalogue[domain_names[e.in]].get(e.code);
    for (const auto& expected : e.fields)
      if (!stored || stored->count(expected.first) == 0 || !is_right(e, expected, stored->at(expected.first))) ++wrong;
    if (!e.edited && stored && stored->size() != e.fields.size()) ++wrong;
  }
  for (const char* name : domain_names) sizes += catalogue[name].size();
  expect(r, wrong == 0 && sizes == codes.entries.size(),
         fmt::format("all {} entries are what iso-codes says", grouped(codes.entries.size())),
         "{} fields are not; {} entries", wrong, sizes);
}

void check_edits(const dict& catalogue, const iso_codes& codes, const crew& all, results& r) {
  std::string wrong;
  const auto view = catalogue.snapshot();
  for (const pair& p : codes.pairs) {
    if (const auto half = find_half(view, codes, p); !half.empty()) wrong = half;
    r.revisions += view["countries"][codes.entries[p.country].code].at("revision").number();
  }
  const std::uint64_t edits = all.members.back().edits;
  if (static_cast<std::uint64_t>(r.revisions) != edits)
    wrong = fmt::format("{} in the dict, {} acknowledged", r.revisions, edits);
  expect(r, wrong.empty(), "every acknowledged edit is there, both its entries", "{}", wrong);
}

void check_rescue(const dict& catalogue, const crew& all, results& r) {
  const rescue& d = r.death;
  expect(r, !catalogue.contains("unfinished"), "nothing is there of the transaction that the dead worker was in",
         "{} is", "something");
  expect(r, d.reads > 0 && d.wrong_reads == 0, "reading went on while the lock was held", "{} of {} lookups were wrong",
         d.wrong_reads, d.reads);
  expect(r, d.first_ms < patience_ms && r.stats.recoveries == 1,
         "the dead worker's lock was taken over at once, by one of those who waited", "{:.0f} ms, {} times", d.first_ms,
         r.stats.recoveries);
  expect(r, d.all_ms >= 0, "all others went on", "somebody did not write for 10 s");

  std::string wrong;
  for (std::size_t i = 0; i < all.members.size(); ++i) {
    const int status = all.members[i].status;
    const bool right = i == d.victim ? WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL
                                     : WIFEXITED(status) && WEXITSTATUS(status) == 0;
    if (!right) wrong = fmt::format("{} ended with status {:#x}", all.members[i].program.name(), status);
  }
  expect(r, wrong.empty(), "all programs but the killed one ended by themselves", "{}", wrong);
}

// Some names that are not ASCII.
std::vector<std::string> choose_samples(const dict& catalogue, const iso_codes& codes) {
  std::minstd_rand random{std::random_device{}()};
  std::vector<std::string> lines;
  const auto ascii = [](const std::string& s) {
    return std::all_of(s.begin(), s.end(), [](char c) { return static_cast<unsigned char>(c) < 0x80; });
  };
  for (const domain in : {languages, countries, subdivisions}) {
    std::vector<const entry*> wanted;
    for (const entry& e : codes.entries)
      if (e.in == in && !e.edited && !ascii(e.name())) wanted.push_back(&e);
    std::shuffle(wanted.begin(), wanted.end(), random);
    wanted.resize(std::min<std::size_t>(wanted.size(), 2));
    for (const entry* e : wanted) {
      const field name = catalogue[domain_names[in]][e->code]["name"];
      const auto flag = catalogue[domain_names[in]][e->code]["flag"].get();
      lines.push_back(
          fmt::format("{:<14}{:<9}{}{}", domain_names[in], e->code, name.text(), flag ? "  " + flag->text() : ""));
    }
  }
  return lines;
}

} // namespace

void verify(const dict& catalogue, const iso_codes& codes, const crew& all, results& r) {
  if (shmd_stat(catalogue.native_handle(), &r.stats) < 0) throw std::runtime_error(shmd_last_error()->message);
  expect(r, all.complaints.empty(), "every answer to every worker was right, and no snapshot showed half an edit", "{}",
         all.complaints.empty() ? std::string() : all.complaints.front());
  check_hits(catalogue, all, r);
  check_edits(catalogue, codes, all, r);
  check_entries(catalogue, codes, r);
  check_rescue(catalogue, all, r);

  std::string finding;
  const auto note = [](void* to, const char* sentence) { *static_cast<std::string*>(to) = sentence; };
  const int result = shmd_check(catalogue.native_handle(), note, &finding);
  expect(r, result == 0, "a walk over every byte of the dict finds nothing wrong", "{} {}", shmd_error_name(result),
         finding);
  r.samples = choose_samples(catalogue, codes);
}

} // namespace demo
