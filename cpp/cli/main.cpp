// SPDX-License-Identifier: Apache-2.0
#include <unistd.h>

#include <clocale>
#include <csignal>
#include <cstdio>
#include <cstdlib>

#include "commands.hpp"
#include "dict_handle.hpp"
#include "output.hpp"

int main(int argc, char** argv) {
  if (!cli::open_standard_streams()) return static_cast<int>(cli::exit_code::failed);
  if (std::setlocale(LC_CTYPE, "C.UTF-8") == nullptr) std::setlocale(LC_CTYPE, ""); // NOLINT: widths of characters
  std::signal(SIGPIPE, SIG_IGN); // a closed pipe ends the command in order: dicts are closed
  const int code = cli::run(argc, argv);
  std::fflush(stderr);
  if (cli::leave_as_found()) std::_Exit(code); // stdout was flushed: the name stays
  return code;
}
