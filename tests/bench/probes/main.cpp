// SPDX-License-Identifier: Apache-2.0
// What does not fit the harness: how long the machine itself stalls, how long attaching takes, how long a sleeper takes to
// wake. Prints one JSON line.
#include <CLI/CLI.hpp>
#include <cstdio>

#include "probes.hpp"

int main(int argc, char** argv) {
  CLI::App app{"Measures what the benchmark's harness cannot; prints one JSON line."};
  app.require_subcommand(1);
  auto* stall = app.add_subcommand("stall", "spin on a clock until SIGTERM: what stalls it is the machine");
  auto* touch = app.add_subcommand(
      "touch", "time single increments at random places of shared memory: what is slow is the machine");
  auto* depth = app.add_subcommand("depth", "get and put below one to four levels of nested dicts");
  std::size_t megabytes = 550; // as 10 M entries of shmdict take
  touch->add_option("--megabytes", megabytes)->check(CLI::Range(1, 1 << 20));
  double seconds = 2;
  touch->add_option("--seconds", seconds)->check(CLI::Range(0.01, 60.0));
  auto* attach = app.add_subcommand("attach", "time to attach to a small dict and to a large one, in new processes");
  auto* wake = app.add_subcommand("wake", "time from a write to the wake-up of a sleeper in another process");
  auto* once = app.add_subcommand("attach-once", "time one attach to a dict by name");
  std::size_t keys = 10000000;
  attach->add_option("--keys", keys, "of the large dict");
  std::size_t rounds = 1000;
  wake->add_option("--rounds", rounds, "wake-ups");
  std::string name;
  once->add_option("name", name)->required();
  CLI11_PARSE(app, argc, argv);

  try {
    bench::measured figures;
    const char* probe = "";
    if (*once) {
      std::printf("%.0f\n", bench::attach_once(name));
      return 0;
    }
    if (*stall) probe = "stall", figures = bench::stall();
    if (*touch) probe = "touch", figures = bench::touch(megabytes, seconds);
    if (*depth) probe = "depth", figures = bench::depth();
    if (*attach) probe = "attach", figures = bench::attach(argv[0], keys);
    if (*wake) probe = "wake", figures = bench::wake(rounds);
    std::printf(R"({"kind":"probe","probe":"%s")", probe);
    for (const auto& [figure, value] : figures) std::printf(",\"%s\":%.1f", figure.c_str(), value);
    std::printf("}\n");
    return 0;
  } catch (const std::exception& e) {
    std::fprintf(stderr, "bench: %s\n", e.what());
    return 1;
  }
}
