// SPDX-License-Identifier: Apache-2.0
#include "store.hpp"

#include <algorithm>
#include <deque>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include <shmdict/layout.h>

#include "exit_code.hpp"
#include "json_input.hpp"
#include "pointer.hpp"
#include "shm/error.hpp"

namespace cli {
namespace {

std::string shown(const std::string& path) { return path.empty() ? "the whole dict" : fmt::format("'{}'", path); }

std::string checked_key(const type& keys, const std::string& token, const std::string& where) {
  auto key = key_of_token(keys, token, where);
  if (key.size() > SHMD_MAX_KEY)
    throw failure(exit_code::refused,
                  fmt::format("{}: the key has {} bytes; at most {} are possible", where, key.size(), SHMD_MAX_KEY));
  return key;
}

[[noreturn]] void needs_object(const std::string& where) {
  throw failure(exit_code::refused, fmt::format("{}: a dict stands here and takes a JSON object", where));
}

// Whether a value becomes a nested dict.
bool becomes_dict(const type& values, const json& value, const std::string& where) {
  if (values.what == kind::json) return value.is_object();
  if (values.what != kind::dict) return false;
  if (!value.is_object()) needs_object(where);
  return true;
}

std::string below_path(const std::string& where, const std::string& token) { return where + "/" + escape_token(token); }

// The part of a leaf that a path leads to, for change; creates the last member of an object, "-" adds to an array.
json& part_of(json& leaf, const std::vector<std::string>& inner, const std::string& path) {
  const std::vector<std::string> parents(inner.begin(), inner.end() - 1);
  json* owner = descend(leaf, parents);
  const std::string& last = inner.back();
  if (owner != nullptr && owner->is_object()) return (*owner)[last];
  if (owner != nullptr && owner->is_array() && (last == "-" || last == std::to_string(owner->size()))) {
    owner->push_back(nullptr);
    return owner->back();
  }
  if (owner != nullptr)
    if (json* part = descend(*owner, {last})) return *part;
  throw failure(exit_code::refused,
                fmt::format("'{}' leads into a value that has no such part: look at it with `shmdict get`", path));
}

void edit_leaf(const dict_handle& d, const found& f, const json& value, const std::string& path) {
  json leaf = decode(*f.at.values, f.bytes);
  part_of(leaf, f.inner, path) = value;
  const auto bytes = encode_value(*f.at.values, leaf, shown(path));
  shm::detail::check(shmd_put(d.get(), f.at.node, f.key.data(), f.key.size(), bytes.data(), bytes.size(), 0));
}

// Objects and arrays within each other; recursion is bounded by what parse_json() takes.
std::size_t nesting(const json& value) {
  if (!value.is_structured()) return 0;
  std::size_t most = 0;
  for (const json& e : value) most = std::max(most, nesting(e));
  return most + 1;
}

} // namespace

void check_nesting(const std::string& path, const json& value) {
  const auto levels = parse_pointer(path).size() + nesting(value);
  if (levels > json_input_depth)
    throw failure(exit_code::refused,
                  fmt::format("the value would be nested {} levels deep; {} are possible", levels, json_input_depth));
}

void in_transaction(const dict_handle& d, const std::function<void()>& work) {
  if (shm::detail::check(shmd_begin(d.get(), SHMD_DEFAULT_TIMEOUT)) == SHMD_TIMED_OUT)
    shm::detail::throw_last(SHMD_ERR_LOCK_TIMEOUT);
  try {
    work();
  } catch (...) {
    static_cast<void>(shmd_abort(d.get()));
    throw;
  }
  shm::detail::check(shmd_commit(d.get()));
}

namespace {

// Values of one dict that go to the core together.
class together {
 public:
  static constexpr std::size_t most = 1000;

  void add(std::string key, std::string value) {
    const auto& kept = kept_.emplace_back(std::move(key), std::move(value));
    pairs_.push_back({kept.first.data(), kept.first.size(), kept.second.data(), kept.second.size()});
  }
  std::size_t size() const { return pairs_.size(); }
  void store(shmd_dict* d, const level& l) {
    shm::detail::check(shmd_put_many(d, l.node, pairs_.data(), pairs_.size(), 0));
    pairs_.clear();
    kept_.clear();
  }

 private:
  std::deque<std::pair<std::string, std::string>> kept_; // they stay where they are
  std::vector<shmd_pair> pairs_;
};

} // namespace

void storer::put_all(const level& l, const json& object, const std::string& where) {
  if (!object.is_object()) needs_object(shown(where));
  together values;
  const auto store = [&] {
    const std::size_t count = values.size();
    values.store(d_, l);
    for (std::size_t i = 0; i < count && entry_done_; ++i) entry_done_();
  };
  for (const auto& [token, value] : object.items()) {
    const auto here = below_path(where, token);
    auto key = checked_key(*l.keys, token, shown(here));
    if (becomes_dict(*l.values, value, shown(here))) {
      put(l, key, value, here);
      continue;
    }
    values.add(std::move(key), encode_value(*l.values, value, shown(here)));
    if (values.size() == together::most) store();
  }
  store();
}

void storer::put(const level& l, const std::string& key, const json& value, const std::string& where) {
  if (becomes_dict(*l.values, value, shown(where))) {
    shmd_node child{0, 0};
    int result = SHMD_NOT_FOUND;
    if (mode_ == put_mode::merge) result = shmd_node_open(d_, l.node, key.data(), key.size(), 0, &child);
    if (result != 0) shm::detail::check(shmd_node_open(d_, l.node, key.data(), key.size(), SHMD_NODE_REPLACE, &child));
    return put_all(below(l, child), value, where);
  }
  const auto bytes = encode_value(*l.values, value, shown(where));
  shm::detail::check(shmd_put(d_, l.node, key.data(), key.size(), bytes.data(), bytes.size(), 0));
  if (entry_done_) entry_done_();
}

std::uint64_t storer::rehearse(const type& keys, const type& values, const json& object, const std::string& where) {
  if (!object.is_object()) needs_object(shown(where));
  std::uint64_t count = 0;
  for (const auto& [token, value] : object.items()) {
    const auto here = below_path(where, token);
    static_cast<void>(checked_key(keys, token, shown(here)));
    if (becomes_dict(values, value, shown(here))) {
      const level child = below({{0, 0}, &keys, &values}, {0, 0});
      count += rehearse(*child.keys, *child.values, value, here);
    } else {
      static_cast<void>(encode_value(values, value, shown(here)));
      ++count;
    }
  }
  return count;
}

void set_path(const dict_handle& d, const std::string& path, const json& value, put_mode mode,
              std::function<void()> entry_done) {
  const auto tokens = parse_pointer(path);
  check_nesting(path, value);
  storer to(d.get(), mode, std::move(entry_done));
  in_transaction(d, [&] {
    level l = root_of(d);
    if (tokens.empty()) {
      if (!value.is_object()) needs_object(shown(path));
      if (mode == put_mode::replace) shm::detail::check(shmd_clear(d.get(), l.node, nullptr));
      return to.put_all(l, value, path);
    }
    std::string where;
    for (std::size_t i = 0; i < tokens.size(); ++i) {
      where = below_path(where, tokens[i]);
      const auto key = checked_key(*l.keys, tokens[i], shown(where));
      if (i + 1 == tokens.size()) return to.put(l, key, value, where);
      shmd_node child{0, 0};
      int result = shmd_node_open(d.get(), l.node, key.data(), key.size(), 0, &child);
      if (result == SHMD_ERR_NOT_A_DICT) return edit_leaf(d, look_up(d, path), value, path);
      if (result == SHMD_NOT_FOUND) {
        if (!l.values->holds_dicts())
          throw failure(exit_code::refused, fmt::format("{}: there is nothing under {}, and values of type {} are no "
                                                        "dicts: set that first",
                                                        shown(path), shown(where), l.values->name));
        result = shmd_node_open(d.get(), l.node, key.data(), key.size(), SHMD_NODE_CREATE, &child);
      }
      shm::detail::check(result);
      l = below(l, child);
    }
  });
}

bool erase_path(const dict_handle& d, const std::string& path) {
  if (path.empty())
    throw failure(exit_code::usage, fmt::format("a dict as a whole is emptied by `shmdict set {0} '' '{{}}'` and "
                                                "removed by `shmdict unlink {0}`",
                                                d.name()));
  bool there = false;
  in_transaction(d, [&] {
    const auto tokens = parse_pointer(path);
    const found parent = look_up(d, path.substr(0, path.rfind('/')));
    if (parent.what == found::dict) {
      const auto key = key_of_token(*parent.at.keys, tokens.back());
      there = shm::detail::check(shmd_erase(d.get(), parent.at.node, key.data(), key.size())) == 0;
    } else if (parent.what == found::leaf) {
      json leaf = decode(*parent.at.values, parent.bytes);
      json* owner = descend(leaf, parent.inner);
      const json* part = owner != nullptr ? descend(*owner, {tokens.back()}) : nullptr;
      if (part == nullptr) return;
      if (owner->is_object())
        owner->erase(tokens.back());
      else
        owner->erase(static_cast<std::size_t>(part - &(*owner)[0]));
      const auto bytes = encode_value(*parent.at.values, leaf, shown(path));
      shm::detail::check(
          shmd_put(d.get(), parent.at.node, parent.key.data(), parent.key.size(), bytes.data(), bytes.size(), 0));
      there = true;
    }
  });
  return there;
}

} // namespace cli
