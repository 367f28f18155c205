# SPDX-License-Identifier: Apache-2.0
"""What shmdict has to reach against its peers, and whether it does."""

from dataclasses import dataclass

from plan import BOOST_LOCKS, MILLION

FLAT = "boost.concurrent_flat_map"


@dataclass
class Row:
    name: str
    ours: str
    peer: str
    ratio: str
    target: str
    verdict: str  # met, missed, reported (no target), not measured


def size(keys):
    return f"{keys // MILLION} M" if keys >= MILLION else f"{keys // 1000} k"


def rate(ops):
    return f"{ops / 1e6:.2f} M/s" if ops >= 1e6 else f"{ops / 1e3:.1f} k/s"


def duration(ns):
    if ns >= 1e6:
        return f"{ns / 1e6:.2f} ms"
    return f"{ns / 1e3:.1f} us" if ns >= 1e3 else f"{ns:.1f} ns"


class Table:
    def __init__(self, figures):
        self.f = figures
        self.rows = []

    def missing(self, name, target):
        self.rows.append(Row(name, "-", "-", "-", target, "not measured"))

    def faster(self, name, peers, workload, at_least, aim=None, our_workload=None, **data):
        """Ours by the best of the peers, in operations per second."""
        data = {"processes": 1, "threads": 1, "value_bytes": 8, "key_type": "int64", "distribution": "uniform", **data}
        target = "report" if at_least is None else f">= {at_least:g}"
        if aim:
            target += f" (aim {aim:g})"
        peer = self.f.better(peers, workload, **data)
        found = peer and self.f.ratio("shmdict", peer, our_workload or workload, workload, **data)
        if not found:
            return self.missing(name, target)
        ratio, ours, theirs = found
        verdict = "reported" if at_least is None else "met" if ratio >= at_least else "missed"
        self.rows.append(Row(name, rate(ours), f"{rate(theirs)} {peer}", f"{ratio:.2f}", target, verdict))

    def at_most(self, name, ours, theirs, peer, limit, show, absolute=False):
        """Ours by theirs, or ours alone, in bytes or nanoseconds."""
        target = f"<= {show(limit)}" if absolute else f"<= {limit:g}"
        if ours is None or (theirs is None and not absolute):
            return self.missing(name, target)
        ratio = None if theirs is None else ours / theirs
        met = ours <= limit if absolute else ratio <= limit
        self.rows.append(
            Row(
                name,
                show(ours),
                "-" if theirs is None else f"{show(theirs)} {peer}",
                "-" if ratio is None or absolute else f"{ratio:.2f}",
                target,
                "met" if met else "missed",
            )
        )


def evaluate(figures):
    t = Table(figures)
    for keys in (10000, MILLION):
        t.faster(f"get, {size(keys)}, 1 process, std::unordered_map", ["std::unordered_map"], "get", 0.5, 0.67, keys=keys)
    for keys in (10000, MILLION):
        t.faster(f"get, {size(keys)}, 1 process, Boost.Interprocess", BOOST_LOCKS, "get", 1.5, keys=keys)
    for keys in (10000, MILLION):
        t.faster(f"get, {size(keys)}, 2 processes, Boost.Interprocess", BOOST_LOCKS, "get", 6, keys=keys, processes=2)
    for keys in (10000, MILLION):
        t.faster(f"95/5, {size(keys)}, 2 processes, Boost.Interprocess", BOOST_LOCKS, "mix95", 4, keys=keys, processes=2)
    t.faster("put, 10 k, 1 process, Boost.Interprocess", BOOST_LOCKS, "put", 1.0, 1.5, keys=10000)
    t.faster("put, 1 M, 1 process, Boost.Interprocess", BOOST_LOCKS, "put", 0.75, keys=MILLION)
    t.faster("put, 10 k, 2 processes, Boost.Interprocess", BOOST_LOCKS, "put", 1.0, 1.5, keys=10000, processes=2)
    for keys in (10000, MILLION):
        t.faster(f"get, {size(keys)}, 1 process, concurrent_flat_map", [FLAT], "get", 1.0, 1.3, keys=keys)
    t.faster("get, 10 k, 2 processes, concurrent_flat_map", [FLAT], "get", 4, keys=10000, processes=2)
    t.faster("get, 1 M, 2 processes, concurrent_flat_map", [FLAT], "get", 1.5, keys=MILLION, processes=2)
    for keys in (10000, MILLION):
        t.faster(f"95/5, {size(keys)}, 2 processes, concurrent_flat_map", [FLAT], "mix95", 2, keys=keys, processes=2)
    t.faster("put, 10 k, 1 process, concurrent_flat_map", [FLAT], "put", None, 0.8, keys=10000)
    t.faster("put, 10 k, 2 processes, concurrent_flat_map", [FLAT], "put", None, 0.5, keys=10000, processes=2)
    t.faster("get string -> 100 B, 10 k", BOOST_LOCKS, "get", 1.5, keys=10000, key_type="string24", value_bytes=100)
    t.faster("get 4 KB, 10 k", BOOST_LOCKS, "get", 0.9, 1.2, keys=10000, value_bytes=4096)
    t.faster("get 4 KB in place (with)", BOOST_LOCKS, "get_view", None, keys=10000, value_bytes=4096)
    t.faster("with 4 KB beside a peer's get", BOOST_LOCKS, "get", None, our_workload="get_view", keys=10000, value_bytes=4096)
    t.faster("put 4 KB, 10 k", BOOST_LOCKS, "put", 0.5, 0.8, keys=10000, value_bytes=4096)
    for keys in (10000, MILLION):
        for work in ("get", "put"):
            t.faster(f"{work}, {size(keys)}, LMDB", ["lmdb"], work, 10, keys=keys)
    for work, factor in (("get", 30), ("put", 60), ("put_locked", 200)):
        t.faster(f"{work}, 10 k, UltraDict", ["UltraDict"], work, factor, keys=10000)
    # With the only one of its locks that processes can take which were not forked from each other, as all can ours.
    t.faster("put_locked, 10 k, UltraDict(shared_lock=True)", ["UltraDict+shared_lock"], "put_locked", 200, keys=10000)
    for peer in ("redis", "memcached"):
        for work in ("get", "put"):
            t.faster(f"{work}, 10 k, {peer}", [peer], work, 500, keys=10000)

    tail = figures.latency(system="shmdict", workload="put", keys=10 * MILLION, processes=1) or {}
    stalls = figures.probe("stall") or {}
    t.at_most("put p99.99, 10 M", tail.get("p9999_ns"), stalls.get("p9999_ns"), "idle spin", 100e3, duration, True)
    touch = figures.probe("touch") or {}
    if tail and touch:  # beside plain increments at random places of as much shared memory
        t.rows.append(
            Row(
                "the same beside increments of memory",
                duration(tail["p9999_ns"]),
                f"{duration(touch['p9999_ns'])} increment",
                f"{tail['p9999_ns'] / touch['p9999_ns']:.2f}",
                "report",
                "reported",
            )
        )
    # What an idle spin beside it stalls is the machine's.
    limit = max(1e6, stalls.get("max_ns") or 0)
    t.at_most("put max, 10 M", tail.get("max_ns"), stalls.get("max_ns"), "idle spin", limit, duration, True)
    attach = figures.probe("attach") or {}
    t.at_most("attach at 10 M keys", attach.get("large_ns"), attach.get("small_ns"), "at 10 keys", 2, duration)
    ours, boost = (
        figures.memory(s, keys=MILLION, key_type="int64", value_bytes=8) for s in ("shmdict", BOOST_LOCKS[0])
    )
    t.at_most("memory per entry, 1 M", ours, boost, BOOST_LOCKS[0], 1, lambda b: f"{b:.1f} B")
    t.faster("iterate 1 M, LMDB cursor", ["lmdb"], "iterate", 1.0, keys=MILLION)
    wake = figures.probe("wake") or {}
    t.at_most("sleeping watcher's wake-up", wake.get("watcher_ns"), wake.get("futex_ns"), "futex", 1.5, duration)
    return t.rows


def render(rows):
    heads = ("row", "ours", "peer", "ratio", "target", "")
    cells = [heads] + [(r.name, r.ours, r.peer, r.ratio, r.target, r.verdict) for r in rows]
    widths = [max(len(c[i]) for c in cells) for i in range(len(heads))]
    return "\n".join("  ".join(v.ljust(w) for v, w in zip(c, widths)).rstrip() for c in cells)
