// SPDX-License-Identifier: Apache-2.0
#include "signals.hpp"

#include <csignal>

namespace cli {
namespace {

constexpr int numbers[] = {SIGINT, SIGTERM, SIGHUP};
volatile std::sig_atomic_t asked = 0;

extern "C" void ask(int) { asked = 1; }

void handle(void (*handler)(int)) {
  for (const int number : numbers) {
    struct sigaction action {};
    action.sa_handler = handler;
    sigemptyset(&action.sa_mask);
    sigaction(number, &action, nullptr); // without SA_RESTART: waits end
  }
}

} // namespace

stop_signals::stop_signals() { handle(ask); }
stop_signals::~stop_signals() { handle(SIG_DFL); }
bool stop_signals::arrived() const noexcept { return asked != 0; }

} // namespace cli
