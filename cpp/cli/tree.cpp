// SPDX-License-Identifier: Apache-2.0
#include "tree.hpp"

#include <memory>
#include <utility>

#include <fmt/format.h>

#include "exit_code.hpp"
#include "pointer.hpp"
#include "shm/error.hpp"

namespace cli {
namespace {

const type& text_type() {
  static const type str = parse_type("str");
  return str;
}

// Reads of a snapshot, or of the live dict.
struct source {
  shmd_dict* d;
  shmd_snapshot* s;

  int child(shmd_node node, std::string_view key, shmd_node* out) const {
    return s != nullptr ? shmd_snapshot_node(s, node, key.data(), key.size(), out)
                        : shmd_node_open(d, node, key.data(), key.size(), 0, out);
  }
  // 0, NOT_FOUND or an error.
  int value(shmd_node node, std::string_view key, std::string& out) const {
    out.resize(256);
    for (;;) {
      std::size_t size = 0;
      const int result = s != nullptr
                             ? shmd_snapshot_get(s, node, key.data(), key.size(), out.data(), out.size(), &size)
                             : shmd_get(d, node, key.data(), key.size(), out.data(), out.size(), &size);
      if (result == 0 || result == SHMD_TRUNCATED) out.resize(size);
      if (result != SHMD_TRUNCATED) return result;
    }
  }
};

found walk(const dict_handle& d, const source& from, const std::string& path) {
  const auto tokens = parse_pointer(path);
  found f;
  f.what = found::dict;
  f.at = root_of(d);
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    f.key = key_of_token(*f.at.keys, tokens[i]);
    shmd_node child;
    const int result = from.child(f.at.node, f.key, &child);
    if (result == 0) {
      f.at = below(f.at, child);
      continue;
    }
    f.what = found::nothing;
    if (result == SHMD_NOT_FOUND) return f;
    if (result != SHMD_ERR_NOT_A_DICT) shm::detail::check(result);
    const int got = from.value(f.at.node, f.key, f.bytes);
    if (got == SHMD_NOT_FOUND) return f;
    shm::detail::check(got);
    f.inner.assign(tokens.begin() + static_cast<std::ptrdiff_t>(i) + 1, tokens.end());
    json whole;
    try {
      whole = decode(*f.at.values, f.bytes);
    } catch (const shm::error& e) {
      f.problem = e.what();
      f.what = found::leaf;
      return f;
    }
    if (const json* part = descend(whole, f.inner)) {
      f.value = *part;
      f.what = found::leaf;
    }
    return f;
  }
  return f;
}

} // namespace

level root_of(const dict_handle& d) { return {shmd_root(), &d.keys(), &d.values()}; }

level below(const level& above, shmd_node node) {
  if (above.values->what == kind::dict) return {node, &above.values->args[0], &above.values->args[1]};
  if (above.values->what == kind::json) return {node, &text_type(), above.values};
  return {node, above.keys, above.values}; // made through the C interface: more of the same
}

snapshot::snapshot(const dict_handle& d) { shm::detail::check(shmd_snapshot_open(d.get(), &s_)); }

void snapshot::each(const level& l, const std::function<bool(const shmd_entry&)>& visit) const {
  shmd_iter* raw = nullptr;
  shm::detail::check(shmd_iter_open(s_, l.node, &raw));
  const std::unique_ptr<shmd_iter, void (*)(shmd_iter*)> it(raw, shmd_iter_close);
  shmd_entry e;
  while (shm::detail::check(shmd_iter_next(it.get(), &e)) == 0)
    if (!visit(e)) return;
}

std::optional<std::string> snapshot::value(const level& l, std::string_view key) const {
  std::string out;
  const int result = source{nullptr, s_}.value(l.node, key, out);
  if (result == SHMD_NOT_FOUND) return std::nullopt;
  shm::detail::check(result);
  return out;
}

found look_up(const dict_handle& d, const std::string& path) { return walk(d, {d.get(), nullptr}, path); }
found look_up(const dict_handle& d, const snapshot& s, const std::string& path) {
  return walk(d, {d.get(), s.get()}, path);
}

const json* descend(const json& from, const std::vector<std::string>& tokens) {
  const json* at = &from;
  for (const auto& token : tokens) {
    if (at->is_object()) {
      const auto it = at->find(token);
      if (it == at->end()) return nullptr;
      at = &*it;
    } else if (at->is_array()) {
      const bool index = !token.empty() && token.size() < 10 && (token == "0" || token[0] != '0') &&
                         token.find_first_not_of("0123456789") == std::string::npos;
      if (!index || std::stoul(token) >= at->size()) return nullptr;
      at = &(*at)[std::stoul(token)];
    } else {
      return nullptr;
    }
  }
  return at;
}
json* descend(json& from, const std::vector<std::string>& tokens) {
  return const_cast<json*>(descend(std::as_const(from), tokens)); // NOLINT: what is in `from` is as little const as it
}

} // namespace cli
