// SPDX-License-Identifier: Apache-2.0
#include "screen.hpp"

#include <poll.h>
#include <unistd.h>

#include <algorithm>

#include "output.hpp"

namespace cli {

screen::screen() : keys_(input_is_terminal() && tcgetattr(STDIN_FILENO, &before_) == 0) {
  if (keys_) {
    termios raw = before_;
    raw.c_lflag &= ~static_cast<tcflag_t>(ICANON | ECHO); // signals of keys stay
    raw.c_cc[VMIN] = 0;
    raw.c_cc[VTIME] = 0;
    tcsetattr(STDIN_FILENO, TCSANOW, &raw);
  }
  print("\033[?1049h\033[?25l\033[?7l\033[2J"); // without line wrapping
}

screen::~screen() {
  try {
    print("\033[?7h\033[?25h\033[?1049l");
    flush_output();
  } catch (const std::exception&) { // the terminal has gone
  }
  if (keys_) tcsetattr(STDIN_FILENO, TCSANOW, &before_);
}

void screen::show(const std::vector<std::string>& lines) {
  const std::size_t n = std::min(lines.size(), output_height());
  std::string out = "\033[H";
  for (std::size_t i = 0; i < n; ++i) out += (i > 0 ? "\r\n" : "") + lines[i] + "\033[K";
  print(out + "\033[J");
  flush_output();
}

char screen::key(double seconds) {
  pollfd in{STDIN_FILENO, POLLIN, 0};
  if (poll(&in, keys_ ? 1 : 0, static_cast<int>(std::min(seconds, 1e6) * 1000) + 1) <= 0) return 0;
  char c = 0;
  if (read(STDIN_FILENO, &c, 1) == 1) return c;
  keys_ = false; // hung up
  return 'q';
}

} // namespace cli
