from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import pdist
from torch import Tensor

from trialbook.errors import TrialbookError
from trialbook_plugins.metrics import _rows
from trialbook_plugins.metrics.alignment_uniformity import AlignmentUniformity


def unit(x: Tensor) -> np.ndarray:
    array = x.double().numpy()
    return array / np.linalg.norm(array, axis=1, keepdims=True)


def alignment_by_hand(x: Tensor, y: Tensor, gx: Tensor, gy: Tensor, alpha: float) -> float:
    distances = [
        np.linalg.norm(a - b) ** alpha
        for a, i in zip(unit(x), gx.tolist(), strict=True)
        for b, j in zip(unit(y), gy.tolist(), strict=True)
        if i == j
    ]
    return float(np.mean(distances))


def uniformity_by_hand(x: Tensor, t: float) -> float:
    return float(np.log(np.mean(np.exp(-t * pdist(unit(x), "sqeuclidean")))))


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000), images=st.integers(2, 14), texts=st.integers(2, 14), group_count=st.integers(1, 6),
    alpha=st.sampled_from([0.5, 1.0, 2.0, 3.0]), t=st.sampled_from([0.5, 2.0, 50.0]), chunk=st.integers(1, 20),
)  # fmt: skip
def test_it_agrees_with_loops_and_scipy(
    seed: int, images: int, texts: int, group_count: int, alpha: float, t: float, chunk: int
):
    """Uneven groups, several captions, rows without partner; float32 cosines, so 1e-6 times the largest exponent 4t."""
    generator = torch.Generator().manual_seed(seed)
    rows = {name: torch.randn(n, 5, generator=generator) for name, n in {"image": images, "text": texts}.items()}
    groups = {name: torch.randint(group_count, (len(x),), generator=generator) for name, x in rows.items()}
    metric = AlignmentUniformity(alpha=alpha, t=t, chunk=chunk)
    if not set(groups["image"].tolist()) & set(groups["text"].tolist()):
        with pytest.raises(TrialbookError, match="partner"):
            metric.compute(embeddings=rows, groups=groups)
        return
    got = metric.compute(embeddings=rows, groups=groups)
    expected = alignment_by_hand(rows["image"], rows["text"], groups["image"], groups["text"], alpha)
    assert got["alignment/image-text"] == pytest.approx(expected, abs=1e-5)
    for name, x in rows.items():
        assert got[f"uniformity/{name}"] == pytest.approx(uniformity_by_hand(x, t), abs=5e-6 * t)


def test_known_values():
    """Partners at a right angle, rows of a modality opposite each other."""
    rows = {"image": torch.tensor([[2.0, 0], [-3, 0]]), "text": torch.tensor([[0.0, 1], [0, -1]])}
    groups = {name: torch.arange(2) for name in rows}
    got = AlignmentUniformity().compute(embeddings=rows, groups=groups)
    assert got == {
        "alignment/image-text": pytest.approx(2),
        "uniformity/image": pytest.approx(-8),
        "uniformity/text": pytest.approx(-8),
    }
    assert AlignmentUniformity(alpha=1.0).compute(embeddings=rows, groups=groups)[
        "alignment/image-text"
    ] == pytest.approx(math.sqrt(2))


def test_even_rows_on_a_wide_sphere_come_near_the_mean_of_the_sphere():
    """E exp(-t ‖x - y‖²) = e^(-2t) E e^(2tc), and E e^(2tc) is e^(2t²/d) up to the fourth order."""
    torch.manual_seed(0)
    rows = {name: torch.randn(1500, 256) for name in ("image", "text")}
    groups = {name: torch.arange(1500) for name in rows}
    got = AlignmentUniformity().compute(embeddings=rows, groups=groups)
    assert got["alignment/image-text"] == pytest.approx(2, abs=0.02)  # 1 sd is 2 / sqrt(256 * 1500)
    assert got["uniformity/text"] == pytest.approx(-4 + 8 / 256, abs=0.002)


def test_equal_rows_have_perfect_alignment_and_the_worst_uniformity():
    rows = {name: torch.randn(1, 33).expand(40, 33) for name in ("image", "text")}
    rows["text"] = rows["image"]
    groups = {name: torch.arange(40) for name in rows}
    got = AlignmentUniformity().compute(embeddings=rows, groups=groups)
    assert got == {key: pytest.approx(0, abs=1e-6) for key in got}


@pytest.mark.parametrize("chunk", [1, 7, 64])
def test_block_sizes_change_nothing(chunk: int, monkeypatch: pytest.MonkeyPatch):
    torch.manual_seed(0)
    groups = {"image": torch.randperm(50) % 20, "text": torch.arange(90) % 25}
    rows = {name: torch.randn(len(g), 12) for name, g in groups.items()}
    expected = AlignmentUniformity().compute(embeddings=rows, groups=groups)
    monkeypatch.setattr(_rows, "PAIRS_AT_ONCE", chunk)
    assert AlignmentUniformity(chunk=chunk).compute(embeddings=rows, groups=groups) == pytest.approx(expected, abs=1e-6)


def test_a_single_row_has_alignment_but_no_uniformity():
    rows = {"image": torch.tensor([[1.0, 0]]), "text": torch.tensor([[1.0, 1]])}
    groups = {name: torch.tensor([3]) for name in rows}
    got = AlignmentUniformity().compute(embeddings=rows, groups=groups)
    assert got["alignment/image-text"] == pytest.approx(2 - math.sqrt(2))
    assert math.isnan(got["uniformity/image"])
    assert math.isnan(got["uniformity/text"])


def test_an_embedding_that_is_not_finite_gives_nan():
    rows = {"image": torch.randn(4, 3), "text": torch.randn(4, 3)}
    groups = {name: torch.arange(4) for name in rows}
    rows["text"][2, 1] = math.nan
    got = AlignmentUniformity().compute(embeddings=rows, groups=groups)
    assert math.isnan(got["alignment/image-text"])
    assert math.isnan(got["uniformity/text"])
    assert math.isfinite(got["uniformity/image"])


def test_half_precision_and_mixed_precision_are_measured_in_full():
    torch.manual_seed(0)
    half = {name: torch.randn(30, 16).half() for name in ("image", "text")}
    groups = {name: torch.arange(30) for name in half}
    full = AlignmentUniformity().compute(embeddings={name: x.float() for name, x in half.items()}, groups=groups)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert AlignmentUniformity().compute(embeddings=half, groups=groups) == full


def test_three_modalities_give_three_alignments():
    rows = {name: torch.randn(5, 4) for name in ("image", "text", "audio")}
    got = AlignmentUniformity().compute(embeddings=rows, groups={name: torch.arange(5) for name in rows})
    couples = ["image-text", "image-audio", "text-audio"]
    assert set(got) == {f"alignment/{couple}" for couple in couples} | {f"uniformity/{name}" for name in rows}


def test_one_modality_or_uneven_rows_are_refused():
    with pytest.raises(TrialbookError, match="two modalities"):
        AlignmentUniformity().compute(embeddings={"image": torch.eye(2)}, groups={"image": torch.arange(2)})
    with pytest.raises(TrialbookError, match="'text' has 2 rows but 3 groups"):
        AlignmentUniformity().compute(
            embeddings={"image": torch.eye(2), "text": torch.eye(2)},
            groups={"image": torch.arange(2), "text": torch.arange(3)},
        )


@pytest.mark.parametrize(
    ("options", "named"), [({"alpha": 0.0}, "alpha"), ({"t": -1.0}, "t "), ({"chunk": 0}, "chunk")]
)
def test_wrong_options_are_named(options: dict[str, object], named: str):
    with pytest.raises(ValueError, match=named):
        AlignmentUniformity(**options)
