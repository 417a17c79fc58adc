"""Half precision over two stages, and going on in the second with the scale of the loss as it was."""

from __future__ import annotations

import math
import statistics
from pathlib import Path

from benchmarks.gpu.bench import Bench
from benchmarks.gpu.workplace import Workplace, final, values
from trialbook.contracts.files import read_json

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
use = "linear"
[projector.text]
use = "linear"
[[loss]]
use = "info-nce"
weight = {weight}
[train]
batch_size = {batch}
lr = 3e-4
log_every = 1
precision = "{precision}"
{more}
[[stage]]
name = "projectors"
train = ["projector.*", "loss.*"]
steps = {steps}
[[stage]]
name = "all"
steps = {steps}
[checkpoint]
every = {every}
keep_last = 100
"""

_HEAVY = 512
"""Weight of a loss whose gradients are too large for half precision at first, so that its scale changes."""


def measure(bench: Bench) -> None:
    """Gradient norms of the second stage; or a run that is stopped in it."""
    (_norms if bench.of == "norms" else _resumed)(bench)


def _norms(bench: Bench) -> None:
    """In half precision against float32."""
    steps = bench.size(40, 4)
    norms = {}
    for precision in ("no", "fp16"):
        run = _run(bench, f"whole-{precision}", precision)
        late = [value for step, value in values(run, "grad_norm").items() if step > steps]
        norms[precision] = statistics.median(late)
        bench.rows.add(f"median norm of the gradient in the second stage, {precision}", norms[precision], bound="> 0")
        bench.rows.add(f"loss at the end, {precision}", final(run, "loss", "metrics"))
    apart = abs(math.log2(norms["fp16"] / norms["no"]))
    bench.rows.add("norms of the gradient in the second stage, fp16 and float32, apart", apart, "octaves", "<= 0.5")


def _resumed(bench: Bench) -> None:
    """Two runs that are never stopped, and one that is."""
    steps = bench.size(40, 4)
    whole, again = (_records(_run(bench, name, "fp16", exact=True)) for name in ("whole", "again"))
    bench.rows.check("two runs in fp16 that were never stopped have equal records", whole == again)
    stopped = _run(bench, "stopped", "fp16", exact=True, stop=steps + steps // 2)
    bench.rows.add("scale of the loss at the end, of 65,536 at the start", _scale(stopped), bound="< 65536")
    equal = whole == _records(stopped)
    bench.rows.check("a run in fp16 that was stopped in its second stage has the records of one that was not", equal)


def _run(bench: Bench, name: str, precision: str, *, exact: bool = False, stop: int = 0) -> Path:
    place, steps = Workplace(bench, name), bench.size(40, 4)
    sizes = bench.size({"train": 2048, "width": 512, "depth": 6, "batch": 256},
                       {"train": 64, "width": 32, "depth": 1, "batch": 16})  # fmt: skip
    more = {"weight": _HEAVY, "more": "deterministic = true"} if exact else {"weight": 1, "more": ""}
    text = _FILE.format(**sizes, **more, steps=steps, every=steps // 4, precision=precision)
    file = place.write("half", text)
    if stop:
        ended = place.mlrun("run", file, "--no-plots", stop=stop)
        bench.rows.check(f"{name}: stopped at step {stop}", ended.status != 0)
    return place.run(f"{name}: run", file)[-1]


def _scale(run: Path) -> float:
    """Return what the loss is multiplied by, as the newest checkpoint has it."""
    newest = max((run / "checkpoints").iterdir())
    return float(read_json(newest / "manifest.json")["manifest"]["state"]["scaler"]["scale"])


def _records(run: Path) -> bytes:
    return (run / "metrics.jsonl").read_bytes()
