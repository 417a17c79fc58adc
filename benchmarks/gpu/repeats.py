"""The same steps twice, with deterministic algorithms and without: do the records part, where, and what does it cost?"""

from __future__ import annotations

from pathlib import Path

from benchmarks.gpu.bench import Bench
from benchmarks.gpu.workplace import Workplace, final, values

_FILE = """
seeds = [0]
[task]
use = "align"
dim = 128
[dataset]
use = "scenes"
train = {train}
val = 64
test = 64
[encoder.image]
use = "vit"
width = {width}
depth = {depth}
[encoder.text]
use = "text-transformer"
width = {width}
depth = {depth}
[projector.image]
use = "perceiver"
width = {width}
depth = {depth}
[projector.text]
use = "mlp"
pool = "attention"
[[loss]]
use = "info-nce"
[train]
steps = {steps}
batch_size = {batch}
lr = 3e-4
log_every = 1
precision = "bf16"
deterministic = {deterministic}
"""


def measure(bench: Bench) -> None:
    """Two runs of one configuration, each in a place of its own."""
    deterministic = bench.of == "deterministic"
    one, other = (_run(bench, name, deterministic) for name in ("one", "other"))
    parted = _parted(values(one, "loss"), values(other, "loss"))
    if deterministic:
        note = f"they part at step {parted}" if parted else ""
        bench.rows.check("deterministic: the losses of two runs are equal", parted is None, note)
    else:
        steps = parted or max(values(one, "loss"))
        bench.rows.add("as it is: steps until the losses of two runs part; all of them where they do not", steps)
    rate = final(one, "samples_per_second")
    bench.rows.add(f"{'deterministic' if deterministic else 'as it is'}: speed", rate, "samples/s")


def _run(bench: Bench, name: str, deterministic: bool) -> Path:
    place = Workplace(bench, name)
    sizes = bench.size({"train": 4096, "width": 512, "depth": 6, "batch": 256, "steps": 100},
                       {"train": 64, "width": 32, "depth": 1, "batch": 16, "steps": 3})  # fmt: skip
    text = _FILE.format(**sizes, deterministic=str(deterministic).lower())
    return place.run(f"{name}: run", place.write("repeats", text))[-1]


def _parted(one: dict[int, float], other: dict[int, float]) -> int | None:
    """The first step at which the values differ."""
    return next((step for step, value in one.items() if other.get(step) != value), None)
