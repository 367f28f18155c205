// SPDX-License-Identifier: Apache-2.0
#include "tree_writer.hpp"

#include <algorithm>
#include <utility>
#include <vector>

#include "output.hpp"
#include "pointer.hpp"
#include "shm/error.hpp"

namespace cli {

struct tree_writer::item {
  json key;
  std::string problem; // with the key
  std::string bytes;   // of the key
  bool is_dict;
  shmd_node node;
  std::optional<std::string_view> value; // bytes, if they are at hand
};

tree_writer::tree_writer(const snapshot& s, const tree_style& style, std::function<void()> entry_done)
    : s_(s), style_(style), entry_done_(std::move(entry_done)) {}

void tree_writer::write(const level& l, const std::string& path, int depth) {
  bool first = true;
  const auto read = [&](const shmd_entry& e) {
    const auto bytes = bytes_of(e.key, e.key_size);
    item i{nullptr, {}, std::string(bytes), e.is_dict != 0, e.node, {}};
    try {
      i.key = decode(*l.keys, bytes);
    } catch (const shm::error& error) {
      i.problem = error.what();
    }
    return i;
  };
  print("{");
  if (style_.sorted) {
    std::vector<item> items;
    s_.each(l, [&](const shmd_entry& e) {
      items.push_back(read(e));
      return true;
    });
    std::sort(items.begin(), items.end(), [](const item& a, const item& b) { return key_less(a.key, b.key); });
    for (const item& i : items) entry(l, i, path, depth, std::exchange(first, false));
  } else {
    s_.each(l, [&](const shmd_entry& e) {
      item i = read(e);
      i.value = bytes_of(e.value, e.value_size);
      entry(l, i, path, depth, std::exchange(first, false));
      return true;
    });
  }
  if (!first) print(json_break(style_.text, depth));
  print("}");
}

void tree_writer::entry(const level& l, const item& e, const std::string& path, int depth, bool first) {
  const std::string token = e.problem.empty() ? token_of_key(*l.keys, e.key) : to_hex(e.bytes);
  const std::string here = path + "/" + escape_token(token);
  const auto lost = [&] {
    if (losses_++ == 0) first_loss_ = here;
  };
  const auto unreadable = [&](const std::string& problem) {
    if (unreadable_++ == 0) first_unreadable_ = "'" + here + "': " + problem;
  };
  if (!e.problem.empty()) unreadable(e.problem);
  if (!first) print(",");
  print(json_break(style_.text, depth + 1));
  if (!is_expressible(e.key)) lost();
  const std::string key = json_string(token);
  print((style_.text.colour ? styled(style::blue, key) : key) + (style_.text.indent < 0 ? ":" : ": "));
  if (e.is_dict) return write(below(l, e.node), here, depth + 1);

  std::optional<std::string> fetched;
  if (!e.value) fetched = s_.value(l, e.bytes);
  json value;
  try {
    value = decode(*l.values, e.value ? *e.value : std::string_view(*fetched));
    if (!is_expressible(value)) lost();
  } catch (const shm::error& error) {
    unreadable(error.what());
  }
  print(json_text(value, style_.text, depth + 1));
  if (entry_done_) entry_done_();
}

} // namespace cli
