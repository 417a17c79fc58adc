"""Memory from run to run: what a run leaves, and the peak of a small arm that follows a large one."""

from __future__ import annotations

from benchmarks.gpu.bench import Bench
from benchmarks.gpu.workplace import Workplace, final

_FILE = """
seeds = [0]
[task]
use = "align"
dim = 64
[dataset]
use = "scenes"
train = 256
val = 64
test = 64
[encoder.image]
use = "vit"
[encoder.text]
use = "text-transformer"
width = 64
depth = 1
[projector.image]
use = "linear"
[projector.text]
use = "linear"
[[loss]]
use = "info-nce"
[train]
steps = 5
batch_size = 64
"""
_LARGE = """
[arm.a_large.encoder.image]
width = {width}
depth = {depth}
heads = 8
"""
_SMALL = """
[arm.b_small.encoder.image]
width = 64
depth = 1
"""
_LEFT = 64
"""MiB that libraries may keep on the device once they were used: workspaces of cuBLAS."""


def measure(bench: Bench) -> None:
    """A small arm by itself, then behind a large one in the same process."""
    large = _LARGE.format(**bench.size({"width": 1024, "depth": 12}, {"width": 64, "depth": 2}))
    alone = _peaks(bench, "alone", _SMALL)["b_small"]
    bench.rows.add("left on the device by a small run", bench.allocated(), "MiB", f"<= {_LEFT}")
    both = _peaks(bench, "behind", large + _SMALL)
    bench.rows.add("left on the device by a large and a small run", bench.allocated(), "MiB", f"<= {_LEFT}")
    for arm, peak in both.items():
        bench.rows.add(f"peak of the arm {arm}", peak, "MiB", "> 0", at_size=True)
    ratio = both["b_small"] / alone if alone else 1.0
    bench.rows.add("peak of a small arm behind a large one / by itself", ratio, "x", "<= 1.05", at_size=True)


def _peaks(bench: Bench, name: str, arms: str) -> dict[str, float]:
    place = Workplace(bench, name)
    runs = place.run(f"{name}: run", place.write("memory", _FILE + arms))
    return {run.name.partition("-")[0]: final(run, "peak_memory") / 2**20 for run in runs}
