// SPDX-License-Identifier: Apache-2.0
// get, dump, keys: what is in a dict.
#include <algorithm>
#include <optional>

#include <fmt/format.h>

#include "commands.hpp"
#include "output.hpp"
#include "pointer.hpp"
#include "progress.hpp"
#include "shm/error.hpp"
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
// The same for what is no value of its type.
exit_code of_readable(std::uint64_t unreadable, const std::string& first, exit_code otherwise) {
  if (unreadable == 0) return otherwise;
  flush_output();
  note(
      fmt::format("{} {} cannot be read and {} written as null, the first is {}; `shmdict get --bytes` shows what is "
                  "stored, `shmdict set` replaces it, `shmdict del` removes it",
                  unreadable, unreadable == 1 ? "value" : "values", unreadable == 1 ? "was" : "were", first));
  return exit_code::corrupt;
}
[[noreturn]] void cannot_read(const dict_handle& d, const std::string& path, const found& f) {
  throw failure(exit_code::corrupt,
                fmt::format("dict '{0}': {2} (at '{1}'); `shmdict get --bytes {0} '{1}'` shows them, "
                            "`shmdict set` replaces them, `shmdict del` removes them",
                            d.name(), path, f.problem));
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
  if (!f.problem.empty()) cannot_read(d, path, f);
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
  const auto code = of_output(
      w.losses() == 0,
      fmt::format("{} values JSON cannot express exactly were written as null or with U+FFFD, the first is '{}'",
                  w.losses(), w.first_loss()));
  return of_readable(w.unreadable(), w.first_unreadable(), code);
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
  exit_code finish() {
    if (a_.json)
      print(first_ ? "[]\n" : "\n]\n");
    else if (a_.table && !table_.empty())
      table_.print();
    return of_readable(unreadable_, first_unreadable_, exit_code::ok);
  }

 private:
  struct item {
    json key;
    std::string problem; // with the key: then it is the bytes' hex digits
    std::string bytes;
    bool is_dict;
    shmd_node node;
    std::size_t size;
  };
  static item read(const level& l, const shmd_entry& e) {
    const auto key = bytes_of(e.key, e.key_size);
    item i{to_hex(key), {}, std::string(key), e.is_dict != 0, e.node, e.value_size};
    try {
      i.key = decode(*l.keys, key);
    } catch (const shm::error& error) {
      i.problem = error.what();
    }
    return i;
  }

  // False when there are enough.
  bool entry(const level& l, const std::string& path, const item& i) {
    if (left_ == 0) return false;
    --left_;
    const std::string here =
        path + "/" + escape_token(i.problem.empty() ? token_of_key(*l.keys, i.key) : i.key.get<std::string>());
    if (!i.problem.empty()) unreadable(here, i.problem);
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
    std::string problem = i.problem;
    if (!i.is_dict) j["value"] = value_of(l, i, here, problem);
    if (!problem.empty()) j["error"] = problem;
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
    std::string problem;
    const json value = value_of(l, i, here, problem);
    table_.add({{here},
                {l.values->what == kind::json || l.values->is_document() ? kind_of(value) : type_name(*l.values)},
                {std::to_string(i.size)},
                {problem.empty() ? json_text(value) : "(" + problem + ")"}});
  }
  json value_of(const level& l, const item& i, const std::string& here, std::string& problem) {
    try {
      return decode(*l.values, s_.value(l, i.bytes).value_or(""));
    } catch (const shm::error& error) {
      if (error.code() != shm::errc::corrupt) throw;
      unreadable(here, problem = error.what());
      return nullptr;
    }
  }
  void unreadable(const std::string& here, const std::string& problem) {
    if (unreadable_++ == 0) first_unreadable_ = "'" + here + "': " + problem;
  }

  const snapshot& s_;
  const keys_arguments& a_;
  table table_;
  bool first_ = true;
  std::uint64_t left_ = a_.limit, unreadable_ = 0;
  std::string first_unreadable_;
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
  if (!f.problem.empty()) cannot_read(d, a.path, f);
  if (f.what == found::leaf) return print_value(f.value, a);
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
  return list.finish();
}

} // namespace cli
