// SPDX-License-Identifier: Apache-2.0
// What goes to the terminal or into a pipe. Results go to stdout, everything else to stderr.
#pragma once

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>

namespace cli {

// The reader of our pipe has gone: the command ends at once and says nothing.
class pipe_closed : public std::runtime_error {
 public:
  pipe_closed() : std::runtime_error("pipe closed") {}
};

// Makes sure that the numbers 0 to 2 are taken, so that no file or dict that is opened later is taken for a standard
// stream. What stands in for a missing one gives an error to who reads or writes it, as the missing one would have. False:
// it cannot be done.
bool open_standard_streams();

// Throw failure if it could not be written, pipe_closed.
void print(std::string_view text);
void flush_output();

bool output_is_terminal();
bool errors_are_terminal();
bool input_is_terminal();
// Columns of the terminal that stdout is; SIZE_MAX if it is none.
std::size_t output_width();
std::size_t output_height();

// Colours: on a terminal, unless NO_COLOR is set (no-color.org) or TERM is dumb.
enum class style { plain, bold, dim, red, green, yellow, blue, cyan };
std::string styled(style s, std::string_view text);
bool colours();

// Columns that text takes on a terminal.
std::size_t display_width(std::string_view text);
// At most `width` columns, "..." at the end if something is missing.
std::string shortened(std::string_view text, std::size_t width);
// Control characters, direction overrides and bytes that are no UTF-8 as \u00xx and \xnn: what is in a dict must not
// steer the operator's terminal.
std::string printable(std::string_view text);

// Text on stderr, behind what was printed so far. If it cannot be written, nothing else happens: where the command would
// complain, there is nobody who listens.
void say(std::string_view text) noexcept;
// A note on stderr: "shmdict: text".
void note(std::string_view text);

} // namespace cli
