// SPDX-License-Identifier: Apache-2.0
// Writing JSON into dicts, directed by their types.
#pragma once

#include <functional>
#include <string>

#include "tree.hpp"

namespace cli {

enum class put_mode { replace, merge }; // what happens to a nested dict that an object is put to

class storer {
 public:
  // `entry_done` is called after each value.
  explicit storer(shmd_dict* d, put_mode mode = put_mode::replace, std::function<void()> entry_done = {})
      : d_(d), mode_(mode), entry_done_(std::move(entry_done)) {}

  // Entries of a JSON object into a dict that is there; one value under a key. Without a commit of their own.
  void put_all(const level& l, const json& object, const std::string& where);
  void put(const level& l, const std::string& key, const json& value, const std::string& where);

  // Encodes everything as put_all would and throws its failures, but writes nothing. Returns the number of values.
  static std::uint64_t rehearse(const type& keys, const type& values, const json& object, const std::string& where);

 private:
  shmd_dict* d_;
  put_mode mode_;
  std::function<void()> entry_done_;
};

// Throws failure (refused) if a dict that holds the value so deep could not be loaded from its own dump.
void check_nesting(const std::string& path, const json& value);

// Puts JSON at a path, in one commit that creates missing levels; inside a leaf, if the path leads there. "" is the whole
// dict and takes an object.
void set_path(const dict_handle& d, const std::string& path, const json& value, put_mode mode = put_mode::replace,
              std::function<void()> entry_done = {});
// False if nothing was there.
bool erase_path(const dict_handle& d, const std::string& path);

// Runs work() as one commit; aborts it if it throws.
void in_transaction(const dict_handle& d, const std::function<void()>& work);

} // namespace cli
