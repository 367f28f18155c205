# SPDX-License-Identifier: Apache-2.0
"""Dictionaries of Python's world, measured as the harness measures: prints the same JSON lines, one round."""

import argparse
import json
import random
import sys
import time
from multiprocessing import Manager


def ultradict(**options):
    from UltraDict import UltraDict

    # Room for the updates between two full dumps, and for the dump itself.
    return UltraDict(buffer_size=1000000, full_dump_size=10000000, **options)


class Peer:
    def __init__(self, data, lock=None, close=lambda: None):
        self.data, self.lock, self.close = data, lock, close


def open_ultradict(shared_lock):
    d = ultradict(shared_lock=shared_lock)
    return Peer(d, d.lock, lambda: (d.close(), d.unlink()))


def open_manager():
    manager = Manager()
    return Peer(manager.dict(), manager.RLock(), manager.shutdown)


PEERS = {
    "UltraDict": lambda: open_ultradict(False),
    "UltraDict+shared_lock": lambda: open_ultradict(True),
    "Manager().dict()": open_manager,
}


def available():
    names = ["Manager().dict()"]
    try:
        import UltraDict  # noqa: F401
    except ImportError:
        return names
    names.insert(0, "UltraDict")
    try:
        import atomics  # noqa: F401  # what its shared lock is built on
    except ImportError:
        return names
    names.insert(1, "UltraDict+shared_lock")
    return names


def operations(peer, work):
    """A function of a key and a number."""
    d, lock = peer.data, peer.lock

    def get(key, _):
        d[key]

    def put(key, n):
        d[key] = n

    def put_locked(key, n):
        with lock:
            d[key] = n

    def counter(key, _):
        with lock:
            d[key] += 1

    def mix95(key, n):
        if n % 20:
            d[key]
        else:
            d[key] = n

    return {"get": get, "put": put, "put_locked": put_locked, "counter": counter, "mix95": mix95}[work]


def iterate(peer, seconds):
    visited, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        visited += sum(1 for _ in peer.data.items())
    return visited / (time.perf_counter() - start)


def measure(operation, keys, seconds):
    count, start = 0, time.perf_counter()
    while True:
        for key in keys[count % len(keys):][:20]:
            count += 1
            operation(key, count)
        took = time.perf_counter() - start
        if took >= seconds:
            return count / took


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--systems")
    parser.add_argument("--work")
    parser.add_argument("--keys", type=int, default=10000)
    parser.add_argument("--seconds", type=float, default=0.1)
    args = parser.parse_args()
    if args.list:
        print("\n".join(available()))
        return
    keys = [i * 2654435761 for i in range(args.keys)]
    random.seed(1)
    random.shuffle(keys)
    for system in args.systems.split(","):
        peer = PEERS[system]()
        try:
            peer.data.update({key: -1 for key in keys})
            for work in args.work.split(","):
                ops = (
                    iterate(peer, args.seconds)
                    if work == "iterate"
                    else measure(operations(peer, work), keys, args.seconds)
                )
                print(json.dumps({
                    "kind": "throughput", "system": system, "workload": work, "keys": args.keys, "key_type": "int64",
                    "value_bytes": 8, "distribution": "uniform", "processes": 1, "threads": 1, "round": 0,
                    "ops_per_s": ops,
                }), flush=True)
        finally:
            peer.close()


if __name__ == "__main__":
    sys.exit(main())
