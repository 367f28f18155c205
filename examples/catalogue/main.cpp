// SPDX-License-Identifier: Apache-2.0
// An i18n catalogue served to many workers: Debian's iso-codes in one nested dict of shared memory.
//
// Started plainly it fills the catalogue and starts itself several times more, as workers that look up, check and count,
// and as an editor. It kills a worker that holds the lock, and checks at the end that nothing was lost, half seen or
// left behind. Exit code: 0 only if all of it checked out; 1 if not; 130 after Ctrl-C.
#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <csignal>
#include <cstdio>
#include <exception>
#include <string>

#include "roles.hpp"
#include "run.hpp"

namespace {

int play(const std::string& role, const demo::settings& s) {
  std::signal(SIGPIPE, SIG_IGN); // a parent that is gone: leave in good order
  try {
    const auto codes = demo::iso_codes::load(s.data);
    role == "editor" ? demo::edit_all(s.name, codes) : demo::work(s.name, codes);
    return 0;
  } catch (const std::exception& error) {
    try {
      demo::tell(demo::kind::failed, 0, 0, error.what());
    } catch (const std::exception&) {
    }
    return 1;
  }
}

int orchestrate(const demo::settings& s) {
  const bool terminal = isatty(STDOUT_FILENO) != 0;
  std::signal(SIGPIPE, SIG_IGN);
  demo::catch_signals();
  try {
    const auto codes = demo::iso_codes::load(s.data);
    demo::crew all;
    demo::progress line(terminal);
    const auto results = demo::run(s, codes, all, line);
    return demo::report(all, results, terminal) ? 0 : 1;
  } catch (const demo::interrupted&) {
    const auto left = demo::leftovers(s.name);
    fmt::print("interrupted; {}\n", left.empty() ? "nothing is left in shared memory" : left.front() + " is left");
    return 130;
  } catch (const std::exception& error) {
    fmt::print(stderr, "catalogue: {}\n", error.what());
    return 1;
  }
}

} // namespace

int main(int argc, char** argv) {
  demo::settings s;
  s.name = fmt::format("catalogue.{}", getpid());
  bool quick = false;
  std::string role;

  CLI::App app{"Serves iso-codes to many workers from shared memory, kills one of them, and checks everything."};
  app.add_option("--seconds", s.seconds, "How long everybody works")
      ->check(CLI::Range(0.5, 86400.0))
      ->capture_default_str();
  app.add_option("--workers", s.workers, "How many workers, the one that is killed included")
      ->check(CLI::Range(3, 64))
      ->capture_default_str();
  app.add_flag("--quick", quick, "Two seconds instead");
  app.add_option("--data", s.data, "Directory of iso-codes' JSON")->capture_default_str();
  app.add_option("--name", s.name, "Name of the dict")->default_str("catalogue.<pid>");
  app.add_option("--role", role)->group("")->check(CLI::IsMember({"worker", "editor"})); // of a started program
  CLI11_PARSE(app, argc, argv);

  if (quick) s.seconds = 2;
  return role.empty() ? orchestrate(s) : play(role, s);
}
