"""Whether a run is as near to its repetitions as they are to one another: how often that errs, and what it sees."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trialbook.replay.noise import FACTOR, Noise, TensorGaps, measure_noise

TOLERANCE = 1e-5


# --- how often it errs ---------------------------------------------------------------------------------------------


def descend(
    noise: float, rng: np.random.Generator, *, jumps: float = 0.0, lr: float = 0.05, decay: float = 0.0
) -> list[Any]:
    """Records of 100 steps of a linear classifier on fixed batches, whose gradients carry noise.

    Args:
        noise: relative to the gradient.
        rng: of the noise alone.
        jumps: the share of runs in which a sample falls on the other side of a threshold in the fifth step.
        lr, decay: of the weights.
    """
    data = np.random.default_rng(0)
    x = data.normal(size=(300, 6))
    y = np.sign(x @ data.normal(size=6) + 0.5 * data.normal(size=300))
    w, jumped = np.zeros(6), rng.random() < jumps

    def evaluate(rows: slice) -> dict[str, float]:
        margin = y[rows] * (x[rows] @ w)
        return {"test/loss": float(np.maximum(0, 1 - margin).mean()), "accuracy": float((margin > 0).mean())}

    records: list[Any] = [(0, evaluate(slice(200, 300)))]
    for step in range(1, 101):
        rows = data.integers(0, 200, 16)
        margin = y[rows] * (x[rows] @ w)
        gradient = -(y[rows] * (margin < 1)) @ x[rows] / 16 + decay * w
        gradient *= 1 + noise * rng.normal(size=6) + 0.2 * (step == 5) * jumped
        if step == 1 or step % 10 == 0:
            loss = float(np.maximum(0, 1 - margin).mean())
            records.append((step, {"loss": loss, "lr": lr, "grad_norm": float(np.linalg.norm(gradient))}))
        w = w - lr * gradient
    return [*records, (100, evaluate(slice(200, 300)))]


def write(file: Path, records: Sequence[Any]) -> Path:
    file.write_text("".join(json.dumps({"step": step, "values": values}) + "\n" for step, values in records))
    return file


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Files of records by size of the noise, number, and what is other than usual."""
    folder, rng = tmp_path_factory.mktemp("runs"), np.random.default_rng(1)

    @cache
    def made(noise: float, number: int, **changes: float) -> Path:
        return write(
            folder / f"{noise}-{number}-{'-'.join(map(str, changes.values()))}", descend(noise, rng, **changes)
        )

    return made


def share_beyond(runs: Any, noise: float, most: int, *, jumps: float = 0.0, **changes: float) -> float:
    """How many of 200 runs are held to be beyond the noise of up to ``most`` repetitions."""
    rng, beyond = np.random.default_rng(2), 0
    for _ in range(200):
        own, *others = rng.choice(80, most + 1, replace=False)
        recorded = runs(noise, int(own), jumps=jumps, **changes)
        for count in range(2, most + 1):
            repeated = [runs(noise, int(one), jumps=jumps) for one in others[:count]]
            found = measure_noise(recorded, repeated, tolerance=TOLERANCE, whole=True)
            if found.beyond is None:
                break
        beyond += found.beyond is not None
    return beyond / 200


@pytest.mark.parametrize("noise", [1e-3, 1e-2, 1e-1])
def test_a_run_like_its_repetitions_is_seldom_beyond_their_noise(runs: Any, noise: float) -> None:
    assert share_beyond(runs, noise, 2) <= 0.05


def test_where_noise_jumps_in_one_run_of_four_more_repetitions_err_less(runs: Any) -> None:
    two, four = (share_beyond(runs, 1e-4, most, jumps=0.25) for most in (2, 4))
    print(f"beyond the noise of 2 repetitions {two:.0%}, of up to 4 {four:.0%}")
    assert 0.1 < two < 0.3  # the run alone jumped, or it alone did not
    assert four < 0.12


@pytest.mark.parametrize("changes", [{"lr": 0.052}, {"decay": 0.05}])
def test_a_change_larger_than_the_noise_is_always_beyond_it(runs: Any, changes: dict[str, float]) -> None:
    assert share_beyond(runs, 1e-3, 4, **changes) == 1.0


# --- what it sees --------------------------------------------------------------------------------------------------


@pytest.fixture
def measure(tmp_path: Path) -> Any:
    def call(recorded: list[Any], *repeated: list[Any], **options: Any) -> Noise:
        files = [write(tmp_path / str(number), one) for number, one in enumerate((recorded, *repeated))]
        return measure_noise(files[0], files[1:], **{"tolerance": TOLERANCE, "whole": True, **options})

    return call


def test_the_noise_of_a_record_is_that_of_its_kind_so_far_and_of_training_up_to_the_next(measure: Any) -> None:
    def course(*losses: float) -> list[Any]:
        return [(step, {"loss": loss, "lr": 0.1}) for step, loss in enumerate(losses)]

    first, second = course(1.0, 1.0, 1.0, 1.0), course(1.0, 1.001, 1.0, 1.1)
    levels = [0.001 / 1.001, 0.001 / 1.001, 0.1 / 1.1, 0.1 / 1.1]
    found = measure(first, first, second)
    assert found.beyond is None
    assert (found.parted.step, found.parted.name, found.parted.recorded, found.parted.repeated) == (
        1, "loss", 1.0, 1.001,
    )  # fmt: skip
    assert [level for _, level in found.growth] == pytest.approx([levels[0], levels[2], levels[3]])
    for step, level in enumerate(levels):
        for times, expected in ((0.98, None), (1.02, step)):
            losses = [1.0] * 4
            losses[step] = 1 - times * FACTOR * level  # below what the repetitions have
            found = measure(course(*losses), first, second)
            assert (found.beyond and found.beyond.step) == expected


def test_between_the_repetitions_is_within_and_the_nearest_counts_outside(measure: Any) -> None:
    low, high = [(1, {"a": 1.0})], [(1, {"a": 2.0})]
    assert measure([(1, {"a": 1.4})], low, high).beyond is None
    far = measure([(1, {"a": 100.0})], low, high).beyond
    assert far is None  # 98% apart, where eight times 50% are allowed
    apart = measure([(1, {"a": 1.5})], [(1, {"a": 1.0})], [(1, {"a": 1.001})]).beyond
    assert apart.difference == pytest.approx(0.499 / 1.5)
    assert (apart.recorded, apart.repeated) == (1.5, (1.0, 1.001))


def test_the_learning_rate_has_no_noise(measure: Any) -> None:
    def record(loss: float, lr: float) -> list[Any]:
        return [(1, {"loss": loss, "lr": lr})]

    found = measure(record(1.0, 0.1001), record(1.0, 0.1), record(1.5, 0.1))
    assert (found.beyond.name, found.beyond.noise) == ("lr", 0.0)


def test_repetitions_that_are_equal_settle_it(measure: Any) -> None:
    found = measure([(1, {"a": 1.001})], [(1, {"a": 1.0})], [(1, {"a": 1.0})])
    assert (found.parted, found.settled, found.beyond.times) == (None, True, pytest.approx(100, rel=0.01))
    near = measure([(1, {"a": 1.02})], [(1, {"a": 1.0})], [(1, {"a": 1.001})])
    assert (near.settled, near.beyond.name) == (False, "a")


def test_what_has_no_counterpart_is_no_noise_unless_repetitions_have_none_either(measure: Any) -> None:
    one, two = (1, {"a": 1.0}), (2, {"a": 2.0})
    other = (2, {"a": 2.1})
    assert measure([one], [one, two], [one, other]).beyond.step == 2
    assert measure([one, two], [one], [one]).beyond.difference == math.inf
    assert measure([one], [one, two], [one, other], whole=False).beyond is None
    assert measure([one], [one, two], [one]).beyond is None
    assert measure([(2, {"a": 1.0})], [one], [one]).beyond is not None
    assert measure([(1, {"a": 1.0, "b": 1.0})], [one], [one]).beyond.name == "b"


def test_nan_is_near_nan_alone(measure: Any) -> None:
    nan, good = [(1, {"a": math.nan})], [(1, {"a": 1.0})]
    assert measure(nan, nan, nan).beyond is None
    assert measure(nan, good, good).beyond.difference == math.inf
    assert measure(good, nan, nan).beyond.difference == math.inf
    assert measure(nan, nan, good).beyond is None


def test_a_tensor_is_held_against_its_own_noise_or_that_of_the_median_tensor(measure: Any) -> None:
    same = [(1, {"a": 1.0})]

    def tensors(**own: float) -> TensorGaps:
        noise = {"still": 0.0, "usual": 0.001, "loud": 0.1}
        return TensorGaps(7, [dict.fromkeys(noise, 1.0) | own, {name: own.get(name, 0.0) for name in noise}], [noise])

    assert measure(same, same, same, tensors=tensors(still=0.0079, usual=0.0079, loud=0.79)).beyond is None
    for name, gap in {"still": 0.0081, "usual": 0.0081, "loud": 0.81}.items():
        beyond = measure(same, same, same, tensors=tensors(**{name: gap})).beyond
        assert (beyond.name, beyond.step, beyond.difference) == (name, 7, gap)
