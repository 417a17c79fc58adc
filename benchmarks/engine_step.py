"""Time of an optimiser step in the engine against a hand-written loop over the same model, at about 5 ms a step.

Both loops train the same parts on the same batches: gather the batch, forward, backward, clip, set the learning rate,
fused AdamW. The engine also seeds every step, evaluates at its cadence, and its records are written to a run directory.
The first step, in which both make the optimiser's moments, does not count.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn

from benchmarks._measure import in_turn, ratio, save
from trialbook.config.options import CheckpointOptions, EvaluateOptions, StageOptions
from trialbook.contracts import Step
from trialbook.contracts.records import Record
from trialbook.engine.checkpoint import CheckpointStore
from trialbook.engine.execute import make_accelerator
from trialbook.engine.optim import learning_rate
from trialbook.engine.seeding import epoch_order
from trialbook.engine.trainer import Trainer
from trialbook.registry.recorder import Recorder

STEPS, BATCH = 200, 64
DATA = torch.randn(4096, 256, generator=torch.Generator().manual_seed(0))
OPTIONS = StageOptions(name="train", steps=STEPS, batch_size=BATCH, lr=1e-3, log_every=10)


class Autoencoder:
    """A model of about 5 ms a step on one core."""

    def __init__(self, width: int = 512) -> None:
        torch.manual_seed(0)
        layers = [nn.Linear(256, width), nn.GELU(), nn.Linear(width, width), nn.GELU(), nn.Linear(width, 256)]
        self.parts = nn.ModuleDict({"encoder": nn.ModuleDict({"x": nn.Sequential(*layers)})})

    def module(self) -> nn.Module:
        return self.parts

    def size(self, stage: str) -> int:
        return len(DATA)

    def batch(self, samples: np.ndarray, epoch: int, step: Step) -> torch.Tensor:
        return DATA[torch.from_numpy(samples)]

    def losses(self, batch: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"loss": (self.parts["encoder"]["x"](batch) - batch).square().mean()}

    def evaluate(self, split: str) -> dict[str, float]:
        return {"loss": 0.0}

    def after_step(self) -> None:
        return None


def engine() -> float:
    """Seconds a step in the engine, its records written to a run directory."""
    with tempfile.TemporaryDirectory() as folder:
        training = Trainer(
            Autoencoder(), [OPTIONS], seed=0, accelerator=make_accelerator("cpu", "no"),
            checkpoints=CheckpointStore(Path(folder) / "checkpoints"), evaluate=EvaluateOptions(at_start=False),
            checkpoint=CheckpointOptions(every=0),
        )  # fmt: skip
        with Recorder(Path(folder) / "run", None) as recorder:
            started = 0.0
            for item in training.run():
                recorder.add(item)
                if isinstance(item, Record) and item.step == 1:
                    started = time.perf_counter()
                elif isinstance(item, Record) and item.step == STEPS:
                    return (time.perf_counter() - started) / (STEPS - 1)
    raise AssertionError("the last step was not recorded")


def by_hand() -> float:
    """Seconds a step in a plain loop."""
    task = Autoencoder()
    model = task.parts["encoder"]["x"].train()
    decay = [p for p in model.parameters() if p.ndim >= 2]
    rest = [p for p in model.parameters() if p.ndim < 2]
    optimizer = torch.optim.AdamW(
        [{"params": decay, "weight_decay": 0.01}, {"params": rest, "weight_decay": 0.0}], lr=1e-3, fused=True
    )
    history, per_epoch, started = [], len(DATA) // BATCH, 0.0
    for step in range(STEPS):
        epoch, position = divmod(step, per_epoch)
        if position == 0:
            order = epoch_order(0, epoch, len(DATA))
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(OPTIONS, step, STEPS)
        batch = DATA[torch.from_numpy(order[position * BATCH : (position + 1) * BATCH])]
        loss = (model(batch) - batch).square().mean()
        loss.backward()
        norm = nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if step % 10 == 9:
            history.append((loss.item(), norm.item()))
        if step == 0:
            started = time.perf_counter()
    return (time.perf_counter() - started) / (STEPS - 1)


def main() -> None:
    """In turn, 15 rounds of 200 steps, one thread."""
    torch.set_num_threads(1)
    taken = in_turn({"engine": engine, "by hand": by_hand}, rounds=15)
    overhead = (ratio(taken, "engine", "by hand") - 1) * 100
    save("engine_step", "Step of the engine against a hand-written loop", [
        {"what": "engine step / hand-written step - 1", "value": overhead, "unit": "%", "bound": "<= 5"},
        {"what": "engine step, median", "value": statistics.median(taken["engine"]) * 1000, "unit": "ms", "bound": ""},
        {"what": "hand-written step, median", "value": statistics.median(taken["by hand"]) * 1000, "unit": "ms", "bound": ""},
    ])  # fmt: skip


if __name__ == "__main__":
    main()
