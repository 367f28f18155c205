// SPDX-License-Identifier: Apache-2.0
// Paths: JSON Pointers (RFC 6901). "" is the whole dict, "/a/b" the entry b of a, "/" the entry with the empty key;
// ~1 stands for / and ~0 for ~ in a key. A key that is no text is written as JSON has it: /7, /true, /[1,"x"], /0x00ff.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "codec.hpp"

namespace cli {

// Keys of a path. Throws failure (usage).
std::vector<std::string> parse_pointer(std::string_view path);
std::string escape_token(std::string_view key);

// A key as it is written in a path, not escaped; as it is read from one: throws failure (refused),
std::string token_of_key(const type& t, const json& key);
// naming `place`, or the token.
std::string key_of_token(const type& t, const std::string& token, const std::string& place = {});

} // namespace cli
