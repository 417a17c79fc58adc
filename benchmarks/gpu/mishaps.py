"""Failing on purpose, by values that are not finite and by more memory than there is: how the program ends and what it says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch

from benchmarks.gpu.bench import Bench
from benchmarks.gpu.workplace import Answer, Workplace

_FILE = """
seeds = [0]
[task]
use = "align"
dim = 16
[dataset]
use = "paired-latents"
train = {train}
val = 32
test = 32
[encoder.image]
use = "identity"
[encoder.text]
use = "identity"
[projector.image]
use = "mlp"
[projector.text]
use = "linear"
[[loss]]
use = "info-nce"
[train]
steps = 6
batch_size = {batch}
lr = {lr}
warmup = 0
max_grad_norm = 0
log_every = 100
precision = "{precision}"
[checkpoint]
every = 1
"""
_ENORMOUS = 500_000
"""Rows of a batch whose similarities take 1 TB."""


def measure(bench: Bench) -> None:
    """A learning rate without measure in two precisions, a batch without measure, and an ordinary run behind them."""
    for precision in ("no", "bf16"):
        place = Workplace(bench, precision)
        said = place.mlrun("run", place.write("not-finite", _text(lr="1e30", precision=precision)), "--no-plots")
        _refused(bench, f"not finite, {precision}", said, "step", "projector")
        broken = [name for run in place.found() for name in _not_finite(run)]
        bench.rows.add(f"not finite, {precision}: tensors of checkpoints that are not finite", len(broken), bound="= 0")
    place = Workplace(bench)
    memory = place.mlrun("run", place.write("too-large", _text(train=_ENORMOUS, batch=_ENORMOUS)), "--no-plots")
    _refused(bench, "out of memory", memory, "memory ran out", "batch_size")
    bench.free()
    bench.rows.add("out of memory: left on the device", bench.allocated(), "MiB", "<= 64")
    place.run("an ordinary run behind them", place.write("ordinary", _text()))


def _text(train: int = 64, batch: int = 32, lr: str = "1e-3", precision: str = "no") -> str:
    return _FILE.format(train=train, batch=batch, lr=lr, precision=precision)


def _refused(bench: Bench, what: str, answer: Answer, *words: str) -> None:
    """The run ended with a sentence that has these words in it, and without a traceback."""
    ends = answer.status == 1 and "Traceback" not in answer.text and all(word in answer.last for word in words)
    bench.rows.check(
        f"{what}: ends, with a sentence that says {' and '.join(repr(word) for word in words)}", ends, answer.last
    )


def _not_finite(run: Path) -> Iterator[str]:
    """Names of the tensors in a run's checkpoints that have a value that is not finite."""
    from safetensors.torch import load_file

    for file in (run / "checkpoints").rglob("*.safetensors"):
        yield from (name for name, tensor in load_file(file).items() if not bool(torch.isfinite(tensor).all()))
