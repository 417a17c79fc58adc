"""The cost of the doctor: a step of the engine with it, all checks asked, against one without, at its usual cadence.

Two models: the autoencoder of the step benchmark (about 3 ms a step) and a Perceiver resampler of two layers, whose attention
is looked at as well. Both programs record to a run directory. The first step does not count.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks._measure import in_turn, ratio, save
from benchmarks.engine_step import Autoencoder
from trialbook.config.options import CheckpointOptions, DoctorOptions, EvaluateOptions, StageOptions
from trialbook.contracts import Step
from trialbook.contracts.evidence import RunEvidence
from trialbook.contracts.records import Record
from trialbook.doctor.doctor import Doctor, load_checks
from trialbook.engine.checkpoint import CheckpointStore
from trialbook.engine.execute import make_accelerator
from trialbook.engine.instrumentation import Monitor, PartView
from trialbook.engine.trainer import Trainer
from trialbook.plugins.manager import PluginManager
from trialbook.registry.recorder import Recorder
from trialbook_plugins.losses.info_nce import InfoNCE
from trialbook_plugins.projectors.perceiver import Perceiver

STEPS, BATCH, ROUNDS = 400, 64, 11
EVERY = DoctorOptions().every
CHECKS, _ = load_checks(PluginManager.discover())
TOKENS = torch.randn(1024, 16, 64, generator=torch.Generator().manual_seed(0))


class Resampling:
    """Pairs of token rows brought into one space by a resampler and a linear map."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        image, text, loss = Perceiver(64, 64, latents=8, depth=2, heads=4, head_dim=16), nn.Linear(64, 64), InfoNCE()
        self.image, self.text, self.loss = image, text, loss
        self.parts = nn.ModuleDict({
            "projector": nn.ModuleDict({"image": image, "text": text}), "loss": nn.ModuleDict({"info-nce": loss}),
        })  # fmt: skip

    def module(self) -> nn.Module:
        return self.parts

    def size(self, stage: str) -> int:
        return len(TOKENS)

    def batch(self, samples: np.ndarray, epoch: int, step: Step) -> torch.Tensor:
        return TOKENS[torch.from_numpy(samples)]

    def losses(self, batch: torch.Tensor) -> dict[str, torch.Tensor]:
        rows = {"image": self.image(batch).mean(dim=1), "text": self.text(batch[:, 0])}
        return {"loss": self.loss(embeddings=rows)}

    def evaluate(self, split: str) -> Mapping[str, float]:
        return {"loss": 0.0}

    def after_step(self) -> None:
        self.loss.after_step()


def program(make: Callable[[], Any], every: int) -> Callable[[], float]:
    """Trains from the start; seconds a step."""

    def run() -> float:
        task = make()
        parts = [PartView(name, module, False) for name, module in task.module().items()]
        with tempfile.TemporaryDirectory() as folder:
            training = Trainer(
                task, [StageOptions(name="train", steps=STEPS, batch_size=BATCH, lr=1e-3)], seed=0,
                accelerator=make_accelerator("cpu", "no"), checkpoints=CheckpointStore(Path(folder) / "checkpoints"),
                evaluate=EvaluateOptions(at_start=False), checkpoint=CheckpointOptions(every=0),
                monitor=Monitor(task.module(), parts, every),
            )  # fmt: skip
            doctor = Doctor(
                RunEvidence({"train": {"steps": STEPS, "lr": 1e-3, "batch_size": BATCH}}), CHECKS if every else ()
            )
            with Recorder(Path(folder) / "run", None) as recorder:
                return _seconds_a_step(training, recorder, doctor)

    return run


def _seconds_a_step(training: Trainer, recorder: Recorder, doctor: Doctor) -> float:
    started = 0.0
    for item in training.run():
        recorder.add(item)
        if doctor.see(item):
            doctor.look()
        if isinstance(item, Record) and item.step == 1:
            started = time.perf_counter()
        elif isinstance(item, Record) and item.step == STEPS and "loss" in item.values:
            return (time.perf_counter() - started) / (STEPS - 1)
    raise AssertionError("the last step was not recorded")


def main() -> None:
    """In turn, one thread."""
    torch.set_num_threads(1)
    rows = []
    for name, make in (("autoencoder", Autoencoder), ("resampler", Resampling)):
        taken = in_turn({"with": program(make, EVERY), "without": program(make, 0)}, rounds=ROUNDS)
        overhead = (ratio(taken, "with", "without") - 1) * 100
        rows += [
            {"what": f"{name}: step with the doctor / without - 1", "value": overhead, "unit": "%", "bound": "< 1"},
            {"what": f"{name}: step without", "value": statistics.median(taken["without"]) * 1000, "unit": "ms", "bound": ""},
        ]  # fmt: skip
    note = f"{len(CHECKS)} checks; the parts are looked into at the first step, every {EVERY} steps and at the last."
    save("doctor", "The doctor beside training", rows, note)


if __name__ == "__main__":
    main()
