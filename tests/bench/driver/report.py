# SPDX-License-Identifier: Apache-2.0
"""The report in Markdown, and the ranking that ends it."""

import os
import platform

from figures import DATA
from targets import duration, rate, size

SETTINGS = """\
- **shmdict**: default options, through the C++ facade; `huge_pages()` once it is loaded, as its guide advises for large dicts.
- **std::unordered_map**, with and without `std::shared_mutex`; **absl::flat_hash_map**: reserved for all keys; strings looked up by `string_view`.
- **tbb::concurrent_hash_map**: buckets for all keys, an accessor per operation.
- **boost.interprocess**: `boost::unordered_map` in a `managed_shared_memory`, reserved for all keys, behind one `interprocess_mutex` or `interprocess_sharable_mutex`.
- **boost.concurrent_flat_map**: on an allocator of the same segment, reserved for all keys; its documentation promises nothing across processes.
- **LMDB**: on tmpfs, `MDB_NOSYNC | MDB_WRITEMAP`, integer keys as `MDB_INTEGERKEY`; a read transaction renewed per get, one commit per put.
- **SQLite**: on tmpfs, WAL, `synchronous = OFF`, prepared statements, one implicit transaction per statement; integer keys as `INTEGER PRIMARY KEY`, strings `WITHOUT ROWID`.
- **Redis**: Unix socket, no persistence; one request, one reply. With **+pipeline** 100 requests before the first reply is read.
- **memcached**: Unix socket, binary protocol, two threads, nothing evicted; one request, one reply.
- **UltraDict** (Cython atomics for its shared lock), **multiprocessing.Manager().dict()**: from Python, one operation a call."""


def machine():
    model = "unknown processor"
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as info:
            model = next((l.split(":", 1)[1].strip() for l in info if l.startswith("model name")), model)
    except OSError:
        pass
    return f"{model}, {os.cpu_count()} cores, {platform.system()} {platform.release()}"


def title(data):
    words = [f"{size(data['keys'])} {data['key_type']} keys", f"{data['value_bytes']} B values", data["distribution"]]
    if data["processes"] > 1:
        words.append(f"{data['processes']} processes")
    if data["threads"] > 1:
        words.append(f"{data['threads']} threads")
    return ", ".join(words)


def tables(figures):
    grouped = {}
    for entry in figures.table():
        grouped.setdefault(tuple(entry[d] for d in DATA), {}).setdefault(entry["workload"], []).append(entry)
    for key, works in grouped.items():
        yield f"### {title(dict(zip(DATA, key)))}\n"
        for work, entries in works.items():
            entries.sort(key=lambda e: -(e["ops_per_s"] or 0))
            yield f"| {work} | ops/s | p50 | p99 | p99.9 | p99.99 | max | bytes per entry |"
            yield "|---|--:|--:|--:|--:|--:|--:|--:|"
            for e in entries:
                times = [duration(e[p]) if e[p] is not None else "" for p in
                         ("p50_ns", "p99_ns", "p999_ns", "p9999_ns", "max_ns")]
                ops = rate(e["ops_per_s"]) if e["ops_per_s"] else ""
                memory = f"{e['bytes_per_entry']:.1f}" if e["bytes_per_entry"] else ""
                yield f"| {e['system']} | {ops} | {' | '.join(times)} | {memory} |"
            yield ""


def ranking_text(figures):
    """Who is how much slower than the fastest, for the work that everybody can do."""
    lines = []
    for processes, work in ((1, "get"), (1, "put"), (2, "get"), (2, "mix95"), (2, "put")):
        wanted = dict(workload=work, keys=10000, key_type="int64", value_bytes=8, distribution="uniform",
                      processes=processes, threads=1)
        ranked = figures.ranking(**wanted)
        if len(ranked) < 2:
            continue
        ours = dict(ranked).get("shmdict")
        lines.append(f"Ranking, {work}, 10 k int keys, {processes} process{'es' if processes > 1 else ''}:")
        for place, (system, ops) in enumerate(ranked, 1):
            factor = "" if system == "shmdict" or not ours else (
                f"shmdict is {ours / ops:.1f} times as fast" if ours >= ops else f"{ops / ours:.1f} times as fast as shmdict"
            )
            lines.append(f"  {place:2}. {system:32} {rate(ops):>12}   {factor}".rstrip())
        lines.append("")
    return "\n".join(lines).rstrip()


def write(figures, rows, notes, drawn, quick):
    timer = next((l["timer_ns"] for l in figures.lines if l["kind"] == "latency"), None)
    parts = [
        "# shmdict beside its peers\n",
        f"Machine: {machine()}. " + ("Quick run.\n" if quick else "Full run.\n"),
        "Medians of rounds in which all systems of a run take turns; ratios are taken within a round. Keys are shuffled,"
        " and every overwrite changes the value. Compare within one run only.\n",
    ]
    if timer:
        parts.append(
            f"Latencies come from a pass of their own in which every operation is timed; reading the clock costs"
            f" {timer:.0f} ns and is included. A median below 50 ns is the mean of a batch instead."
            " Quantiles are upper bounds of bins of 1 %.\n"
        )
    parts += ["## Targets\n", "| row | ours | peer | ratio | target | |", "|---|--:|--:|--:|---|---|"]
    parts += [f"| {r.name} | {r.ours} | {r.peer} | {r.ratio} | {r.target} | {r.verdict} |" for r in rows]
    parts += ["", "## Settings\n", SETTINGS, ""]
    if notes:
        parts += ["## Notes\n"] + [f"- {n}" for n in notes] + [""]
    if drawn:
        parts += ["## Charts\n"] + [f"![{d[:-4]}]({d})" for d in drawn] + [""]
    parts += ["## Measurements\n", *tables(figures)]
    parts += ["## Ranking\n", "```", ranking_text(figures), "```", ""]
    return "\n".join(parts)
