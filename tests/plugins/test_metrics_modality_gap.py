from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics.pairwise import cosine_similarity
from sklearn.preprocessing import normalize

from trialbook.errors import TrialbookError
from trialbook_plugins.metrics import _rows
from trialbook_plugins.metrics.modality_gap import ModalityGap


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000), images=st.integers(1, 14), texts=st.integers(1, 14), group_count=st.integers(1, 6),
    offset=st.sampled_from([0.0, 3.0]),
)  # fmt: skip
def test_it_agrees_with_sklearn(seed: int, images: int, texts: int, group_count: int, offset: float):
    """Uneven groups and rows without partner; float32 rows of length 1, so 1e-6."""
    generator = torch.Generator().manual_seed(seed)
    rows = {name: torch.randn(n, 6, generator=generator) for name, n in {"image": images, "text": texts}.items()}
    rows["text"][:, 0] += offset
    groups = {name: torch.randint(group_count, (len(x),), generator=generator) for name, x in rows.items()}
    own = groups["image"].numpy()[:, None] == groups["text"].numpy()[None]
    if not own.any():
        with pytest.raises(TrialbookError, match="partner"):
            ModalityGap().compute(embeddings=rows, groups=groups)
        return
    got = ModalityGap().compute(embeddings=rows, groups=groups)
    x, y = (normalize(v.double().numpy()) for v in rows.values())
    cosines = cosine_similarity(x, y)
    assert got["image-text"] == pytest.approx(np.linalg.norm(x.mean(0) - y.mean(0)), abs=1e-6)
    assert got["image-text/positive"] == pytest.approx(cosines[own].mean(), abs=1e-6)
    if own.all():
        assert math.isnan(got["image-text/negative"])
    else:
        assert got["image-text/negative"] == pytest.approx(cosines[~own].mean(), abs=1e-6 * own.size)


def test_known_values():
    """Opposite cones: the centroids two apart, as far as can be; and perfect partners without a gap."""
    rows = {"image": torch.tensor([[1.0, 0], [2, 0]]), "text": torch.tensor([[-1.0, 0], [-5, 0]])}
    groups = {name: torch.arange(2) for name in rows}
    got = ModalityGap().compute(embeddings=rows, groups=groups)
    assert got == {"image-text": 2, "image-text/positive": -1, "image-text/negative": -1}
    same = {name: torch.eye(4) for name in rows}
    got = ModalityGap().compute(embeddings=same, groups={name: torch.arange(4) for name in rows})
    assert got == {"image-text": 0, "image-text/positive": 1, "image-text/negative": 0}


def test_a_gap_of_shifted_centres_is_the_shift():
    """Two points on either side of each centre: ‖mean difference‖ = 2 sin(angle / 2) cos(spread)."""
    angles = {"image": torch.tensor([-0.2, 0.2]), "text": torch.tensor([0.8, 1.2])}
    rows = {name: torch.stack([a.cos(), a.sin()], 1) for name, a in angles.items()}
    got = ModalityGap().compute(embeddings=rows, groups={name: torch.arange(2) for name in rows})
    assert got["image-text"] == pytest.approx(2 * math.sin(0.5) * math.cos(0.2), abs=1e-6)
    assert got["image-text/positive"] == pytest.approx(math.cos(1), abs=1e-6)


def test_many_captions_an_image_count_pair_by_pair(monkeypatch: pytest.MonkeyPatch):
    torch.manual_seed(0)
    groups = {"image": torch.arange(7), "text": torch.arange(7).repeat_interleave(5)}
    rows = {name: torch.randn(len(g), 9) for name, g in groups.items()}
    expected = ModalityGap().compute(embeddings=rows, groups=groups)
    order = torch.randperm(35)
    monkeypatch.setattr(_rows, "PAIRS_AT_ONCE", 4)
    rows["text"], groups["text"] = rows["text"][order], groups["text"][order]
    assert ModalityGap().compute(embeddings=rows, groups=groups) == pytest.approx(expected, abs=1e-7)


def test_a_single_pair_has_no_other_pairs():
    rows = {"image": torch.tensor([[1.0, 0]]), "text": torch.tensor([[0.0, 2]])}
    got = ModalityGap().compute(embeddings=rows, groups={name: torch.tensor([0]) for name in rows})
    assert (got["image-text"], got["image-text/positive"]) == (pytest.approx(math.sqrt(2)), 0)
    assert math.isnan(got["image-text/negative"])


def test_rows_without_partner_count_in_the_centroid_and_among_the_others():
    rows = {"image": torch.tensor([[1.0, 0], [0, 1]]), "text": torch.tensor([[1.0, 0]])}
    groups = {"image": torch.tensor([0, 1]), "text": torch.tensor([0])}
    got = ModalityGap().compute(embeddings=rows, groups=groups)
    assert got == {"image-text": pytest.approx(math.sqrt(0.5)), "image-text/positive": 1, "image-text/negative": 0}


def test_an_embedding_that_is_not_finite_gives_nan():
    rows = {"image": torch.randn(4, 3), "text": torch.randn(4, 3)}
    rows["text"][2, 1] = math.nan
    got = ModalityGap().compute(embeddings=rows, groups={name: torch.arange(4) for name in rows})
    assert all(math.isnan(value) for value in got.values())


def test_half_precision_is_measured_in_full():
    torch.manual_seed(0)
    half = {name: torch.randn(30, 16).half() for name in ("image", "text")}
    groups = {name: torch.arange(30) for name in half}
    full = ModalityGap().compute(embeddings={name: x.float() for name, x in half.items()}, groups=groups)
    assert ModalityGap().compute(embeddings=half, groups=groups) == full


def test_one_modality_or_uneven_rows_are_refused():
    with pytest.raises(TrialbookError, match="two modalities"):
        ModalityGap().compute(embeddings={"image": torch.eye(2)}, groups={"image": torch.arange(2)})
    with pytest.raises(TrialbookError, match="'text' has 2 rows but 3 groups"):
        ModalityGap().compute(
            embeddings={"image": torch.eye(2), "text": torch.eye(2)},
            groups={"image": torch.arange(2), "text": torch.arange(3)},
        )
