// SPDX-License-Identifier: Apache-2.0
// get, dump, keys: what is in a dict.
#include <algorithm>
#include <optional>

#include <fmt/format.h>

#include "commands.hpp"
#include "output.hpp"
#include "pointer.hpp"
#include "progress.hpp"
#include "table.hpp"
#include "tree_writer.hpp"
#include "units.hpp"

namespace cli {
namespace {

[[noreturn]] void nothing_there(const std::string& name, const std::string& path) {
  throw failure(exit_code::no,
                fmt::format("nothing is under '{1}' in '{0}': `shmdict keys {0}` shows what is there", name, path));
}

// Ends a command whose output is not all of what is there.
exit_code of_output(bool exact, const std::string& lost) {
  if (exact) return exit_code::ok;
  flush_output();
  note(lost);
  return exit_code::refused;
}
constexpr const char* parts_lost = "the value has parts that JSON cannot express: they were written as null or U+FFFD";

exit_code print_value(const json& value, const get_arguments& a) {
  if (a.raw && value.is_string()) {
    print(value.get_ref<const std::string&>() + "\n");
    return exit_code::ok;
  }
  print(json_text(value, {a.json ? -1 : 2, !a.json && colours()}) + "\n");
  return of_output(is_expressible(value), parts_lost);
}

exit_code print_tree(const dict_handle& d, const std::string& path, const tree_style& style) {
  const snapshot s(d);
  const found f = look_up(d, s, path);
  if (f.what == found::nothing) nothing_there(d.name(), path);
  if (f.what == found::leaf) {
    print(json_text(f.value, style.text) + "\n");
    return of_output(is_expressible(f.value), parts_lost);
  }
  std::optional<progress> bar;
  if (!output_is_terminal()) bar.emplace(fmt::format("dumping {}", d.name()), 0);
  tree_writer w(s, style, bar ? [&bar] { bar->step(); } : std::function<void()>());
  w.write(f.at, path);
  print("\n");
  flush_output();
  if (bar) bar->clear();
  return of_output(
      w.losses() == 0,
      fmt::format("{} values JSON cannot express exactly were written as null or with U+FFFD, the first is '{}'",
                  w.losses(), w.first_loss()));
}

// Sums up a value for a line of a table.
const char* kind_of(const json& j) {
  return j.is_null()      ? "null"
         : j.is_boolean() ? "bool"
         : j.is_number()  ? "number"
         : j.is_string()  ? "string"
         : j.is_array()   ? "array"
                          : "object";
}

std::string type_name(const type& t) { return t.what == kind::untyped ? "(bytes)" : t.name; }

class key_lister {
 public:
  key_lister(const snapshot& s, const keys_arguments& a)
      : s_(s), a_(a), table_({{"PATH", false, true}, {"TYPE"}, {"BYTES", true}, {"VALUE", false, true}}) {}

  void list(const level& l, const std::string& path) {
    if (a_.unsorted) {
      s_.each(l, [&](const shmd_entry& e) { return entry(l, path, read(l, e)); });
      return;
    }
    std::vector<item> items;
    s_.each(l, [&](const shmd_entry& e) {
      items.push_back(read(l, e));
      return true;
    });
    std::sort(items.begin(), items.end(), [](const item& x, const item& y) { return key_less(x.key, y.key); });
    for (const item& i : items)
      if (!entry(l, path, i)) return;
  }
  void finish() {
    if (a_.json)
      print(first_ ? "[]\n" : "\n]\n");
    else if (a_.table && !table_.empty())
      table_.print();
  }

 private:
  struct item {
    json key;
    std::string bytes;
    bool is_dict;
    shmd_node node;
    std::size_t size;
  };
  static item read(const level& l, const shmd_entry& e) {
    const auto key = bytes_of(e.key, e.key_size);
    return {decode(*l.keys, key), std::string(key), e.is_dict != 0, e.node, e.value_size};
  }

  // False when there are enough.
  bool entry(const level& l, const std::string& path, const item& i) {
    if (left_ == 0) return false;
    --left_;
    const std::string here = path + "/" + escape_token(token_of_key(*l.keys, i.key));
    if (a_.json)
      as_json(l, here, i);
    else if (a_.table)
      as_row(l, here, i);
    else if (a_.zero)
      print(here + '\0');
    else
      print(printable(here) + "\n");
    if (a_.recursive && i.is_dict) list(below(l, i.node), here);
    return left_ > 0;
  }
  void as_json(const level& l, const std::string& here, const item& i) {
    json j{{"path", here}, {"key", i.key}, {"dict", i.is_dict}};
    if (!i.is_dict) j["bytes"] = i.size;
    if (!i.is_dict) j["value"] = decode(*l.values, s_.value(l, i.bytes).value_or(""));
    print((first_ ? "[\n" : ",\n") + json_text(j));
    first_ = false;
  }
  void as_row(const level& l, const std::string& here, const item& i) {
    if (i.is_dict) {
      std::uint64_t n = 0;
      s_.each(below(l, i.node), [&](const shmd_entry&) { return ++n < 1000; });
      table_.add(
          {{here, style::blue}, {"dict", style::plain}, {""}, {n < 1000 ? counted(n, "key") : "1,000 keys or more"}});
      return;
    }
    const json value = decode(*l.values, s_.value(l, i.bytes).value_or(""));
    table_.add({{here},
                {l.values->what == kind::json || l.values->is_document() ? kind_of(value) : type_name(*l.values)},
                {std::to_string(i.size)},
                {json_text(value)}});
  }

  const snapshot& s_;
  const keys_arguments& a_;
  table table_;
  bool first_ = true;
  std::uint64_t left_ = a_.limit;
};

} // namespace

exit_code run_get(const get_arguments& a) {
  dict_handle d(a.name, access::look);
  const found f = look_up(d, a.path);
  if (f.what == found::nothing) nothing_there(a.name, a.path);
  if (f.what == found::leaf && a.bytes) {
    print(f.bytes);
    return exit_code::ok;
  }
  if (f.what == found::leaf) {
    return print_value(f.value, a);
  }
  if (a.bytes) throw failure(exit_code::refused, fmt::format("'{}' is a dict: --bytes is for values", a.path));
  dict_handle held(a.name, access::hold);
  return print_tree(held, a.path, {{a.json ? -1 : 2, !a.json && colours()}, !a.unsorted});
}

exit_code run_dump(const dump_arguments& a) {
  dict_handle d(a.name, access::hold);
  return print_tree(d, a.path, {{a.compact ? -1 : 2, colours() && !a.json}, !a.unsorted});
}

exit_code run_keys(const keys_arguments& a) {
  dict_handle d(a.name, access::hold);
  const snapshot s(d);
  const found f = look_up(d, s, a.path);
  if (f.what == found::nothing) nothing_there(a.name, a.path);
  if (f.what == found::leaf)
    throw failure(exit_code::refused,
                  fmt::format("'{1}' is a value, not a dict: `shmdict get {0} '{1}'` shows it", a.name, a.path));
  key_lister list(s, a);
  list.list(f.at, a.path);
  list.finish();
  return exit_code::ok;
}

} // namespace cli
