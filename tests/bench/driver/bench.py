# SPDX-License-Identifier: Apache-2.0
"""Runs the benchmark: starts the servers, measures what the plan says, writes bench.json, the report and the charts.

Started by tests/bench/run, which builds what is needed first.
"""

import argparse
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import charts
import figures
import plan
import report
import targets
from servers import Servers


class Bench:
    def __init__(self, args, servers):
        self.out = pathlib.Path(args.output)
        self.programs = pathlib.Path(args.programs)
        self.python = args.python
        self.cpu_time = args.cpu_time
        self.servers = servers
        self.figures = figures.Figures()
        self.notes = []
        self.runs = 0
        built = subprocess.run([self.programs / "harness", "--list"], check=True, capture_output=True, text=True)
        self.available = set(built.stdout.split("\n")) - {""}
        for name, process in (("redis", "redis"), ("redis+pipeline", "redis"), ("memcached", "memcached")):
            if not servers.sockets.get(process):
                self.available.discard(name)
        self.available |= set(self.python_peers())
        self.wanted = set(args.peers.split(",")) if args.peers else set(plan.ALL)
        unknown = self.wanted - set(plan.ALL)
        if unknown:
            sys.exit(f"bench: no such peer: {', '.join(sorted(unknown))}. There are: {', '.join(plan.ALL)}")
        for name in sorted(self.wanted - self.available, key=plan.ALL.index):
            self.note(f"{name}: skipped, it is not available here")
        self.chosen = (self.wanted & self.available) | {"shmdict"}

    def note(self, text):
        print(f"note: {text}", file=sys.stderr, flush=True)
        self.notes.append(text)

    def peers_script(self, *arguments):
        script = pathlib.Path(__file__).parent / "python_peers.py"
        return [self.python or sys.executable, str(script), *arguments]

    def python_peers(self):
        listed = subprocess.run(self.peers_script("--list"), capture_output=True, text=True, check=False)
        return listed.stdout.split("\n")[:-1] if listed.returncode == 0 else []

    def harness(self, run, by_the_clock=False):
        command = [str(self.programs / "harness"), *run.arguments()]
        if self.cpu_time and not by_the_clock and run.processes * run.threads == 1 and not set(run.systems) & set(plan.SERVERS + plan.PIPELINED):
            command.append("--cpu-time")
        for name, socket in self.servers.sockets.items():
            command += ["--" + name, socket]
        return command

    def collect(self, command):
        """Adds the JSON lines that a program prints."""
        process = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
        if process.returncode != 0:
            self.note(f"failed with {process.returncode}: {' '.join(command)}")
        for line in process.stdout.splitlines():
            self.figures.add(self.runs, json.loads(line))

    def measure(self, run):
        run = run.with_systems(self.chosen)
        if run.systems == ["shmdict"] and not run.latency:
            return  # nobody to compare with
        self.runs += 1
        print(f"{describe(run)}: {', '.join(run.systems)}", file=sys.stderr, flush=True)
        beside = None
        if run.beside_stalls:
            beside = subprocess.Popen([self.programs / "probe", "stall"], stdout=subprocess.PIPE, text=True)
        try:
            self.collect(self.harness(run))
        finally:
            if beside:
                beside.send_signal(signal.SIGTERM)
                for line in beside.communicate()[0].splitlines():
                    self.figures.add(self.runs, json.loads(line))

    def measure_python(self, run):
        """Rounds of the harness and of the Python peers in turn, as one run."""
        run = run.with_systems(self.chosen)
        others = [s for s in run.systems if s != "shmdict"]
        if not others:
            return
        self.runs += 1
        print(f"{describe(run)}: {', '.join(run.systems)}", file=sys.stderr, flush=True)
        lines = []
        for number in range(run.rounds):
            ours = plan.Run(["shmdict"], run.work, keys=run.keys, rounds=1, seconds=run.seconds)
            for command in (
                self.harness(ours, by_the_clock=True),
                self.peers_script("--systems", ",".join(others), "--work", ",".join(run.work),
                                  "--keys", str(run.keys), "--seconds", str(run.seconds)),
            ):
                process = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
                if process.returncode != 0:
                    self.note(f"failed with {process.returncode}: {' '.join(command)}")
                lines += [dict(json.loads(l), round=number) for l in process.stdout.splitlines()]
        for line in lines:
            self.figures.add(self.runs, line)

    def probe(self, name):
        print(f"probe: {name}", file=sys.stderr, flush=True)
        self.runs += 1
        self.collect([str(self.programs / "probe"), name])


def describe(run):
    what = f"{targets.size(run.keys)} {run.key_type} keys, {run.value_bytes} B, {run.distribution}"
    return f"{what}, {run.processes} process(es), {run.threads} thread(s), {'/'.join(run.work)}"


def main():
    parser = argparse.ArgumentParser(prog="tests/bench/run", description="Measures shmdict beside its peers.")
    parser.add_argument("--quick", action="store_true", help="only what the table of targets needs")
    parser.add_argument("--peers", help="only these, separated by commas: " + ", ".join(plan.ALL))
    parser.add_argument("--cpu-time", action="store_true",
                        help="on a busy machine: processor time instead of the clock, where one worker does all the work")
    parser.add_argument("--output", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--programs", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--python", help=argparse.SUPPRESS)
    args = parser.parse_args()

    began = time.monotonic()
    os.makedirs(args.output, exist_ok=True)
    with Servers(args.peers.split(",") if args.peers else None) as servers:
        bench = Bench(args, servers)
        for text in servers.notes:
            bench.note(text)
        if args.cpu_time:
            bench.note("throughput of one worker is per second of processor time, but for servers and Python")
        todo = plan.quick() if args.quick else plan.full()
        for run in todo.runs:
            bench.measure(run)
        for run in todo.python:
            bench.measure_python(run)
        for name in ("touch", "attach", "wake"):
            bench.probe(name)

    rows = targets.evaluate(bench.figures)
    out = pathlib.Path(args.output)
    (out / "bench.json").write_text(json.dumps(bench.figures.table(), indent=1) + "\n")
    drawn = charts.draw(bench.figures, out)
    (out / "report.md").write_text(report.write(bench.figures, rows, bench.notes, drawn, args.quick))
    print(targets.render(rows))
    print()
    print(report.ranking_text(bench.figures))
    print(f"\n{time.monotonic() - began:.0f} s; {out}/bench.json, report.md, {len(drawn)} charts")


if __name__ == "__main__":
    main()
