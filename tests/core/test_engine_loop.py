"""The loop is exactly resumable, and accumulation, stages and clipping do what they say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from trialbook.config.options import CheckpointOptions, EvaluateOptions, StageOptions
from trialbook.contracts import Step
from trialbook.contracts.records import Event, Record
from trialbook.engine.checkpoint import CheckpointStore
from trialbook.engine.execute import execute, make_accelerator
from trialbook.engine.trainer import Trainer
from trialbook.errors import TrialbookError
from trialbook.registry.recorder import Recorder

DATA = torch.randn(50, 6, generator=torch.Generator().manual_seed(0))
TARGET = DATA @ torch.randn(6, 2, generator=torch.Generator().manual_seed(1))


class Regression:
    """A small trainable task with dropout, a trained part and one that may be frozen."""

    def __init__(self, dropout: float = 0.3, poison: int | None = None) -> None:
        torch.manual_seed(0)
        body = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Dropout(dropout))
        self.parts = nn.ModuleDict(
            {"encoder": nn.ModuleDict({"x": body}), "projector": nn.ModuleDict({"x": nn.Linear(8, 2)})}
        )
        self.poison = poison
        self.seen: list[list[int]] = []

    def module(self) -> nn.Module:
        return self.parts

    def size(self, stage: str) -> int:
        return len(DATA)

    def batch(self, samples: NDArray[np.int64], epoch: int, step: Step) -> Any:
        self.seen.append(samples.tolist())
        rows = torch.from_numpy(samples)
        scale = float("nan") if step.number == self.poison else 1.0
        return {"x": DATA[rows] * scale, "y": TARGET[rows]}

    def losses(self, batch: Any) -> dict[str, Tensor]:
        out = self.parts["projector"]["x"](self.parts["encoder"]["x"](batch["x"]))  # type: ignore[index]
        loss = (out - batch["y"]).square().mean()
        return {"loss": loss, "mse/loss": loss}

    def evaluate(self, split: str) -> Mapping[str, float]:
        return {"loss": float(self.losses({"x": DATA, "y": TARGET})["loss"])} if split in ("val", "test") else {}

    def after_step(self) -> None:
        return None


def _training(task: Regression, directory: Path, stages: list[StageOptions] | None = None, every: int = 7) -> Trainer:
    return Trainer(
        task, stages or [StageOptions(name="train", steps=25, batch_size=8, lr=0.01, log_every=3)],
        seed=3, accelerator=make_accelerator("cpu", "no"), checkpoints=CheckpointStore(directory, keep=2),
        evaluate=EvaluateOptions(every=5), checkpoint=CheckpointOptions(every=every),
    )  # fmt: skip


def _run(training: Trainer, stop_after: int | None = None) -> list[Record]:
    """Run, or stop dead after so many records, as a kill would."""
    records = []
    for item in training.run():
        if isinstance(item, Record):
            records.append(item)
            if len(records) == stop_after:
                break
    return records


@pytest.mark.parametrize("stages", [
    None,
    [StageOptions(name="warm", train=["projector.*"], steps=10, batch_size=8, lr=0.01),
     StageOptions(name="all", steps=15, batch_size=10, accumulate=5, lr=0.003)],
])  # fmt: skip
def test_a_run_killed_after_any_record_goes_on_bit_for_bit(tmp_path: Path, stages: list[StageOptions] | None) -> None:
    whole_task = Regression()
    whole = _run(_training(whole_task, tmp_path / "whole", stages))
    for kill in range(1, len(whole)):
        task = Regression()
        before = _run(_training(task, tmp_path / str(kill), stages), stop_after=kill)
        task = Regression()
        training = _training(task, tmp_path / str(kill), stages)
        training.restore(kill)
        after = before[: training.records] + _run(training)
        assert after == whole
        for name, tensor in whole_task.parts.state_dict().items():
            assert torch.equal(tensor, task.parts.state_dict()[name])


def test_evaluating_more_often_does_not_change_the_training(tmp_path: Path) -> None:
    weights = []
    for every in (0, 2):
        task = Regression()
        training = _training(task, tmp_path / str(every))
        training.evaluate = EvaluateOptions(every=every)
        _run(training)
        weights.append(task.parts["projector"]["x"].weight)  # type: ignore[index]
    assert torch.equal(*weights)


def test_every_sample_is_seen_once_an_epoch_and_another_seed_sees_them_in_another_order(tmp_path: Path) -> None:
    task = Regression()
    stage = [StageOptions(name="train", epochs=2.0, batch_size=10, lr=0.01)]
    _run(_training(task, tmp_path, stage))
    first, second = (sorted(i for batch in task.seen[k : k + 5] for i in batch) for k in (0, 5))
    assert first == second == list(range(50))
    assert task.seen[:5] != task.seen[5:]


def test_accumulation_gives_the_gradient_of_the_whole_batch(tmp_path: Path) -> None:
    weights = []
    for accumulate in (1, 4):
        task = Regression(dropout=0.0)
        stage = [StageOptions(name="train", steps=5, batch_size=20, accumulate=accumulate, lr=0.01)]
        _run(_training(task, tmp_path / str(accumulate), stage))
        weights.append(task.parts["projector"]["x"].weight)  # type: ignore[index]
    assert torch.allclose(*weights, atol=1e-6)  # float32 sums in another order


def test_a_stage_moves_only_the_parts_that_it_trains(tmp_path: Path) -> None:
    task = Regression()
    before = {name: tensor.clone() for name, tensor in task.parts.state_dict().items()}
    _run(_training(task, tmp_path, [StageOptions(name="warm", train=["projector.*"], steps=4, batch_size=8)]))
    moved = {name for name, tensor in task.parts.state_dict().items() if not torch.equal(tensor, before[name])}
    assert moved == {"projector.x.weight", "projector.x.bias"}


def test_a_checkpoint_holds_all_that_any_stage_trains_and_nothing_frozen(tmp_path: Path) -> None:
    task = Regression()
    task.parts["encoder"].requires_grad_(False)
    _run(_training(task, tmp_path))
    found, _ = CheckpointStore(tmp_path).latest()
    assert found is not None
    assert set(found.tensors["model"]) == {"projector.x.weight", "projector.x.bias"}


def test_a_loss_that_is_not_finite_stops_the_run_with_its_step(tmp_path: Path) -> None:
    training = _training(Regression(poison=5), tmp_path)
    with pytest.raises(TrialbookError, match="'loss' is nan at step 6"):
        _run(training)


def test_a_gradient_that_is_not_finite_stops_the_run_before_it_spoils_the_weights(tmp_path: Path) -> None:
    task = Regression()
    before = {name: tensor.clone() for name, tensor in task.parts.state_dict().items()}
    for parameter in task.parts.parameters():
        parameter.register_hook(lambda gradient: torch.full_like(gradient, float("inf")))
    training = _training(task, tmp_path, [StageOptions(name="train", steps=1, batch_size=8)])
    with pytest.raises(TrialbookError, match=r"'grad_norm' is inf at step 1: the backward pass of projector\.x"):
        _run(training)
    assert all(torch.equal(tensor, before[name]) for name, tensor in task.parts.state_dict().items())


def test_a_batch_larger_than_the_data_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrialbookError, match=r"batch_size \(64 .*larger than the 50"):
        _training(Regression(), tmp_path, [StageOptions(name="train", steps=1, batch_size=64)])


def test_evaluation_stands_at_both_ends_and_at_its_cadence(tmp_path: Path) -> None:
    records = _run(_training(Regression(), tmp_path))
    curves = [record.step for record in records if "val/loss" in record.values]
    answers = [record.step for record in records if set(record.values) == {"test/loss"}]
    assert curves == [0, 5, 10, 15, 20, 25]
    assert answers == [0, 25]


def test_a_missing_split_is_named(tmp_path: Path) -> None:
    training = _training(Regression(), tmp_path)
    training.evaluate = EvaluateOptions(final="held-out")
    with pytest.raises(TrialbookError, match="no split 'held-out'"):
        _run(training)


def test_a_resume_says_so_and_says_what_may_make_it_inexact(tmp_path: Path) -> None:
    _run(_training(Regression(), tmp_path), stop_after=12)
    training = _training(Regression(), tmp_path)
    threads = torch.get_num_threads()
    torch.set_num_threads(threads + 1)
    try:
        events = training.restore(12)
    finally:
        torch.set_num_threads(threads)
    assert [event.kind for event in events] == ["resumed", "resume-inexact"]
    assert isinstance(events[0], Event)


class _Both(Regression):
    """Trains, then measures five metrics, each drawn at random."""

    def __init__(self) -> None:
        super().__init__()
        self.done = 0

    def measured(self, done: int) -> None:
        self.done = done

    def measurements(self) -> Iterator[Record]:
        for index in range(self.done, 5):
            yield Record(25, {f"probe{index}": float(torch.rand(()))})


def _execute(folder: Path, stop_after: int | None = None) -> None:
    """One process at work on a run: recorder, training, measuring; it ends dead after so many records."""
    config = {
        "train": {"steps": 25, "batch_size": 8, "lr": 0.01, "log_every": 3},
        "evaluate": {"every": 5},
        "checkpoint": {"every": 7},
    }
    with Recorder(folder / "run", None) as recorder:
        items = execute(
            _Both(), config, seed=3, accelerator=make_accelerator("cpu", "no"), checkpoints=folder / "checkpoints",
            recorded=lambda: recorder.recorded, begin=lambda start: recorder.rewind(start.records),
        )  # fmt: skip
        for count, item in enumerate(item for item in items if isinstance(item, Record)):
            if count == stop_after:
                return
            recorder.add(item)


def test_a_task_that_trains_and_then_measures_goes_on_at_any_record(tmp_path: Path) -> None:
    _execute(tmp_path / "whole")
    whole = (tmp_path / "whole" / "run" / "metrics.jsonl").read_bytes()
    count = whole.count(b"\n")
    assert b"probe4" in whole
    for kill in range(count - 8, count):
        _execute(tmp_path / str(kill), stop_after=kill)
        _execute(tmp_path / str(kill))
        assert (tmp_path / str(kill) / "run" / "metrics.jsonl").read_bytes() == whole


@pytest.mark.parametrize("left", [0, 1, 5, 9])
def test_records_that_were_lost_are_made_again(tmp_path: Path, left: int) -> None:
    _execute(tmp_path / "whole")
    whole = (tmp_path / "whole" / "run" / "metrics.jsonl").read_bytes()
    _execute(tmp_path / "cut", stop_after=15)
    metrics = tmp_path / "cut" / "run" / "metrics.jsonl"
    lines = metrics.read_bytes().splitlines(keepends=True)
    metrics.write_bytes(b"".join(lines[:left]) + b'{"step":')
    _execute(tmp_path / "cut")
    assert metrics.read_bytes() == whole


class Weighed(Regression):
    """Its loss is the mean over elements of unequal samples: sample i has i % 3 + 1 of them."""

    def batch(self, samples: NDArray[np.int64], epoch: int, step: Step) -> Any:
        rows = torch.from_numpy(samples)
        return {"x": DATA[rows], "y": TARGET[rows], "count": (rows % 3 + 1).float()}

    def losses(self, batch: Any) -> dict[str, Tensor]:
        out = self.parts["projector"]["x"](self.parts["encoder"]["x"](batch["x"]))  # type: ignore[index]
        error = (out - batch["y"]).square().mean(dim=1)
        return {"loss": (error * batch["count"]).sum() / batch["count"].sum()}

    def weigh(self, samples: NDArray[np.int64], epoch: int, step: Step) -> float:
        return float((samples % 3 + 1).sum())

    def evaluate(self, split: str) -> Mapping[str, float]:
        return {"loss": 0.0} if split in ("val", "test") else {}


def test_a_step_over_unequal_micro_batches_is_that_over_the_whole_batch(tmp_path: Path) -> None:
    """Within float32's rounding of sums in another order."""
    found = []
    for accumulate in (1, 2, 5):
        task = Weighed(dropout=0.0)
        stage = StageOptions(name="s", steps=6, batch_size=10, accumulate=accumulate, lr=1e-2, log_every=1)
        training = Trainer(
            task, [stage], seed=0, accelerator=make_accelerator("cpu", "no"),
            checkpoints=CheckpointStore(tmp_path / str(accumulate)), evaluate=EvaluateOptions(),
            checkpoint=CheckpointOptions(every=0),
        )  # fmt: skip
        losses = [i.values["loss"] for i in training.run() if isinstance(i, Record) and "loss" in i.values]
        weights = torch.cat([p.detach().flatten() for p in task.module().parameters()])
        found.append((losses, weights))
    for losses, weights in found[1:]:
        assert losses == pytest.approx(found[0][0], rel=1e-5)
        torch.testing.assert_close(weights, found[0][1], rtol=1e-4, atol=1e-5)
