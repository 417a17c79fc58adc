from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.linalg
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trialbook_plugins.metrics.effective_rank import EffectiveRank


def rank_of(x: torch.Tensor, **options: bool) -> float:
    return EffectiveRank(**options).compute(embeddings={"image": x})["image"]


def by_hand(x: torch.Tensor, *, normalize: bool, center: bool) -> float:
    """From scipy's singular values and entropy, in float64."""
    rows = x.double().numpy()
    if normalize:
        rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    if center:
        rows = rows - rows.mean(axis=0)
    return float(np.exp(scipy.stats.entropy(scipy.linalg.svdvals(rows))))


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000), rows=st.integers(3, 30), dim=st.integers(3, 30), offset=st.sampled_from([0.0, 5.0]),
    normalize=st.booleans(), center=st.booleans(),
)  # fmt: skip
def test_it_agrees_with_scipy(seed: int, rows: int, dim: int, offset: float, normalize: bool, center: bool):
    """Within 1e-5: rounding to float32, and singular values from eigenvalues, both far below it."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, dim, generator=generator) * torch.logspace(0, -2, dim) + offset
    expected = by_hand(x, normalize=normalize, center=center)
    assert rank_of(x, normalize=normalize, center=center) == pytest.approx(expected, rel=1e-5)


def test_known_values():
    """An orthogonal basis uses all directions alike; singular values 3 and 1 give their entropy."""
    assert rank_of(torch.eye(7), center=False) == pytest.approx(7)
    assert rank_of(torch.eye(7)) == pytest.approx(6)  # the mean takes one away
    assert rank_of(torch.diag(torch.tensor([3.0, 1])), normalize=False, center=False) == pytest.approx(
        math.exp(-(0.75 * math.log(0.75) + 0.25 * math.log(0.25)))
    )


def test_the_share_is_that_of_the_width():
    got = EffectiveRank().compute(embeddings={"image": torch.randn(20, 8), "text": torch.randn(20, 5)})
    assert set(got) == {"image", "image/share", "text", "text/share"}
    assert got["image/share"] == pytest.approx(got["image"] / 8)
    assert got["text/share"] == pytest.approx(got["text"] / 5)


@pytest.mark.parametrize("center", [True, False])
@pytest.mark.parametrize("rows", [1, 50])
def test_equal_rows_count_one(rows: int, center: bool):
    x = torch.randn(1, 33).expand(rows, 33) * (1 + torch.rand(rows, 1))
    assert rank_of(x, center=center) == pytest.approx(1, abs=1e-9)
    assert rank_of(torch.zeros(rows, 4), center=center) == pytest.approx(1)


def test_rows_on_a_plane_have_two_directions_at_most():
    torch.manual_seed(0)
    x = torch.randn(200, 2) @ torch.linalg.qr(torch.randn(64, 2))[0].T
    assert rank_of(x) == pytest.approx(2, abs=0.05)


def test_a_common_offset_counts_only_without_centering():
    torch.manual_seed(0)
    x = torch.randn(100, 16) + 20
    assert rank_of(x) > 14
    assert rank_of(x, center=False) < 8


def test_length_counts_only_without_normalising():
    torch.manual_seed(0)
    x = torch.randn(60, 8)
    longer = x * torch.rand(60, 1).add(0.1)
    assert rank_of(longer) == pytest.approx(rank_of(x), rel=1e-5)
    assert rank_of(longer, normalize=False) != pytest.approx(rank_of(x, normalize=False), rel=1e-3)


def test_more_directions_than_rows_are_never_found():
    torch.manual_seed(0)
    assert rank_of(torch.randn(10, 500)) == pytest.approx(9, rel=0.01)


def test_an_embedding_that_is_not_finite_gives_nan():
    x = torch.randn(5, 4)
    x[1, 2] = math.inf
    got = EffectiveRank().compute(embeddings={"image": x, "text": torch.randn(5, 4)})
    assert math.isnan(got["image"])
    assert math.isnan(got["image/share"])
    assert got["text"] > 1


def test_half_precision_and_mixed_precision_are_measured_in_full():
    torch.manual_seed(0)
    half = torch.randn(30, 16).half()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert rank_of(half) == rank_of(half.float())
