# SPDX-License-Identifier: Apache-2.0
"""Statistics, in one place: medians over rounds, and ratios of systems within one run."""

import statistics

DATA = ("keys", "key_type", "value_bytes", "distribution", "processes", "threads")
PERCENTILES = ("p50_ns", "p99_ns", "p999_ns", "p9999_ns", "max_ns")


class Figures:
    """All JSON lines of a benchmark. Each run has a number: ratios are only taken within one."""

    def __init__(self):
        self.lines = []

    def add(self, run, line):
        self.lines.append(dict(line, run=run))

    def _matching(self, kind, **wanted):
        return [
            l
            for l in self.lines
            if l["kind"] == kind and all(l.get(name) == value for name, value in wanted.items())
        ]

    def _rounds(self, **wanted):
        """{(run, round): ops/s}"""
        return {(l["run"], l["round"]): l["ops_per_s"] for l in self._matching("throughput", **wanted)}

    def throughput(self, **wanted):
        rounds = self._rounds(**wanted)
        return statistics.median(rounds.values()) if rounds else None

    def ratio(self, system, other, workload=None, other_workload=None, **data):
        """Median over rounds of one's ops/s by the other's in the same round of the same run, and both medians."""
        ours = self._rounds(system=system, workload=workload, **data)
        theirs = self._rounds(system=other, workload=other_workload or workload, **data)
        both = sorted(ours.keys() & theirs.keys())
        if not both:
            return None
        return (
            statistics.median(ours[b] / theirs[b] for b in both),
            statistics.median(ours[b] for b in both),
            statistics.median(theirs[b] for b in both),
        )

    def better(self, systems, workload, **data):
        """Of these the one with the best median."""
        found = [(self.throughput(system=s, workload=workload, **data) or 0, s) for s in systems]
        best = max(found, default=(0, None))
        return best[1] if best[0] else None

    def memory(self, system, **data):
        found = [l["bytes_per_entry"] for l in self._matching("memory", system=system, **data)]
        return statistics.median(found) if found and any(found) else None

    def latency(self, **wanted):
        found = self._matching("latency", **wanted)
        return found[-1] if found else None

    def probe(self, name):
        found = self._matching("probe", probe=name)
        return found[-1] if found else None

    def table(self):
        """bench.json: one entry per system, workload and data set. What was not measured is null."""
        seen = {}
        for l in self.lines:
            if l["kind"] not in ("throughput", "latency"):
                continue
            key = (l["system"], l["workload"]) + tuple(l[d] for d in DATA)
            seen.setdefault(key, None)
        entries = []
        for key in seen:
            wanted = dict(zip(("system", "workload") + DATA, key))
            ops = self.throughput(**wanted)
            latency = self.latency(**wanted) or {}
            data = {d: wanted[d] for d in DATA if d not in ("processes", "threads")}
            entry = dict(wanted)
            entry["ops_per_s"] = round(ops) if ops else None
            for p in PERCENTILES:
                entry[p] = round(latency[p], 1) if p in latency else None
            if entry["p50_ns"] is not None and entry["p50_ns"] < 50 and ops:
                # The clock is too coarse for that: the mean of a batch instead.
                entry["p50_ns"] = round(1e9 * wanted["processes"] * wanted["threads"] / ops, 1)
            memory = self.memory(wanted["system"], **data)
            entry["bytes_per_entry"] = round(memory, 1) if memory else None
            entries.append(entry)
        return entries

    def ranking(self, **wanted):
        """[(system, ops/s)] for one workload on one data set, the fastest first."""
        systems = {l["system"] for l in self._matching("throughput", **wanted)}
        ranked = [(s, self.throughput(system=s, **wanted)) for s in systems]
        return sorted(ranked, key=lambda r: -r[1])
