// SPDX-License-Identifier: Apache-2.0
#include "type.hpp"

#include <algorithm>
#include <array>
#include <optional>
#include <utility>

namespace cli {
namespace {

constexpr int deepest = 64;

constexpr std::array<std::pair<std::string_view, kind>, 22> words{{
    {"i8", kind::i8},           {"i16", kind::i16},       {"i32", kind::i32},
    {"i64", kind::i64},         {"u8", kind::u8},         {"u16", kind::u16},
    {"u32", kind::u32},         {"u64", kind::u64},       {"f32", kind::f32},
    {"f64", kind::f64},         {"bool", kind::boolean},  {"char", kind::character},
    {"str", kind::str},         {"bytes", kind::bytes},   {"unit", kind::unit},
    {"json", kind::json},       {"cbor", kind::cbor},     {"json_text", kind::json_text},
    {"msgpack", kind::msgpack}, {"ubjson", kind::ubjson}, {"bson", kind::bson},
    {"", kind::untyped},
}};

struct applied {
  std::string_view word;
  kind what;
  std::size_t least, most; // type arguments
};
constexpr std::size_t any = 255;
constexpr std::array<applied, 11> constructors{{{"vec", kind::vec, 1, 1},
                                                {"set", kind::set, 1, 1},
                                                {"map", kind::map, 2, 2},
                                                {"arr", kind::arr, 1, 1},
                                                {"opt", kind::opt, 1, 1},
                                                {"tuple", kind::tuple, 0, any},
                                                {"var", kind::var, 1, any},
                                                {"dict", kind::dict, 2, 2},
                                                {"dur", kind::dur, 1, 1},
                                                {"system_time", kind::system_time, 1, 1},
                                                {"steady_time", kind::steady_time, 1, 1}}};

class parser {
 public:
  explicit parser(std::string_view text) : text_(text) {}

  std::optional<type> whole() {
    auto t = parse(0);
    if (!t || at_ != text_.size()) return std::nullopt;
    return t;
  }

 private:
  std::string_view word() {
    const std::size_t start = at_;
    while (at_ < text_.size() && text_[at_] != '<' && text_[at_] != '>' && text_[at_] != ',') ++at_;
    return text_.substr(start, at_ - start);
  }
  bool take(char c) {
    if (at_ >= text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }

  std::optional<type> parse(int depth) {
    if (depth > deepest) return std::nullopt;
    const std::size_t start = at_;
    const std::string_view name = word();
    type t;
    if (take('<')) {
      const auto* c =
          std::find_if(constructors.begin(), constructors.end(), [&](const applied& a) { return a.word == name; });
      if (c == constructors.end()) return std::nullopt;
      t.what = c->what;
      if (!arguments(t, depth) || t.args.size() < c->least || t.args.size() > c->most) return std::nullopt;
      if ((t.what == kind::system_time || t.what == kind::steady_time) && t.args[0].what != kind::dur)
        return std::nullopt;
    } else {
      const auto* w = std::find_if(words.begin(), words.end(), [&](const auto& pair) { return pair.first == name; });
      if (name.empty() && depth > 0) return std::nullopt;
      t.what = w != words.end() ? w->second : kind::unknown;
    }
    t.name = std::string(text_.substr(start, at_ - start));
    return t;
  }

  bool arguments(type& t, int depth) {
    if (take('>')) return true; // tuple<>
    for (;;) {
      auto arg = parse(depth + 1);
      if (!arg) return false;
      t.args.push_back(std::move(*arg));
      if (take('>')) return t.what != kind::arr && t.what != kind::dur;
      if (!take(',')) return false;
      if (t.what == kind::arr) return number(t.count) && take('>');
      if (t.what == kind::dur) return number(t.count) && take(',') && number(t.denominator) && take('>');
    }
  }

  bool number(std::uint64_t& out) {
    const std::string_view digits = word();
    if (digits.empty() || digits.size() > 18) return false;
    for (const char c : digits) {
      if (c < '0' || c > '9') return false;
      out = out * 10 + static_cast<std::uint64_t>(c - '0');
    }
    return true;
  }

  std::string_view text_;
  std::size_t at_ = 0;
};

} // namespace

bool type::known() const noexcept {
  return what != kind::unknown && std::all_of(args.begin(), args.end(), [](const type& t) { return t.known(); });
}

type parse_type(std::string_view name) {
  if (auto t = parser(name).whole()) return std::move(*t);
  type t;
  t.name = std::string(name);
  return t;
}

} // namespace cli
