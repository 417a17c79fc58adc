"""Nothing that is not finite reaches the weights or a checkpoint, and half precision works over stages and resumes."""

from __future__ import annotations

import gc
from collections.abc import Mapping
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
from trialbook.engine.execute import make_accelerator
from trialbook.engine.guard import UpdateGuard, non_finite_names
from trialbook.engine.trainer import Trainer
from trialbook.errors import TrialbookError

DATA = torch.randn(64, 6, generator=torch.Generator().manual_seed(0))
TWO_STAGES = [
    StageOptions(name="warm", train=["projector"], steps=6, batch_size=8, lr=0.01, log_every=1),
    StageOptions(name="all", steps=6, batch_size=8, lr=0.01, log_every=1),
]


class Halves(nn.Module):
    """An encoder and a projector that learn the sum of six numbers; the gradient or the loss may be spoilt at one step."""

    def __init__(self, bad_gradient: int | None = None, bad_loss: int | None = None) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.parts = nn.ModuleDict({"encoder": nn.Linear(6, 8), "projector": nn.Linear(8, 1)})
        self.bad_gradient, self.bad_loss = bad_gradient, bad_loss

    def module(self) -> nn.Module:
        return self.parts

    def size(self, stage: str) -> int:
        return len(DATA)

    def batch(self, samples: NDArray[np.int64], epoch: int, step: Step) -> Any:
        rows = DATA[torch.from_numpy(samples)]
        # the square root has an infinite derivative at 0 and no value below it
        root = 0.0 if step.number == self.bad_gradient else -1.0 if step.number == self.bad_loss else 1.0
        return {"x": rows, "y": rows.sum(dim=1, keepdim=True), "root": torch.tensor(root)}

    def losses(self, batch: Any) -> dict[str, Tensor]:
        out = self.parts["projector"](self.parts["encoder"](batch["x"]))
        root = (batch["root"] + 0 * out.sum()).sqrt()
        return {"loss": (out - batch["y"]).square().mean() + root - root.detach()}

    def evaluate(self, split: str) -> Mapping[str, float]:
        return {"loss": 0.0}

    def after_step(self) -> None:
        return None


def make_training(
    task: Halves, folder: Path, *, stages: list[StageOptions] | None = None, on_device: bool = False,
    scaled: bool = False, every: int = 0,
) -> Trainer:  # fmt: skip
    """A training whose guard works as on a GPU, or with a gradient scaler, though it computes on the CPU."""
    accelerator = make_accelerator("cpu", "no")
    if scaled:
        accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10, growth_interval=4)
    training = Trainer(
        task, stages or [StageOptions(name="train", steps=12, batch_size=8, lr=0.01, log_every=12)], seed=3,
        accelerator=accelerator, checkpoints=CheckpointStore(folder, keep=9), evaluate=EvaluateOptions(at_start=False),
        checkpoint=CheckpointOptions(every=every),
    )  # fmt: skip
    if on_device:
        training._guard.immediate = False
    return training


def weights_after(task: Halves) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in task.parts.parameters()]


@pytest.mark.parametrize(("spoilt", "name"), [("bad_gradient", "grad_norm"), ("bad_loss", "loss")])
@pytest.mark.parametrize("clip", [0.0, 1.0])
def test_a_device_keeps_the_weights_of_the_first_bad_step_without_being_waited_for(
    tmp_path: Path, spoilt: str, name: str, clip: float
) -> None:
    def stages(steps: int) -> list[StageOptions]:
        options: dict[str, Any] = {
            "batch_size": 8,
            "lr": 0.01,
            "warmup": 0.0,
            "schedule": "constant",
            "max_grad_norm": clip,
        }
        return [StageOptions(name="train", steps=steps, log_every=12, **options)]

    sound, task = Halves(), Halves(**{spoilt: 5})
    list(make_training(sound, tmp_path / "sound", stages=stages(5)).run())
    training = make_training(task, tmp_path / "bad", stages=stages(12), on_device=True)
    with pytest.raises(TrialbookError, match=rf"'{name}' is (nan|inf) at step 6"):
        list(training.run())
    assert all(torch.equal(a, b) for a, b in zip(weights_after(sound), weights_after(task), strict=True))
    assert not list((tmp_path / "bad").glob("step-*"))


def test_a_checkpoint_that_is_due_before_the_next_record_is_not_written_after_a_bad_step(tmp_path: Path) -> None:
    training = make_training(Halves(bad_gradient=3), tmp_path, on_device=True, every=5)
    with pytest.raises(TrialbookError, match=r"'grad_norm' is (nan|inf) at step 4"):
        list(training.run())
    assert training.step == 5
    assert not list(tmp_path.glob("step-*"))


def test_the_module_of_a_bad_step_is_found_though_later_steps_were_taken(tmp_path: Path) -> None:
    task = Halves()
    training = make_training(task, tmp_path, on_device=True)
    find, bad = training._not_finite, {4}

    def found(*arguments: Any) -> Any:
        bad.add(training.step)  # the step is gone through again after the last one
        return find(*arguments)

    def spoil(module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        return output * float("nan") if training.step in bad else output

    training._not_finite = found  # type: ignore[method-assign]
    task.parts["projector"].register_forward_hook(spoil)
    with pytest.raises(TrialbookError, match="at step 5: projector makes it of finite inputs"):
        list(training.run())
    assert training.step == 12


def test_the_flag_of_the_guard_stays_set() -> None:
    guard = UpdateGuard(torch.device("meta"))
    guard.immediate = False
    optimizer = torch.optim.AdamW([torch.ones(1, requires_grad=True)], fused=True)
    flags = []
    for norm in (1.0, float("inf"), 1.0):
        assert not guard.refuses(optimizer, {"loss": torch.tensor(0.5), "grad_norm": torch.tensor(norm)})
        flags.append(float(optimizer.found_inf))
    assert flags == [0.0, 1.0, 1.0]
    assert guard.first_bad(7) == (5, "grad_norm", float("inf"))


def test_ranks_decide_by_the_gradient_that_they_share() -> None:
    guard = UpdateGuard(torch.device("cuda"), ranks=2)
    optimizer = torch.optim.AdamW([torch.ones(1, requires_grad=True)], fused=True)
    guard.refuses(optimizer, {"loss": torch.tensor(float("inf")), "grad_norm": torch.tensor(1.0)})
    assert guard.first_bad(1) is None


def test_weights_that_are_not_finite_are_not_saved_and_masks_are(tmp_path: Path) -> None:
    inf, nan = torch.tensor([1.0, float("inf")]), torch.tensor([float("nan")])
    tensors = {"model": {"mask": inf, "w": inf, "mean": nan, "n": torch.tensor([3])}, "optimizer": {"exp_avg/w": inf}}
    assert non_finite_names(tensors, {"w"}) == ["w", "mean", "exp_avg/w"]


def test_no_checkpoint_is_written_of_weights_that_overflowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task = Halves()

    def overflow() -> None:
        with torch.no_grad():
            task.parts["encoder"].weight[0, 0] = float("inf")

    monkeypatch.setattr(task, "after_step", overflow)
    with pytest.raises(
        TrialbookError, match=r"'encoder.weight' is not finite after step 1, so no checkpoint was saved"
    ):
        list(make_training(task, tmp_path, every=1).run())
    assert not list(tmp_path.glob("step-*"))


def norms_of(training: Trainer) -> list[float]:
    return [r.values["grad_norm"] for r in training.run() if isinstance(r, Record) and "grad_norm" in r.values]


def test_gradients_of_a_second_stage_are_unscaled_once(tmp_path: Path) -> None:
    plain = norms_of(make_training(Halves(), tmp_path / "plain", stages=TWO_STAGES))
    scaled = norms_of(make_training(Halves(), tmp_path / "scaled", stages=TWO_STAGES, scaled=True))
    assert scaled == pytest.approx(plain, rel=1e-4)  # powers of two scale without rounding, sums of squares do not


def test_a_resumed_half_precision_run_has_the_scale_that_it_had(tmp_path: Path) -> None:
    whole_task, task = Halves(), Halves()
    whole = make_training(whole_task, tmp_path / "whole", stages=TWO_STAGES, scaled=True, every=5)
    expected = [item for item in whole.run() if isinstance(item, Record)]
    first = make_training(Halves(), tmp_path / "cut", stages=TWO_STAGES, scaled=True, every=5)
    for item in first.run():
        if isinstance(item, Record) and item.step == 8:
            break
    second = make_training(task, tmp_path / "cut", stages=TWO_STAGES, scaled=True, every=5)
    second.restore(99)
    assert second.step == 6  # the end of the first stage
    assert second.accelerator.scaler.get_scale() == 2.0**11
    after = [item for item in second.run() if isinstance(item, Record)]
    assert after == expected[second.records - len(after) :]
    assert second.accelerator.scaler.state_dict() == whole.accelerator.scaler.state_dict()
    assert all(torch.equal(a, b) for a, b in zip(weights_after(whole_task), weights_after(task), strict=True))


def test_one_optimiser_is_alive_in_a_stage(tmp_path: Path) -> None:
    training = make_training(Halves(), tmp_path, stages=TWO_STAGES)
    gc.collect()
    before = sum(type(one) is torch.optim.AdamW for one in gc.get_objects())
    counts = set()
    for item in training.run():
        if isinstance(item, Record) and item.step in (3, 9):
            gc.collect()
            kinds = (type(one) for one in gc.get_objects() if type(one) is torch.optim.AdamW)
            counts.add(sum(1 for _ in kinds))
    assert counts == {before + 1}


def test_memory_that_runs_out_while_operations_are_counted_ends_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from trialbook.engine import trainer as loop
    from trialbook.engine.instrumentation import Monitor

    def greedy(*arguments: Any) -> Any:
        torch.empty(1 << 60, dtype=torch.uint8)

    monkeypatch.setattr(loop, "count_flops", greedy)
    training = make_training(Halves(), tmp_path)
    training.monitor = Monitor(training.module, every=100)
    items = list(training.run())
    assert [item.kind for item in items if isinstance(item, Event)] == ["operations-not-counted"]
    assert training.step == 12
