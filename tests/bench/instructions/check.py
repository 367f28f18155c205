# SPDX-License-Identifier: Apache-2.0
"""Compares the instructions of a get, a put, a new key and an entry of an iteration with stored figures; --update stores what it counted.

--watchers: compares puts that nobody watches with puts that ten watchers, awake, will read: equal to the instruction.

Figures are kept per architecture and compiler. On another one the check is skipped (exit code 77).
"""

import argparse
import json
import pathlib
import re
import subprocess
import sys
import tempfile

STORED = pathlib.Path(__file__).parent / "stored.json"
TOLERANCE = 0.05


def count(program, names):
    """{name: instructions of all operations}, and how many operations"""
    with tempfile.TemporaryDirectory() as folder:
        command = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={folder}/out", "--quiet", *program]
        ran = subprocess.run(command, capture_output=True, text=True, check=False)
        if ran.returncode != 0:
            sys.exit(f"{' '.join(command)} failed with {ran.returncode}:\n{ran.stdout}{ran.stderr}")
        totals = {}
        for file in pathlib.Path(folder).iterdir():
            text = file.read_text()
            label = re.search(r"^desc: Trigger: Client Request: (.*)$", text, re.M)
            total = re.search(r"^totals: (\d+)$", text, re.M) or re.search(r"^summary: (\d+)$", text, re.M)
            if label and total:
                totals[label[1]] = int(total[1])
    operations = int(ran.stdout)
    return {name: totals[f"{name} longer"] - totals[f"{name} shorter"] for name in names}, operations


def watchers(program):
    counted, operations = count([program, "watchers"], ("0 watchers", "10 watchers"))
    for name, total in counted.items():
        print(f"{name:11} {total} instructions for {operations} puts, {total / operations:.3f} each")
    if len(set(counted.values())) == 1:
        return 0
    print("A watcher that is awake must cost a put nothing.")
    return 1


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program", help="the program count, built by this project")
    parser.add_argument("key", help="architecture and compiler, such as x86_64-GNU-12")
    parser.add_argument("--update", action="store_true", help="store what is counted now")
    parser.add_argument("--watchers", action="store_true", help="compare puts with and without watchers")
    args = parser.parse_args()
    if args.watchers:
        return watchers(args.program)

    stored = json.loads(STORED.read_text())
    if args.key not in stored and not args.update:
        print(f"skipped: no stored instruction counts for {args.key}; there are some for {', '.join(stored)}")
        return 77
    totals, operations = count(
        [args.program],
        [f"{keys} {work}" for keys in ("int64", "string24") for work in ("get", "put", "insert", "iterate")])
    counted = {name: round(total / operations, 1) for name, total in totals.items()}
    if args.update:
        stored[args.key] = counted
        STORED.write_text(json.dumps(stored, indent=2, sort_keys=True) + "\n")
    wrong = False
    for name, now in counted.items():
        before = stored[args.key][name]
        off = now / before - 1
        wrong |= abs(off) > TOLERANCE
        print(f"{name:16} {now:8.1f} instructions, stored {before:8.1f}, {off:+.1%}{' TOO FAR' if abs(off) > TOLERANCE else ''}")
    if wrong:
        print("More than 5 % off. Slower: find out why. Meant, or faster: cmake --build build/dev --target "
              "bench_instructions_update, and commit tests/bench/instructions/stored.json.")
    return int(wrong)


if __name__ == "__main__":
    sys.exit(main())
