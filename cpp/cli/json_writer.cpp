// SPDX-License-Identifier: Apache-2.0
#include "json_writer.hpp"

#include <algorithm>

#include <fmt/format.h>

#include "output.hpp"
#include "shm/detail/floating.hpp"

namespace cli {
namespace {

constexpr std::size_t short_array = 76; // columns: so long an array of scalars stays on its line

std::string paint(const json_style& s, style how, const std::string& text) {
  return s.colour ? styled(how, text) : text;
}

// As short as it can be and come back as the same double: parse_json() relies on it.
std::string number(double v) {
  if (!shm::detail::is_finite(v)) return "null";
  auto text = fmt::format("{}", v);
  if (text.find_first_of(".e") == std::string::npos) text += ".0";
  return text;
}

std::string scalar(const json& j, const json_style& s) {
  if (j.is_string()) return paint(s, style::green, json_string(j.get_ref<const std::string&>()));
  if (j.is_binary())
    return json_string(to_hex({reinterpret_cast<const char*>(j.get_binary().data()), j.get_binary().size()}));
  return paint(s, j.is_number() ? style::cyan : style::yellow,
               j.is_number_float() ? number(j.get<double>()) : j.dump());
}

bool all_scalars(const json& j) {
  return std::none_of(j.begin(), j.end(), [](const json& e) { return e.is_structured() && !e.empty(); });
}

std::string inline_array(const json& j, const json_style& s) {
  std::string out = "[";
  for (const json& e : j) {
    if (out.size() > 1) out += s.indent < 0 ? "," : ", ";
    out += json_text(e, {-1, s.colour});
  }
  return out + "]";
}

} // namespace

std::string json_break(const json_style& s, int depth) {
  return s.indent < 0 ? "" : "\n" + std::string(static_cast<std::size_t>(s.indent * depth), ' ');
}

std::string json_string(std::string_view text) {
  const auto escaped = json(std::string(text)).dump(-1, ' ', false, json::error_handler_t::replace);
  return printable(escaped);
}

std::string json_text(const json& j, const json_style& s, int depth) {
  if (!j.is_structured()) return scalar(j, s);
  const bool object = j.is_object();
  if (j.empty()) return object ? "{}" : "[]";
  if (!object && (s.indent < 0 || all_scalars(j))) {
    if (s.indent < 0 || inline_array(j, {s.indent, false}).size() <= short_array) return inline_array(j, s);
  }
  std::string out(1, object ? '{' : '[');
  bool first = true;
  for (const auto& [key, value] : j.items()) {
    if (!first) out += ',';
    first = false;
    out += json_break(s, depth + 1);
    if (object) out += paint(s, style::blue, json_string(key)) + (s.indent < 0 ? ":" : ": ");
    out += json_text(value, s, depth + 1);
  }
  return out + json_break(s, depth) + (object ? '}' : ']');
}

} // namespace cli
