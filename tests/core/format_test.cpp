// SPDX-License-Identifier: Apache-2.0
// The worked example of format.md, compared with an object that was made the way it says.
#include <fcntl.h>

#include <fstream>
#include <sstream>

#include "support/catch.hpp"
#include "support/dict.hpp"

using support::Dict;

namespace {

struct Line {
  std::uint64_t offset;
  std::vector<std::string> bytes; // two hexadecimal digits, or "xx": any
};

// "0x1440000  11 00 ... 00   meaning"
std::vector<Line> example() {
  std::ifstream file(SHMDICT_FORMAT);
  std::vector<Line> lines;
  std::string text;
  while (std::getline(file, text)) {
    if (text.compare(0, 2, "0x") != 0) continue;
    std::istringstream words(text);
    std::string word;
    words >> word;
    Line line{std::stoull(word, nullptr, 16), {}};
    while (words >> word && word.size() == 2) line.bytes.push_back(word);
    lines.push_back(line);
  }
  return lines;
}

} // namespace

TEST_CASE("the example of format.md is what a dict so made holds") {
  Dict d(support::unique_name("format"), support::small_options(std::uint64_t{256} << 20));
  const std::int64_t key = 7;
  for (const std::int64_t value : {9, 11})
    support::must(shmd_put(d, shmd_root(), &key, sizeof key, &value, sizeof value, 0), "put");
  const auto lines = example();
  REQUIRE(lines.size() == 8);
  const int fd = open(("/dev/shm/shmdict." + d.name()).c_str(), O_RDONLY | O_CLOEXEC);
  REQUIRE(fd >= 0);
  std::uint64_t next = lines.front().offset;
  for (const auto& line : lines) {
    CAPTURE(line.offset);
    CHECK(line.offset == next);
    next += line.bytes.size();
    std::vector<unsigned char> there(line.bytes.size());
    REQUIRE(pread(fd, there.data(), there.size(), static_cast<off_t>(line.offset)) ==
            static_cast<ssize_t>(there.size()));
    for (std::size_t i = 0; i < there.size(); ++i)
      if (line.bytes[i] != "xx") CHECK(there[i] == std::stoul(line.bytes[i], nullptr, 16));
  }
  close(fd);
  CHECK(next == lines.front().offset + 80);
  CHECK(d.stat().position == 4176);
  CHECK(d.count() == 1);
}
