// SPDX-License-Identifier: Apache-2.0
#include "json_input.hpp"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <iterator>
#include <memory>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "exit_code.hpp"
#include "number.hpp"

namespace cli {
namespace {

// Iterates over the text and tells how far the parser has come: nlohmann's handlers get no positions.
class counting_iterator {
 public:
  using iterator_category = std::input_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = const char&;

  counting_iterator(const char* at, const char** reached) : at_(at), reached_(reached) {}
  reference operator*() const { return *at_; }
  counting_iterator& operator++() {
    ++at_;
    if (reached_ != nullptr) *reached_ = at_;
    return *this;
  }
  counting_iterator operator++(int) {
    const auto before = *this;
    ++*this;
    return before;
  }
  bool operator==(const counting_iterator& o) const { return at_ == o.at_; }
  bool operator!=(const counting_iterator& o) const { return at_ != o.at_; }

 private:
  const char* at_;
  const char** reached_;
};

// Builds the value, and stops at what must not be taken.
class builder : public nlohmann::json_sax<json> {
 public:
  builder(std::string_view text, const std::string& name, const char* const* reached)
      : text_(text), name_(name), reached_(reached) {}

  // nlohmann's parser takes a NUL for the end of the text.
  json take() {
    if (const auto nul = text_.find('\0'); nul != std::string_view::npos)
      fail(nul, "a NUL byte stands here, which is in no JSON; what follows it would be lost");
    return std::move(root_);
  }

  bool null() override { return add(nullptr); }
  bool boolean(bool v) override { return add(v); }
  bool number_unsigned(number_unsigned_t v) override { return add(v); }
  bool number_integer(number_integer_t v) override {
    return v == 0 ? add(-0.0) : add(v); // the text is "-0"
  }
  bool number_float(number_float_t v, const string_t& s) override {
    if (!is_exact_double(s))
      fail(before(s.size()), fmt::format("the number {} would come back as {}; write it as a string to keep it",
                                         s.size() > 60 ? s.substr(0, 57) + "..." : s, fmt::format("{}", v)));
    return add(v);
  }
  bool string(string_t& v) override { return add(std::move(v)); }
  bool binary(binary_t&) override { return false; } // not in text
  bool start_object(std::size_t) override { return open(json::object()); }
  bool end_object() override { return close(); }
  bool start_array(std::size_t) override { return open(json::array()); }
  bool end_array() override { return close(); }
  bool key(string_t& v) override {
    auto& object = *open_.back();
    if (object.contains(v))
      fail(string_start(), fmt::format("the key {} is there a second time in its object", json(v).dump()));
    place_ = &object[v];
    return true;
  }
  bool parse_error(std::size_t position, const std::string&, const nlohmann::detail::exception& e) override {
    // "[json.exception.parse_error.101] parse error at line 1, column 2: what": only what.
    std::string what = e.what();
    const auto colon = what.find(": ");
    if (what.compare(0, 6, "[json.") == 0 && colon != std::string::npos) what.erase(0, colon + 2);
    if (what.find("number overflow") != std::string::npos) what = "the number is too large to come back as it is";
    const auto shown = what.find("; last read: ");
    if (shown != std::string::npos && what.size() - shown > 80) { // keep what was expected, not the whole token
      const auto expected = what.find("; expected ", shown);
      what = what.substr(0, shown) + (expected != std::string::npos ? what.substr(expected) : "");
    }
    fail(position == 0 ? 0 : position - 1, what);
  }

 private:
  bool add(json value) {
    if (open_.empty())
      root_ = std::move(value);
    else if (open_.back()->is_array())
      open_.back()->push_back(std::move(value));
    else
      *place_ = std::move(value);
    return true;
  }
  bool open(json empty) {
    if (open_.size() == json_input_depth)
      fail(offset() - 1, fmt::format("nested deeper than {} levels", json_input_depth));
    json* here = &root_;
    if (open_.empty()) {
      root_ = std::move(empty);
    } else if (open_.back()->is_array()) {
      open_.back()->push_back(std::move(empty));
      here = &open_.back()->back();
    } else {
      *place_ = std::move(empty);
      here = place_;
    }
    open_.push_back(here);
    return true;
  }
  bool close() {
    open_.pop_back();
    return true;
  }

  std::size_t offset() const { return static_cast<std::size_t>(*reached_ - text_.data()); }
  // Of the token that ends about here: the parser may have looked at the character behind it.
  std::size_t before(std::size_t size) const {
    std::size_t end = offset();
    const auto in_number = [&](char c) { return (c >= '0' && c <= '9') || std::strchr("+-.eE", c) != nullptr; };
    while (end > 0 && !in_number(text_[end - 1])) --end;
    return end >= size ? end - size : 0;
  }
  std::size_t string_start() const {
    std::size_t at = offset() - 1; // the closing quote
    while (at > 0) {
      --at;
      std::size_t slashes = 0;
      while (slashes < at && text_[at - 1 - slashes] == '\\') ++slashes;
      if (text_[at] == '"' && slashes % 2 == 0) break;
    }
    return at;
  }
  [[noreturn]] void fail(std::size_t at, const std::string& what) const {
    const auto before = text_.substr(0, std::min(at, text_.size()));
    const auto lines = std::count(before.begin(), before.end(), '\n');
    const auto start = before.rfind('\n');
    const auto column = before.size() - (start == std::string_view::npos ? 0 : start + 1) + 1;
    throw failure(exit_code::refused, fmt::format("{}:{}:{}: {}", name_, lines + 1, column, what));
  }

  std::string_view text_;
  const std::string& name_;
  const char* const* reached_;
  json root_;
  std::vector<json*> open_;
  json* place_ = nullptr;
};

} // namespace

json parse_json(std::string_view text, const std::string& name) {
  const char* reached = text.data();
  const char* const end = text.data() + text.size();
  builder b(text, name, &reached);
  json::sax_parse(counting_iterator(text.data(), &reached), counting_iterator(end, nullptr), &b);
  return b.take();
}

std::string read_file(const std::string& path) {
  const bool standard = path == "-";
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(
      standard ? stdin : std::fopen(path.c_str(), "rb"), [](std::FILE* f) { return f == stdin ? 0 : std::fclose(f); });
  const auto failed = [&] {
    const int error = errno;
    throw failure(error == EACCES   ? exit_code::permission
                  : error == ENOENT ? exit_code::no
                                    : exit_code::failed,
                  fmt::format("cannot read '{}': {}", path, std::strerror(error))); // NOLINT(concurrency-mt-unsafe)
  };
  if (!file) failed();
  std::string out;
  std::vector<char> block(std::size_t{1} << 16);
  while (const std::size_t n = std::fread(block.data(), 1, block.size(), file.get())) out.append(block.data(), n);
  if (std::ferror(file.get()) != 0) failed();
  return out;
}

} // namespace cli
