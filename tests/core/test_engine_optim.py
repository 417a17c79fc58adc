"""Which parameters learn, how fast, and when."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR

from trialbook.config.options import StageOptions, TrainOptions, stages_of
from trialbook.engine.optim import learning_rate, make_optimizer, set_trainable, trainable_names
from trialbook.errors import TrialbookError


def _parts() -> nn.ModuleDict:
    tower = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5), nn.LayerNorm(4))
    return nn.ModuleDict(
        {"encoder": nn.ModuleDict({"image": tower}), "projector": nn.ModuleDict({"image": nn.Linear(4, 2)})}
    )


def test_a_cosine_without_warm_up_is_torchs_own() -> None:
    options = TrainOptions(steps=50, lr=0.1, warmup=0, min_lr=0.1)
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1)
    scheduler = CosineAnnealingLR(optimizer, T_max=50, eta_min=0.01)
    for step in range(50):
        assert learning_rate(options, step, 50) == pytest.approx(optimizer.param_groups[0]["lr"], abs=1e-12)
        optimizer.step()
        scheduler.step()


@pytest.mark.parametrize("schedule", ["cosine", "linear", "constant"])
def test_warm_up_rises_to_the_peak_and_the_schedule_goes_on_from_there(schedule: str) -> None:
    options = TrainOptions(steps=100, lr=2.0, warmup=0.1, schedule=schedule)  # type: ignore[arg-type]
    rates = [learning_rate(options, step, 100) for step in range(100)]
    assert rates[:10] == pytest.approx([0.2 * (step + 1) for step in range(10)])
    assert max(rates) == pytest.approx(2.0)
    assert all(a >= b for a, b in pairwise(rates[9:]))
    assert rates[-1] == pytest.approx(2.0) if schedule == "constant" else rates[-1] < 0.05


def test_patterns_choose_parts_and_a_pattern_that_fits_nothing_is_an_error() -> None:
    parts = _parts()
    assert trainable_names(parts, ["projector.*"]) == ["projector.image.weight", "projector.image.bias"]
    assert len(trainable_names(parts, ["encoder"])) == 4
    with pytest.raises(TrialbookError, match=r"'projector\.text'"):
        trainable_names(parts, ["projector.image", "projector.text"])


def test_a_pattern_leaves_frozen_parts_alone() -> None:
    parts = _parts()
    parts["encoder"].requires_grad_(False)
    assert trainable_names(parts, ["*"]) == ["projector.image.weight", "projector.image.bias"]
    with pytest.raises(TrialbookError, match=r"'encoder\.\*' fits only what is frozen \('encoder\.image\.0\.weight'\)"):
        trainable_names(parts, ["encoder.*", "projector.*"])


def test_a_part_that_does_not_learn_is_in_evaluation_mode_and_one_that_does_is_not() -> None:
    parts = _parts()
    some, everything = (
        trainable_names(parts, patterns) for patterns in (["projector.*"], ["encoder.*", "projector.*"])
    )
    set_trainable(parts, some)
    dropout = parts["encoder"]["image"][1]  # type: ignore[index]
    assert not dropout.training
    assert parts["projector"]["image"].training  # type: ignore[index]
    set_trainable(parts, everything)
    assert dropout.training


def test_biases_and_norms_have_no_weight_decay_and_scaled_parts_their_own_rate() -> None:
    parts = _parts()
    names = trainable_names(parts, None)
    optimizer = make_optimizer(
        parts, names, TrainOptions(steps=1, lr=1.0, weight_decay=0.1, lr_multipliers={"encoder.*": 0.5})
    )
    seen = {}
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            name = next(n for n, p in parts.named_parameters() if p is parameter)
            seen[name] = (group["weight_decay"], group["scale"])
    assert seen["encoder.image.0.weight"] == (0.1, 0.5)
    assert seen["encoder.image.2.weight"] == (0.0, 0.5)
    assert seen["projector.image.bias"] == (0.0, 1.0)
    assert len(seen) == len(names)


def test_stages_inherit_from_train_and_override_it() -> None:
    stages = stages_of({
        "train": {"steps": 10, "lr": 0.1, "batch_size": 4},
        "stage": [{"name": "warm", "train": ["projector.*"]}, {"name": "all", "epochs": 2.0, "lr": 0.01}],
    })  # fmt: skip
    assert stages[0] == StageOptions(name="warm", train=["projector.*"], steps=10, lr=0.1, batch_size=4)
    assert stages[1] == StageOptions(name="all", epochs=2.0, lr=0.01, batch_size=4)


def test_values_out_of_range_are_refused_with_the_key_named() -> None:
    for wrong, message in (
        ({"steps": 0}, "'steps' \\(0\\)"), ({}, "either 'steps' or 'epochs'"), ({"steps": 1, "lr": -1.0}, "'lr'"),
        ({"steps": 1, "batch_size": 10, "accumulate": 3}, r"accumulate \(3\) must divide batch_size \(10\)"),
    ):  # fmt: skip
        with pytest.raises(TrialbookError, match=message):
            TrainOptions(**wrong)  # type: ignore[arg-type]
