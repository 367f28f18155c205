# SPDX-License-Identifier: Apache-2.0
"""Bar charts as SVG, drawn by gnuplot."""

import shutil
import subprocess

from targets import size

CHARTS = [
    ("get-10k", "get, 10 k int keys, 1 process", dict(workload="get", keys=10000, processes=1)),
    ("get-1m", "get, 1 M int keys, 1 process", dict(workload="get", keys=1000000, processes=1)),
    ("get-10k-2", "get, 10 k int keys, 2 processes", dict(workload="get", keys=10000, processes=2)),
    ("mix95-10k-2", "95 % get, 5 % put, 10 k int keys, 2 processes", dict(workload="mix95", keys=10000, processes=2)),
    ("put-10k", "put, 10 k int keys, 1 process", dict(workload="put", keys=10000, processes=1)),
    ("put-10k-2", "put, 10 k int keys, 2 processes", dict(workload="put", keys=10000, processes=2)),
]
DATA = dict(threads=1, value_bytes=8, key_type="int64", distribution="uniform")

SCRIPT = """set terminal svg size 760,{height} font 'sans-serif,12' noenhanced background 'white'
set output '{output}'
set title "{title}: million operations per second"
set style fill solid 0.9 noborder
set logscale x
set xrange [{low}:*]
set yrange [{rows}:-0.5] noreverse
set ytics nomirror
set xtics nomirror
set grid xtics lc rgb '#dddddd'
set border 3
set lmargin 32
unset key
plot $data using ({low}):0:({low}):2:($0-0.38):($0+0.38):3:ytic(1) with boxxyerror lc rgb variable, \\
     $data using 2:0:(sprintf("  %.3g", $2)) with labels left
"""


def draw(figures, out):
    """The names of the files drawn; none without gnuplot."""
    if not shutil.which("gnuplot"):
        return []
    drawn = []
    for name, title, wanted in CHARTS:
        ranked = figures.ranking(**wanted, **DATA)
        if len(ranked) < 2:
            continue
        data = "\n".join(
            f'"{system}" {ops / 1e6:.6f} {0x1F6FEB if system == "shmdict" else 0x9AA4B2}' for system, ops in ranked
        )
        low = 10 ** (len(str(int(1e9 / ranked[-1][1]))) * -1 + 3)  # a power of ten below the slowest
        low = min(low, ranked[-1][1] / 1e6 / 2)
        script = f"$data << EOD\n{data}\nEOD\n" + SCRIPT.format(
            output=out / f"{name}.svg", title=title, low=low, rows=len(ranked) - 0.5, height=90 + 28 * len(ranked)
        )
        subprocess.run(["gnuplot"], input=script, text=True, check=True)
        drawn.append(f"{name}.svg")
    return drawn
