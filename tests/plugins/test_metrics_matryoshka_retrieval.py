from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from trialbook.errors import TrialbookError
from trialbook_plugins.metrics.matryoshka_retrieval import MatryoshkaRetrieval
from trialbook_plugins.metrics.retrieval import Retrieval

Split = tuple[dict[str, Tensor], dict[str, Tensor]]


def noisy_split(seed: int, captions: int = 1, count: int = 60, dim: int = 16) -> Split:
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(count, dim, generator=generator)
    groups = {"image": torch.arange(count), "text": torch.arange(count).repeat_interleave(captions)}
    rows = {name: centres[g] + torch.randn(len(g), dim, generator=generator) for name, g in groups.items()}
    return rows, groups


def recall_by_hand(x: Tensor, y: Tensor, gx: Tensor, gy: Tensor, size: int, k: int) -> float:
    """Sorted in float64, after cutting and normalising; without ties."""
    x, y = (v[:, :size].double().numpy() for v in (x, y))
    x, y = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (x, y))
    hits = []
    for query, group in zip(x, gx.tolist(), strict=True):
        nearest = np.argsort(-(y @ query))[:k]
        hits.append(any(gy[i] == group for i in nearest))
    return float(np.mean(hits))


@pytest.mark.parametrize("captions", [1, 3])
def test_it_agrees_with_sorting_cut_embeddings(captions: int):
    rows, groups = noisy_split(0, captions)
    got = MatryoshkaRetrieval(dims=[2, 5, 16], k=[1, 4]).compute(embeddings=rows, groups=groups)
    for size in (2, 5, 16):
        for k in (1, 4):
            for a, b in (("image", "text"), ("text", "image")):
                expected = recall_by_hand(rows[a], rows[b], groups[a], groups[b], size, k)
                assert got[f"{a[0]}2{b[0]}@{k}/d{size}"] == pytest.approx(expected, abs=1e-12)
    assert got["i2t@1/d2"] < got["i2t@1/d16"]


def test_the_share_kept_is_that_of_the_widest_size():
    rows, groups = noisy_split(1)
    got = MatryoshkaRetrieval(dims=[12, 4, 8], k=[1]).compute(embeddings=rows, groups=groups)
    for size in (4, 8, 12):
        assert got[f"t2i@1/kept/d{size}"] == pytest.approx(got[f"t2i@1/d{size}"] / got["t2i@1/d12"])
    assert got["i2t@1/kept/d12"] == 1


def test_the_full_width_is_plain_retrieval():
    rows, groups = noisy_split(2, captions=2)
    cut = MatryoshkaRetrieval(dims=[16]).compute(embeddings=rows, groups=groups)
    plain = Retrieval().compute(embeddings=rows, groups=groups)
    for name, value in plain.items():
        if "@" in name:
            assert cut[f"{name}/d16"] == value


def test_ties_are_not_hits_at_any_size():
    """Rows that are equal in their first numbers and differ beyond."""
    rows = {name: torch.cat([torch.ones(20, 2), 9 * torch.eye(20)], dim=1) for name in ("image", "text")}
    groups = {name: torch.arange(20) for name in rows}
    got = MatryoshkaRetrieval(dims=[2, 22], k=[1, 5]).compute(embeddings=rows, groups=groups)
    assert got["i2t@1/d2"] == pytest.approx(1 / 20)
    assert got["i2t@5/d2"] == got["i2t@5/kept/d2"] == pytest.approx(5 / 20)
    assert got["i2t@1/d22"] == 1


def test_where_the_widest_finds_nothing_nothing_is_kept():
    rows = {"image": torch.eye(2), "text": torch.eye(2).flip(0)}
    groups = {name: torch.arange(2) for name in rows}
    got = MatryoshkaRetrieval(dims=[2], k=[1]).compute(embeddings=rows, groups=groups)
    assert got["i2t@1/d2"] == 0
    assert got["i2t@1/kept/d2"] == 0


def test_one_row_is_found_and_nan_is_nan():
    one = {"image": torch.ones(1, 4), "text": torch.ones(1, 4)}
    groups = {name: torch.zeros(1, dtype=torch.int64) for name in one}
    metric = MatryoshkaRetrieval(dims=[1, 4], k=[1])
    assert set(metric.compute(embeddings=one, groups=groups).values()) == {1.0}
    one["text"][0, 0] = math.nan
    assert all(math.isnan(value) for value in metric.compute(embeddings=one, groups=groups).values())


def test_half_precision_is_measured_in_full():
    rows, groups = noisy_split(3)
    half = {name: x.half() for name, x in rows.items()}
    metric = MatryoshkaRetrieval(dims=[4, 16])
    full = metric.compute(embeddings={name: x.float() for name, x in half.items()}, groups=groups)
    assert metric.compute(embeddings=half, groups=groups) == full


def test_rows_without_partner_are_not_asked():
    rows, groups = noisy_split(4)
    fewer = {"image": rows["image"], "text": rows["text"][:30]}
    short = {"image": groups["image"], "text": groups["text"][:30]}
    got = MatryoshkaRetrieval(dims=[8], k=[1]).compute(embeddings=fewer, groups=short)
    asked = {"image": fewer["image"][:30], "text": fewer["text"]}
    expected = recall_by_hand(asked["image"], asked["text"], torch.arange(30), torch.arange(30), 8, 1)
    assert got["i2t@1/d8"] == pytest.approx(expected)


def test_a_size_above_the_width_is_named_when_made_and_when_computed():
    with pytest.raises(ValueError, match=r"dims \(64\).*32"):
        MatryoshkaRetrieval(32, dims=[8, 64])
    rows, groups = noisy_split(0)
    with pytest.raises(TrialbookError, match=r"64.*'image'.*16 wide"):
        MatryoshkaRetrieval(dims=[8, 64]).compute(embeddings=rows, groups=groups)


@pytest.mark.parametrize(
    ("options", "named"),
    [({"dims": []}, "dims"), ({"dims": [4, 4]}, "dims"), ({"dims": [0]}, "dims"), ({"dims": [4], "k": []}, "k ")],
)
def test_wrong_options_are_named(options: dict[str, list[int]], named: str):
    with pytest.raises(ValueError, match=named):
        MatryoshkaRetrieval(**options)
