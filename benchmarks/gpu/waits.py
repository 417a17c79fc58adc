"""Waits for the device within a step: none in ``align``, none of this program's own elsewhere."""

from __future__ import annotations

import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from unittest import mock

import torch

from benchmarks.gpu import standins
from benchmarks.gpu.bench import Bench
from benchmarks.gpu.workplace import ROOT, SHIPPED, CommandFailed, Workplace
from trialbook.engine.trainer import Trainer

_SOURCES = ("core", "plugins")
_SAID = "called a synchronizing CUDA operation"
_ADAPTERS = """
seeds = [0]
[task]
use = "instruct"
max_length = 128
max_new_tokens = 4
[dataset]
use = "conversations"
root = "said"
size = 32
[encoder.image]
use = "patches"
[projector.image]
use = "mlp"
[llm]
use = "hf-causal"
model = "qwen"
lora_rank = 8
[train]
steps = 4
batch_size = 8
accumulate = 2
"""


class Waits:
    """Counts waits by their place: ``file:line`` of the innermost code of this program, or of the library that it called."""

    def __init__(self) -> None:
        self.own: Counter[str] = Counter()
        self.of_libraries: Counter[str] = Counter()
        self.steps = 0

    def note(self, message: Warning | str, *_: Any) -> None:
        """As ``warnings.showwarning``."""
        if _SAID not in str(message):
            return
        for frame in reversed(traceback.extract_stack()):
            if (
                frame.filename.startswith(str(ROOT))
                and "/benchmarks/" not in frame.filename
                and "/testing/" not in frame.filename
            ):
                self.own[f"{frame.filename.removeprefix(f'{ROOT}/')}:{frame.lineno}"] += 1
                return
            if "site-packages" in frame.filename and "/torch/" not in frame.filename:
                self.of_libraries[f"{frame.filename.rpartition('site-packages/')[2]}:{frame.lineno}"] += 1
                return


@contextmanager
def debugging(mode: str, waits: Waits) -> Iterator[None]:
    """Have torch tell of every wait within a step; the first of a run, in which libraries make themselves ready, does not count.

    Args:
        mode: ``warn`` counts them, ``error`` lets the first one end the run.
        waits: counts.
    """
    optimize: Callable[..., Any] = Trainer._optimize

    def watched(training: Trainer, *given: Any) -> Any:
        if not training.step:
            return optimize(training, *given)
        waits.steps += 1
        torch.cuda.set_sync_debug_mode(mode)
        try:
            return optimize(training, *given)
        finally:
            torch.cuda.set_sync_debug_mode("default")

    with warnings.catch_warnings(), mock.patch.object(Trainer, "_optimize", watched):
        warnings.simplefilter("always")
        with mock.patch.object(warnings, "showwarning", waits.note):
            yield


def measure(bench: Bench) -> None:
    """Steps of ``align`` where a wait is an error; steps of others where waits are counted."""
    data = bench.folder / "data"
    place, sets = Workplace(bench, data=data), ("seeds=[0]", "train.steps=4")
    few = bench.size((), ("dataset.train=128", "dataset.val=16", "dataset.test=16"))
    with suppress(CommandFailed), debugging("error", Waits()):
        file = SHIPPED / "perceiver_vs_mlp.toml"
        place.run("align: no step waits for the device", file, *sets, *few, more=("--arm", "perceiver"))
    home = bench.size((), ("prepare.sample.dataset.days=4",))
    _count(bench, place, "masked modelling", SHIPPED / "sensor_text_mlm.toml", *sets, *home)
    standins.save_qwen(data / "qwen", small=True, device="cpu")
    standins.save_conversations(data / "said", {"train": 32, "val": 2, "test": 2}, 32, 60)
    _count(bench, place, "instruct with adapters", place.write("adapters", _ADAPTERS))


def _count(bench: Bench, place: Workplace, what: str, file: Path, *sets: str) -> None:
    waits = Waits()
    with suppress(CommandFailed), debugging("warn", waits):
        place.run(f"{what}: run", file, *sets)
    steps = max(waits.steps, 1)
    bench.rows.add(f"{what}: waits of its own", waits.own.total() / steps, "a step", "= 0", note=_places(waits.own))
    theirs = waits.of_libraries
    bench.rows.add(f"{what}: waits of libraries", theirs.total() / steps, "a step", note=_places(theirs))


def _places(counted: Counter[str]) -> str:
    return ", ".join(f"{place} ({count})" for place, count in counted.most_common(6))
