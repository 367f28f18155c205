# SPDX-License-Identifier: Apache-2.0
"""Compares the instructions of a get, a put, a new key, an entry of an iteration, and a key of batches of a thousand (update,
transact, and load: an update of new keys) with stored figures; --update stores what it counted.

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
NEW_KEYS = ("insert", "load")  # both runs together: the dict grows in them, so that neither is a part of the other
WORK = ("get", "put", "insert", "iterate", "update", "transact", "load")


def count(program, names):
    """{name: instructions of an operation}"""
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
    shorter, longer = map(int, ran.stdout.split())
    each = {}
    for name in names:
        first, second = totals[f"{name} shorter"], totals[f"{name} longer"]
        if name.split()[-1] in NEW_KEYS:
            each[name] = (first + second) / (shorter + longer)
        else:
            each[name] = (second - first) / (longer - shorter)
    return each


def watchers(program):
    counted = count([program, "watchers"], ("0 watchers", "10 watchers"))
    for name, each in counted.items():
        print(f"{name:11} {each:.3f} instructions for each put")
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
    names = [f"{keys} {work}" for keys in ("int64", "string24") for work in WORK]
    counted = {name: round(each, 1) for name, each in count([args.program], names).items()}
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
