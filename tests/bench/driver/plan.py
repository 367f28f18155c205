# SPDX-License-Identifier: Apache-2.0
"""What is measured: runs of the harness (each one data set, all peers in turn) for --quick and for everything."""

from dataclasses import dataclass, field

LOCAL = ["std::unordered_map", "absl::flat_hash_map"]
LOCAL_THREADS = ["std::unordered_map+shared_mutex", "tbb::concurrent_hash_map"]
BOOST_LOCKS = ["boost.interprocess", "boost.interprocess+sharable"]
BOOST = BOOST_LOCKS + ["boost.concurrent_flat_map"]
STORES = ["lmdb", "sqlite"]
SERVERS = ["redis", "memcached"]
PYTHON = ["UltraDict", "UltraDict+shared_lock", "Manager().dict()"]
PIPELINED = ["redis+pipeline"]
ALL = LOCAL + LOCAL_THREADS + BOOST + STORES + SERVERS + PIPELINED + PYTHON

MILLION = 1000 * 1000


@dataclass
class Run:
    systems: list
    work: list
    keys: int = 10000
    key_type: str = "int64"
    value_bytes: int = 8
    distribution: str = "uniform"
    processes: int = 1
    threads: int = 1
    rounds: int = 5
    seconds: float = 0.1
    latency: bool = False
    beside_stalls: bool = False  # with an idle spin on another core, which shows what the machine itself stalls

    def arguments(self):
        given = ["--systems", ",".join(self.systems), "--work", ",".join(self.work)]
        for name in ("keys", "key_type", "value_bytes", "distribution", "processes", "threads", "rounds", "seconds"):
            given += ["--" + name.replace("_", "-"), str(getattr(self, name))]
        return given + (["--latency"] if self.latency else [])

    def with_systems(self, available):
        from dataclasses import replace

        return replace(self, systems=[s for s in self.systems if s in available])


@dataclass
class Plan:
    runs: list
    python: list = field(default_factory=list)  # runs of which each round is one of the harness and one of Python
    probes: bool = True


def quick():
    ours = ["shmdict"]
    return Plan(
        runs=[
            Run(ours + LOCAL[:1] + BOOST + ["lmdb"], ["get", "put"], seconds=0.08),
            Run(ours + SERVERS, ["get", "put"], seconds=0.05),
            Run(ours + LOCAL[:1] + BOOST + ["lmdb"], ["get", "put"], keys=MILLION),
            Run(ours + ["lmdb"], ["iterate"], keys=MILLION, seconds=0.05),
            Run(ours + ["lmdb"], ["put", "transact", "update"], seconds=0.08),
            Run(ours + BOOST, ["get", "mix95", "put"], processes=2),
            Run(ours + BOOST, ["get", "mix95"], keys=MILLION, processes=2),
            Run(ours + BOOST_LOCKS, ["get"], key_type="string24", value_bytes=100, seconds=0.08),
            Run(ours + BOOST_LOCKS, ["get", "get_view", "put"], value_bytes=4096, seconds=0.08),
            Run(ours, ["put"], keys=10 * MILLION, rounds=0, seconds=1.0, latency=True, beside_stalls=True),
        ],
        python=[Run(ours + PYTHON[:2], ["get", "put", "put_locked"], seconds=0.1)],
    )


def full():
    ours = ["shmdict"]
    single = ours + LOCAL + LOCAL_THREADS + BOOST + STORES + SERVERS + PIPELINED
    shared = ours + BOOST + STORES + SERVERS
    threaded = ours + LOCAL_THREADS + BOOST
    nested = ours + LOCAL[:1] + LOCAL_THREADS[:1] + BOOST_LOCKS + ["lmdb", "redis"]
    mixes = ["get", "mix95", "mix50", "put"]
    runs = []
    for keys in (10000, MILLION):
        runs += [
            Run(single, mixes + ["counter", "insert", "iterate"], keys=keys, latency=True),
            Run(shared, mixes + ["counter", "insert"], keys=keys, processes=2, latency=True),
            Run(threaded, mixes + ["counter", "insert"], keys=keys, threads=2, latency=True),
            Run(single[:9], mixes, keys=keys, distribution="zipf"),
            Run(shared, mixes, keys=keys, distribution="zipf", processes=2),
            Run(single, mixes, keys=keys, key_type="string24"),
            Run(single, mixes + ["get_view"], keys=keys, key_type="string24", value_bytes=100),
            Run(shared, mixes, keys=keys, key_type="string24", value_bytes=100, processes=2),
            Run(nested, mixes, keys=keys, key_type="path"),
        ]
    # 4 KB for 10 k keys only: a million of them would take several GB per peer.
    runs += [
        Run(single, mixes + ["get_view"], value_bytes=4096),
        Run(shared, mixes, value_bytes=4096, processes=2),
    ]
    # 10 M keys: who needs a request or a system call for each would take minutes to fill.
    large = ours + LOCAL[:1] + BOOST + ["lmdb"]
    runs += [
        Run(large, mixes, keys=10 * MILLION, seconds=0.3, rounds=3),
        Run(ours + BOOST, mixes, keys=10 * MILLION, seconds=0.3, rounds=3, processes=2),
        Run(ours, ["put"], keys=10 * MILLION, rounds=0, seconds=3.0, latency=True, beside_stalls=True),
    ]
    quick_runs = quick()
    return Plan(
        runs=quick_runs.runs + runs,
        python=[Run(ours + PYTHON, ["get", "put", "put_locked", "mix95", "counter", "iterate"], seconds=0.2)],
    )
