// SPDX-License-Identifier: Apache-2.0
// Sessions whose whole text is compared with a file in golden/. SHMDICT_UPDATE_GOLDEN=1 writes the files anew.
#pragma once

#include <cstdlib>
#include <fstream>
#include <regex>
#include <string>

#include "shell.hpp"
#include "support/catch.hpp"

namespace shell {

class session {
 public:
  // `name` is what stands as NAME in the text, whatever it is.
  session(std::string file, std::string name) : file_(std::move(file)), name_(std::move(name)) {}

  // What a person would type and see.
  void run(const words& arguments, const std::string& input = {}) {
    const auto r = shmdict(arguments, input);
    text_ += "$ shmdict";
    for (const auto& a : arguments) text_ += " " + quoted(a);
    if (!input.empty()) text_ += " <<< " + quoted(input);
    text_ += "\n" + r.out + r.err;
    if (!r.out.empty() && r.out.back() != '\n') text_ += "\\\n"; // no end of line
    if (r.code != 0) text_ += "=> " + std::to_string(r.code) + "\n";
  }
  // Figures that differ from run to run.
  void replace(const std::string& pattern, const std::string& with) {
    text_ = std::regex_replace(text_, std::regex(pattern), with);
  }
  void compare() {
    for (std::size_t at = 0; (at = text_.find(name_, at)) != std::string::npos;)
      text_.replace(at, name_.size(), "NAME");
    const auto path = std::string(SHMDICT_GOLDEN) + "/" + file_;
    if (std::getenv("SHMDICT_UPDATE_GOLDEN") != nullptr) {
      std::ofstream(path, std::ios::binary) << text_;
      return;
    }
    CHECK(text_ == read_file(path));
  }

 private:
  static std::string quoted(const std::string& word) {
    if (!word.empty() && word.find_first_of(" \n\t\"'\\{}[]$<>|&;*?~#()") == std::string::npos) return word;
    std::string out = "'";
    for (const char c : word) out += c == '\n' ? "\\n" : std::string(1, c);
    return out + "'";
  }

  std::string file_, name_, text_;
};

} // namespace shell
