// SPDX-License-Identifier: Apache-2.0
#include "output.hpp"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <cwchar>

#include <fmt/format.h>

#include "codec.hpp"
#include "exit_code.hpp"

namespace cli {
namespace {

int lost; // errno of a flush of stdout whose failure was not a matter of who asked for it

[[noreturn]] void cannot_write(int error) {
  if (error == EPIPE) throw pipe_closed();
  throw failure(exit_code::failed,
                fmt::format("cannot write the output: {}", std::strerror(error))); // NOLINT(concurrency-mt-unsafe)
}

winsize window() {
  winsize size{};
  if (!output_is_terminal() || ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0) size = {};
  return size;
}

// Length of the UTF-8 character at the front, 0 if it is none.
std::size_t character(std::string_view text) {
  for (std::size_t n = 1; n <= 4 && n <= text.size(); ++n)
    if (is_utf8(text.substr(0, n))) return n;
  return 0;
}

std::uint32_t code_point(std::string_view c) {
  const auto first = static_cast<unsigned char>(c[0]);
  std::uint32_t value = c.size() == 1 ? first : first & (0x7fu >> c.size());
  for (std::size_t i = 1; i < c.size(); ++i) value = value << 6 | (static_cast<unsigned char>(c[i]) & 0x3fu);
  return value;
}

bool steers(std::uint32_t c) {
  return c < 0x20 || (c >= 0x7f && c < 0xa0) || c == 0x2028 || c == 0x2029 || (c >= 0x202a && c <= 0x202e) ||
         (c >= 0x2066 && c <= 0x2069);
}

} // namespace

bool open_standard_streams() {
  for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; ++fd) {
    if (fcntl(fd, F_GETFD) >= 0) continue;
    int got = open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY); // NOLINT: goes to who is executed, too
    if (got < 0) got = open("/", O_PATH);                                  // NOLINT: no /dev here
    if (got != fd) return false; // the lowest number that is free, and all below it are taken
  }
  return true;
}

void print(std::string_view text) {
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size()) cannot_write(errno);
}

void flush_output() {
  if (std::fflush(stdout) != 0) cannot_write(errno);
  if (lost != 0) cannot_write(lost);
}

bool output_is_terminal() {
  static const bool yes = isatty(STDOUT_FILENO) == 1;
  return yes;
}
bool errors_are_terminal() {
  static const bool yes = isatty(STDERR_FILENO) == 1;
  return yes;
}
bool input_is_terminal() { return isatty(STDIN_FILENO) == 1; }

std::size_t output_width() {
  if (!output_is_terminal()) return SIZE_MAX;
  const auto size = window();
  return size.ws_col != 0 ? size.ws_col : 80;
}
std::size_t output_height() {
  const auto size = window();
  return size.ws_row != 0 ? size.ws_row : 24;
}

bool colours() {
  static const bool yes = [] {
    const char* no = std::getenv("NO_COLOR"); // NOLINT(concurrency-mt-unsafe): nothing sets the environment here
    const char* term = std::getenv("TERM");   // NOLINT(concurrency-mt-unsafe)
    return output_is_terminal() && (no == nullptr || *no == '\0') && term != nullptr && std::strcmp(term, "dumb") != 0;
  }();
  return yes;
}

std::string styled(style s, std::string_view text) {
  if (s == style::plain || text.empty() || !colours()) return std::string(text);
  constexpr std::string_view codes[] = {"", "1", "2", "31", "32", "33", "34", "36"};
  return fmt::format("\033[{}m{}\033[0m", codes[static_cast<int>(s)], text);
}

std::size_t display_width(std::string_view text) {
  std::size_t width = 0;
  while (!text.empty()) {
    const std::size_t n = character(text);
    const int columns = n == 0 ? 1 : wcwidth(static_cast<wchar_t>(code_point(text.substr(0, n))));
    width += columns < 0 ? 1 : static_cast<std::size_t>(columns);
    text.remove_prefix(n == 0 ? 1 : n);
  }
  return width;
}

std::string shortened(std::string_view text, std::size_t width) {
  if (display_width(text) <= width) return std::string(text);
  constexpr std::string_view dots = "...";
  const std::size_t room = width > dots.size() ? width - dots.size() : 0;
  std::size_t end = 0;
  while (end < text.size()) {
    const std::size_t n = std::max<std::size_t>(character(text.substr(end)), 1);
    if (display_width(text.substr(0, end + n)) > room) break;
    end += n;
  }
  return std::string(text.substr(0, end)) + std::string(dots.substr(0, std::min(width, dots.size())));
}

std::string printable(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    const std::size_t n = character(text);
    if (n == 0) {
      out += fmt::format("\\x{:02x}", static_cast<unsigned char>(text[0]));
    } else if (const auto c = code_point(text.substr(0, n)); steers(c)) {
      out += c == '\n' ? "\\n" : c == '\t' ? "\\t" : c == '\r' ? "\\r" : fmt::format("\\u{:04x}", c);
    } else {
      out += text.substr(0, n);
    }
    text.remove_prefix(n == 0 ? 1 : n);
  }
  return out;
}

void say(std::string_view text) noexcept {
  if (std::fflush(stdout) != 0) lost = errno;
  std::fwrite(text.data(), 1, text.size(), stderr);
  std::fflush(stderr);
}

void note(std::string_view text) { say(fmt::format("shmdict: {}\n", printable(text))); }

} // namespace cli
