// SPDX-License-Identifier: Apache-2.0
#include "pointer.hpp"

#include <fmt/format.h>

#include "exit_code.hpp"
#include "json_writer.hpp"

namespace cli {
namespace {

// Whether a token is JSON: nlohmann's parser takes a NUL for the end of it.
bool is_json(const std::string& token) { return token.find('\0') == std::string::npos && json::accept(token); }

} // namespace

std::vector<std::string> parse_pointer(std::string_view path) {
  std::vector<std::string> tokens;
  if (path.empty()) return tokens;
  if (path[0] != '/')
    throw failure(exit_code::usage, fmt::format("the path '{0}' is no JSON Pointer: write '/{0}'", path));
  for (std::size_t i = 0; i < path.size(); ++i) {
    if (path[i] == '/') {
      tokens.emplace_back();
    } else if (path[i] != '~') {
      tokens.back() += path[i];
    } else {
      const char next = i + 1 < path.size() ? path[i + 1] : ' ';
      if (next != '0' && next != '1')
        throw failure(exit_code::usage,
                      fmt::format("the path '{}' has a ~ that stands for nothing: write ~0 for ~ and ~1 for /", path));
      tokens.back() += next == '0' ? '~' : '/';
      ++i;
    }
  }
  return tokens;
}

std::string escape_token(std::string_view key) {
  std::string out;
  for (const char c : key) {
    if (c == '~')
      out += "~0";
    else if (c == '/')
      out += "~1";
    else
      out += c;
  }
  return out;
}

std::string token_of_key(const type& t, const json& key) {
  if (!t.known()) return key["hex"].get<std::string>();
  // Without quotes, unless that could be read as another key: the string 7 beside the number 7.
  const bool text = t.what == kind::str || t.what == kind::bytes || t.what == kind::untyped;
  if (key.is_string() && (text || !is_json(key.get_ref<const std::string&>()))) return key.get<std::string>();
  return json_text(key);
}

std::string key_of_token(const type& t, const std::string& token, const std::string& place) {
  const std::string where = place.empty() ? fmt::format("the key '{}'", token) : "the key of " + place;
  if (!t.known()) return encode_key(t, {{"type", t.name}, {"hex", token}}, where);
  // What decodes to a string is written without quotes.
  const auto text = [&] { return encode_key(t, token, where); };
  if (t.what == kind::str || t.what == kind::bytes || t.what == kind::untyped) return text();
  if (!is_json(token)) return text();
  try {
    return encode_key(t, json::parse(token), where);
  } catch (const failure&) {
    return text();
  }
}

} // namespace cli
