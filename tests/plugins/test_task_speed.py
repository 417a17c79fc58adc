"""Task ``speed``: ratios that say which encoder is slower, and where they are recorded."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from trialbook.contracts import Features
from trialbook.contracts.records import Record, Timing
from trialbook.errors import TrialbookError
from trialbook.testing import PartsBuilder, check_component
from trialbook_plugins.datasets.shapes import Shapes
from trialbook_plugins.tasks._peak import peak_growth
from trialbook_plugins.tasks.speed import Speed


class Products(nn.Module):
    """An encoder that multiplies matrices ``times`` times."""

    accepts, dim = ("image",), 256

    def __init__(self, times: int) -> None:
        super().__init__()
        self.times, self.weight = times, nn.Parameter(torch.eye(256))

    def prepare(self, raw: Any) -> Tensor:
        return torch.from_numpy(raw).float()

    def forward(self, prepared: Tensor) -> Features:
        tokens = prepared.flatten(1)[:, : 16 * 256].view(len(prepared), 16, 256)
        for _ in range(self.times):
            tokens = tokens @ self.weight
        return Features(tokens)


def task_of(**options: Any) -> Speed:
    data = Shapes(train=4, test=0, size=64)
    task = Speed(PartsBuilder({"dataset": data, "encoder": {"quick": Products(2), "slow": Products(400)}}), **options)
    task.setup()
    return task


def test_seconds_are_timings_and_what_repeats_is_recorded() -> None:
    items = list(task_of(rounds=5, batch=2).measurements())
    records = [item.values for item in items if isinstance(item, Record)]
    for values, name, times in zip(records, ("quick", "slow"), (2, 400), strict=True):
        assert (values[f"{name}/tokens"], values[f"{name}/parameters"]) == (16, 65536)
        assert (
            values[f"{name}/operations"] == times * 2 * 16 * 256 * 256
        )  # products of [16, 256] and [256, 256], of an image
        assert values[f"{name}/operations/ratio"] == times / 2
        assert values[f"{name}/operations/ratio/low"] < times / 2 < values[f"{name}/operations/ratio/high"]
    timed = {key: value for item in items if isinstance(item, Timing) for key, value in item.values.items()}
    assert timed["quick/seconds/ratio"] == 1
    assert timed["quick/memory/ratio"] == 1
    assert timed["slow/seconds/ratio"] > 3  # 200 times the products
    assert timed["slow/seconds/ratio/low"] <= timed["slow/seconds/ratio"] <= timed["slow/seconds/ratio/high"]
    assert 65536 * 4 < timed["slow/memory"] < 65536 * 40  # weights, pictures and two sets of tokens
    left = task_of(rounds=3)
    left.measured(1)
    again = [item.values for item in left.measurements() if isinstance(item, Record)]
    assert again == records[1:]  # the ratio is to the baseline, though its record is there already


def test_it_conforms() -> None:
    parts = {"dataset": Shapes(train=4, test=0, size=64), "encoder": {"quick": Products(2), "slow": Products(4)}}
    check_component(Speed, "task", options={"rounds": 3}, injected={"builder": PartsBuilder(parts)})


def test_ratios_are_taken_to_the_baseline() -> None:
    timed = next(item for item in task_of(rounds=3, baseline="slow").measurements() if isinstance(item, Timing))
    assert timed.values["slow/seconds/ratio"] == 1
    assert timed.values["quick/seconds/ratio"] < 0.5


def test_peak_memory_is_that_of_the_tensors_held_at_once() -> None:
    def work() -> Tensor:
        first = torch.zeros(1000, 1000)
        second = first + 1
        del first
        return second * 2

    two = 2 * 4 * 1000 * 1000
    assert two <= peak_growth(work, torch.device("cpu")) <= two + 4096  # scalars beside them


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(TrialbookError, match="baseline"):
        task_of(baseline="other")
    with pytest.raises(TrialbookError, match="batch"):
        task_of(batch=9)
    with pytest.raises(TrialbookError, match="rounds"):
        task_of(rounds=1)
