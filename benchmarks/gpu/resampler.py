"""The full size of ``perceiver_vs_mlp``: frozen CLIP ViT-L/14, 4096 dimensions; how long a step reads, copies and computes."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from benchmarks._measure import in_turn
from benchmarks.gpu import standins
from benchmarks.gpu.bench import Bench, inside
from benchmarks.gpu.pace import Pace, steps_of_runs
from benchmarks.gpu.workplace import SHIPPED, Workplace, final
from trialbook.contracts import Step as TrainingStep
from trialbook.contracts import Trainable, to_device
from trialbook.replay.load import LoadedRun, load_weights

_CLIP = "openai/clip-vit-large-patch14"
_SMALL = (
    "dataset.size=32", "task.dim=64", "loss.0.dims=[16, 64]", "train.batch_size=16",
    *(f"arm.perceiver.projector.image.{size}" for size in ("latents=4", "depth=1", "heads=2", "head_dim=16", "width=32")),
)  # fmt: skip
_ROUNDS = 10
"""Batches that are timed."""


def measure(bench: Bench) -> None:
    """Both arms in the loop, then a step of each taken apart."""
    data, steps = bench.folder / "data", bench.size(30, 4)
    standins.save_clip(data / _CLIP, small=bench.rehearsal)
    standins.save_coco(data / "coco", bench.size(640, 48), bench.size(256, 40))
    place = Workplace(bench, data=data)
    sets = ("seeds=[0]", f"train.steps={steps}", "train.log_every=1000", *bench.size((), _SMALL))
    for arm in ("mlp", "perceiver"):
        pace = Pace(bench, steps)
        with steps_of_runs(pace):
            more = ("--profile", "full", "--arm", arm)
            run = place.run(f"{arm}: run", SHIPPED / "perceiver_vs_mlp.toml", *sets, more=more)[-1]
        bench.rows.add(f"{arm}: a step in the loop", pace.seconds * 1e3, "ms")
        bench.rows.add(f"{arm}: share of the time in which the device is idle", pace.idle, bound="<= 0.3", at_size=True)
        bench.rows.add(f"{arm}: peak memory", final(run, "peak_memory") / 2**30, "GiB")
        bench.free()
        with inside(place.folder):
            _take_apart(bench, run, arm)
        bench.free()


class Step:
    """A step of a recorded run in its three parts, each of which can be done by itself.

    Args:
        loaded: the run.
    """

    def __init__(self, loaded: LoadedRun) -> None:
        self.loaded, self.task = loaded, cast(Trainable, loaded.task)
        self.size = loaded.spec.config["train"]["batch_size"]
        self.optimizer = torch.optim.AdamW(self.task.module().parameters(), lr=1e-5, fused=True)
        self.task.module().train()
        self.number, self.batch = 0, None

    def read(self) -> None:
        """The next batch, as the task gives it."""
        samples = np.arange(self.size) + self.number
        self.batch, self.number = self.task.batch(samples, 0, TrainingStep(0, "train", 0)), self.number + 1

    def copy(self) -> None:
        """Bring it to the device."""
        self.batch = to_device(self.batch, self.loaded.accelerator.device)

    def compute(self) -> None:
        """Forwards, back, and an update."""
        with self.loaded.accelerator.autocast():
            loss = self.task.losses(self.batch)["loss"]
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)


def _take_apart(bench: Bench, run: Path, arm: str) -> None:
    """Reading a batch, copying it and computing on it, each waited for."""
    from trialbook.api.app import open_app

    app = open_app()
    step = Step(load_weights(str(run), app.settings, app.host, app.book))
    taken = in_turn(
        {what: partial(bench.timed, getattr(step, what)) for what in ("read", "copy", "compute")}, rounds=_ROUNDS
    )
    bench.rows.add(f"{arm}: a batch", _bytes(step.batch) / 2**20, "MiB")
    for what, seconds in taken.items():
        bench.rows.add(f"{arm}: {what}", statistics.median(seconds) * 1e3, "ms")


def _bytes(batch: Any) -> int:
    if isinstance(batch, torch.Tensor):
        return batch.numel() * batch.element_size()
    inner: Sequence[Any] = (
        list(batch.values()) if isinstance(batch, dict) else batch if isinstance(batch, list | tuple) else ()
    )
    return sum(_bytes(one) for one in inner)
