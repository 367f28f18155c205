// SPDX-License-Identifier: Apache-2.0
// The whole terminal for a live view: alternate screen, no cursor, keys without Enter. Everything is put back at the end.
#pragma once

#include <termios.h>

#include <string>
#include <vector>

namespace cli {

class screen {
 public:
  screen();
  ~screen();
  screen(const screen&) = delete;
  screen& operator=(const screen&) = delete;

  // Lines from the top; what does not fit is left out.
  void show(const std::vector<std::string>& lines);
  // Waits up to so many seconds for a key: its character, 0 if none came (or a signal did).
  char key(double seconds);

 private:
  termios before_{}; // ahead of keys_, which is made with it
  bool keys_;
};

} // namespace cli
