"""Probe ``attribute``: what flattened tokens tell that their mean does not, and cells where there are too many of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from trialbook.contracts import Probed
from trialbook.errors import TrialbookError
from trialbook_plugins.probes.attribute import Attribute
from trialbook_plugins.probes.resampling import bootstrap_interval, share_interval

FRAMES, SIDE, WIDTH = 3, 4, 5


def clips(count: int, seed: int) -> Probed:
    """Frames below one another; in one of them, the class, tokens of the upper half are brighter."""
    generator = torch.Generator().manual_seed(seed)
    which = torch.randint(FRAMES, (count,), generator=generator)
    tokens = torch.randn(count, FRAMES, SIDE, SIDE, WIDTH, generator=generator)
    tokens[torch.arange(count), which, : SIDE // 2] += 2.0
    return Probed(tokens.flatten(1, 2), {"frame": which.tolist()}, None)


def score(**options: object) -> float:
    probe = Attribute(label="frame", **options)  # type: ignore[arg-type]
    return probe.measure(clips(120, 0), {"test": clips(120, 1)}, 0)["test"]["score"]


def test_cells_keep_what_lies_where_and_their_mean_does_not() -> None:
    assert score(pool="mean") < 0.55  # 1/3 is chance
    assert score(pool="flatten") > 0.95
    assert score(pool="flatten", cells=[6, 2]) > 0.95
    assert score(pool="flatten", cells=[1, 4]) < 0.55  # all frames in one cell


def test_cells_are_means_of_the_tokens_in_them() -> None:
    probe, data = Attribute(label="frame", pool="flatten", cells=[6, 2]), clips(4, 0)
    expected = data.features.unflatten(1, (6, 2)).unflatten(3, (2, 2)).mean((2, 4))  # [n, 6, 2, D]
    found = probe._vectors(data.features).unflatten(1, (WIDTH, 6, 2)).permute(0, 2, 3, 1)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("options", [{"pool": "mean", "cells": [2, 2]}, {"pool": "flatten", "cells": [2]}])
def test_cells_that_mean_nothing_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(TrialbookError, match="cells"):
        Attribute(label="frame", **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(("right", "ends"), [(1.0, (27 / 30, 1.0)), (0.0, (0.0, 3 / 30))])
def test_a_share_that_is_the_same_in_every_sample_has_an_interval(right: float, ends: tuple[float, float]) -> None:
    """3 of n + 3: the exact one-sided 95% bound of nothing in 27 is 1 - 0.05^(1/27) = 0.105."""
    found = share_interval([right] * 27)
    assert (found.value, found.low, found.high) == pytest.approx((right, *ends))
    mixed = share_interval([0.0, 1.0] * 13)
    assert (mixed.low, mixed.high) == (
        bootstrap_interval([0.0, 1.0] * 13).low,
        bootstrap_interval([0.0, 1.0] * 13).high,
    )


def test_samples_without_a_class_do_not_count() -> None:
    rng = np.random.default_rng(0)
    features = torch.from_numpy(rng.normal(size=(40, 1, 1, 6))).float()
    kinds = [int(one) for one in features[:, 0, 0, 0] > 0]
    more = torch.cat([features, torch.from_numpy(rng.normal(size=(8, 1, 1, 6))).float()])
    probe = Attribute(label="kind")
    plain, padded = (
        Probed(rows, {"kind": labels}, None) for rows, labels in ((features, kinds), (more, [*kinds, *[-1] * 8]))
    )
    assert probe.measure(padded, {"test": padded}, 0) == probe.measure(plain, {"test": plain}, 0)
    assert probe.measure(padded, {"test": padded}, 0)["test"]["chance"] == 0.5
