// SPDX-License-Identifier: Apache-2.0
// set, del, load: changes.
#include <optional>

#include <fmt/format.h>

#include "commands.hpp"
#include "json_input.hpp"
#include "output.hpp"
#include "pointer.hpp"
#include "progress.hpp"
#include "shm/detail/carried.hpp"
#include "shm/error.hpp"
#include "store.hpp"

namespace cli {
namespace {

json argument_value(const set_arguments& a) {
  if (a.value == "-") {
    auto text = read_file("-");
    if (!a.text) return parse_json(text, "stdin");
    if (!text.empty() && text.back() == '\n') text.pop_back();
    return text;
  }
  if (a.text) return a.value;
  try {
    return parse_json(a.value, "JSON");
  } catch (const failure& e) {
    throw failure(exit_code::usage,
                  fmt::format("{}; a string needs quotes inside the shell's, '\"text\"', or --string", e.what()));
  }
}

bool exists(const std::string& name) {
  try {
    dict_handle d(name, access::look);
    return true;
  } catch (const failure& e) {
    if (e.code() == exit_code::no_dict) return false;
    throw;
  }
}

// {"at": {"b": value}} for the path /at/b.
json wrapped(const std::vector<std::string>& tokens, json value) {
  for (auto it = tokens.rbegin(); it != tokens.rend(); ++it) value = json{{*it, std::move(value)}};
  return value;
}

struct filling {
  const json* value;
  progress* bar;
  shm::detail::carried error;
};

int fill(shmd_dict* d, void* context) {
  auto& f = *static_cast<filling*>(context);
  static const type keys = parse_type("str"), values = parse_type("json");
  return f.error.catching(SHMD_ERR_ABORTED, [&] {
    storer(d, put_mode::replace, [&] { f.bar->step(); }).put_all({shmd_root(), &keys, &values}, *f.value, "");
    return 0;
  });
}

void create_filled(const load_arguments& a, const json& value, progress& bar) {
  filling f{&value, &bar, {}};
  try {
    dict_handle(a.name, a.timeout, fill, &f);
  } catch (...) {
    f.error.rethrow();
    throw;
  }
}

// Several commits of about `size` values each: for what is too large for one.
void put_in_batches(const dict_handle& d, const load_arguments& a, const json& value, progress& bar) {
  constexpr std::uint64_t size = 1000;
  const found f = look_up(d, a.at);
  if (f.what != found::dict)
    throw failure(exit_code::refused, fmt::format("'{}' is no dict: --batches needs one that is there", a.at));
  std::uint64_t done = 0;
  storer to(d.get(), put_mode::merge, [&] {
    bar.step();
    if (++done % size == 0) {
      shm::detail::check(shmd_commit(d.get()));
      shm::detail::check(shmd_begin(d.get(), SHMD_DEFAULT_TIMEOUT));
    }
  });
  in_transaction(d, [&] { to.put_all(f.at, value, a.at); });
}

} // namespace

exit_code run_set(const set_arguments& a) {
  const json value = argument_value(a);
  dict_handle d(a.name, access::write, a.timeout);
  set_path(d, a.path, value, a.merge ? put_mode::merge : put_mode::replace);
  return exit_code::ok;
}

exit_code run_del(const del_arguments& a) {
  dict_handle d(a.name, access::write, a.timeout);
  auto code = exit_code::ok;
  for (const auto& path : a.paths) {
    if (erase_path(d, path)) continue;
    note(fmt::format("nothing is under '{1}' in '{0}': `shmdict keys {0}` shows what is there", a.name, path));
    code = exit_code::no;
  }
  return code;
}

exit_code run_load(const load_arguments& a) {
  const std::string source = a.file == "-" ? "stdin" : a.file;
  const auto tokens = parse_pointer(a.at);
  json value = parse_json(read_file(a.file), source);
  if (tokens.empty() && !value.is_object())
    throw failure(exit_code::refused,
                  fmt::format("{}: a dict takes a JSON object; to load this into a key add --at /KEY", source));
  check_nesting(a.at, value);
  const bool fresh = !exists(a.name);
  if (fresh) {
    static const type keys = parse_type("str"), values = parse_type("json");
    value = wrapped(tokens, std::move(value));
    progress bar(fmt::format("loading {}", a.name), storer::rehearse(keys, values, value, ""));
    create_filled(a, value, bar);
    return exit_code::ok;
  }
  dict_handle d(a.name, access::write, a.timeout);
  const std::uint64_t total = storer::rehearse(d.keys(), d.values(), wrapped(tokens, value), "");
  progress bar(fmt::format("loading {}", a.name), total);
  try {
    if (a.batches)
      put_in_batches(d, a, value, bar);
    else
      set_path(d, a.at, value, a.merge ? put_mode::merge : put_mode::replace, [&] { bar.step(); });
  } catch (const shm::error& e) {
    if (e.code() != shm::errc::transaction_too_large) throw;
    throw failure(exit_code::no_space,
                  fmt::format("{} has {} values, more than one commit of '{}' can take, so nothing was changed: add "
                              "--batches to merge them in several commits, or load into a new dict",
                              source, total, a.name));
  }
  return exit_code::ok;
}

} // namespace cli
