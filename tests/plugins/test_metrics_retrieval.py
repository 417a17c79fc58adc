from __future__ import annotations

import math
from itertools import combinations, permutations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from trialbook.errors import TrialbookError
from trialbook_plugins.metrics.retrieval import Retrieval

Split = tuple[dict[str, Tensor], dict[str, Tensor]]


def grid_split(seed: int, rows: dict[str, int], group_count: int, dim: int) -> Split:
    """Rows from a coarse grid of directions, so that many cosines are exactly tied and others far apart."""
    random = np.random.default_rng(seed)
    embeddings, groups = {}, {}
    for name, count in rows.items():
        x = random.integers(-1, 2, (count, dim)).astype(np.float32)
        x[:, 0] = np.where(np.abs(x).sum(1) == 0, 1, x[:, 0])
        embeddings[name] = torch.from_numpy(x)
        groups[name] = torch.from_numpy(random.integers(0, group_count, count))
    return embeddings, groups


def chance_of_hit(scores: np.ndarray, own: np.ndarray, k: int) -> float:
    """Share of all orders of the tied rows, listed one by one as subsets, that put an own row among the first ``k``."""
    best = scores[own].max()
    above = int((scores > best + 1e-6).sum())
    tied = [bool(mine) for mine in own[np.abs(scores - best) <= 1e-6]]
    places = k - above
    if places <= 0:
        return 0.0
    if places >= len(tied):
        return 1.0
    subsets = list(combinations(tied, places))
    return sum(any(subset) for subset in subsets) / len(subsets)


def brute_force(x: Tensor, y: Tensor, gx: Tensor, gy: Tensor, k: int) -> float:
    x, y = (v.double().numpy() / np.linalg.norm(v.double().numpy(), axis=1, keepdims=True) for v in (x, y))
    found = []
    for query, group in zip(x, gx.numpy(), strict=True):
        own = gy.numpy() == group
        if own.any():
            found.append(chance_of_hit(y @ query, own, k))
    return float(np.mean(found))


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000), images=st.integers(2, 14), texts=st.integers(2, 14), group_count=st.integers(1, 6),
    dim=st.integers(1, 4), chunk=st.integers(1, 20),
)  # fmt: skip
def test_it_agrees_with_brute_force(seed: int, images: int, texts: int, group_count: int, dim: int, chunk: int):
    """Ties, several captions, uneven groups, rows without partner; within 1e-9 of listing every order of ties."""
    embeddings, groups = grid_split(seed, {"image": images, "text": texts}, group_count, dim)
    ks = [1, 2, 5, 30]
    metric = Retrieval(k=ks, chunk=chunk)
    if not set(groups["image"].tolist()) & set(groups["text"].tolist()):
        with pytest.raises(TrialbookError, match="partner"):
            metric.compute(embeddings=embeddings, groups=groups)
        return
    got = metric.compute(embeddings=embeddings, groups=groups)
    for a, b in permutations(embeddings):
        for k in ks:
            expected = brute_force(embeddings[a], embeddings[b], groups[a], groups[b], k)
            assert got[f"{a[0]}2{b[0]}@{k}"] == pytest.approx(expected, abs=1e-9)


def test_it_agrees_with_random_tie_breaking_by_simulation():
    embeddings, groups = grid_split(3, {"image": 12, "text": 30}, 8, 2)
    random = np.random.default_rng(0)
    x, y = (torch.nn.functional.normalize(v, dim=1).numpy() for v in embeddings.values())
    scores = np.round(x @ y.T, 5)
    has_own = np.isin(groups["image"].numpy(), groups["text"].numpy())
    own = groups["image"].numpy()[:, None] == groups["text"].numpy()[None]
    hits = []
    for _ in range(4000):
        order = np.lexsort((random.random(scores.shape), -scores), axis=1)[:, :5]
        hits.append(np.take_along_axis(own, order, 1).any(1)[has_own].mean())
    got = Retrieval(k=[5]).compute(embeddings=embeddings, groups=groups)["i2t@5"]
    assert 0.05 < got < 0.95
    assert got == pytest.approx(np.mean(hits), abs=5 * np.std(hits) / math.sqrt(len(hits)))


@pytest.mark.parametrize("chunk", [1, 7, 64, 1000])
def test_a_collapsed_model_scores_chance(chunk: int):
    count = 50
    same = torch.randn(1, 33).expand(count, 33)
    noise = 1e-8 * torch.randn(count, 33)
    groups = {name: torch.randperm(count) for name in ("image", "text")}
    got = Retrieval(chunk=chunk).compute(embeddings={"image": same, "text": same + noise}, groups=groups)
    for direction in ("i2t", "t2i"):
        for k in (1, 5, 10):
            assert got[f"{direction}@{k}"] == pytest.approx(k / count)
        assert got[f"{direction}/median_rank"] == pytest.approx((count + 1) / 2)


def test_a_collapsed_model_with_five_captions_an_image_scores_chance_both_ways():
    groups = {"image": torch.arange(20), "text": torch.arange(20).repeat_interleave(5)}
    embeddings = {name: torch.ones(len(rows), 8) for name, rows in groups.items()}
    got = Retrieval(k=[1, 10]).compute(embeddings=embeddings, groups=groups)
    assert got["i2t@1"] == pytest.approx(5 / 100)
    assert got["i2t@10"] == pytest.approx(1 - math.comb(95, 10) / math.comb(100, 10))
    assert got["t2i@1"] == pytest.approx(1 / 20)
    assert got["t2i@10"] == pytest.approx(10 / 20)


def test_any_caption_of_an_image_is_a_hit_and_each_caption_is_a_question():
    angles = {"image": torch.tensor([0.0, 1.0]), "text": torch.tensor([0.1, 0.9, 1.05, 1.3])}
    embeddings = {name: torch.stack([a.cos(), a.sin()], 1) for name, a in angles.items()}
    groups = {"image": torch.tensor([0, 1]), "text": torch.tensor([0, 0, 1, 1])}
    got = Retrieval(k=[1, 2]).compute(embeddings=embeddings, groups=groups)
    assert got["i2t@1"] == 1  # image 1: its caption at 1.05 is nearer than the foreign one at 0.9
    assert got["t2i@1"] == 0.75  # the caption at 0.9 belongs to image 0 but finds image 1
    assert got["t2i@2"] == 1
    assert got["t2i/median_rank"] == 1


@pytest.mark.parametrize("several", [1, 5])
def test_figures_do_not_depend_on_the_block_size_or_the_order_of_rows(several: int):
    torch.manual_seed(0)
    groups = {"image": torch.arange(97), "text": torch.arange(97).repeat_interleave(several)}
    centres = torch.randn(97, 24)
    embeddings = {name: centres[g] + torch.randn(len(g), 24) for name, g in groups.items()}
    embeddings["text"][10:30] = embeddings["text"][10]  # some of them equal
    expected = Retrieval(chunk=10_000).compute(embeddings=embeddings, groups=groups)
    assert 0.1 < expected["i2t@1"] < 0.95
    for chunk in (1, 13, 64, 97, 128):
        assert Retrieval(chunk=chunk).compute(embeddings=embeddings, groups=groups) == expected
    order = {name: torch.randperm(len(g)) for name, g in groups.items()}
    shuffled = Retrieval(chunk=32).compute(
        embeddings={name: x[order[name]] for name, x in embeddings.items()},
        groups={name: g[order[name]] for name, g in groups.items()},
    )
    assert shuffled == pytest.approx(expected, abs=1e-12)


def test_large_groups_need_no_more_than_blocks():
    """Classes instead of pairs: the own rows of a query span many blocks."""
    torch.manual_seed(0)
    groups = {"image": torch.arange(3).repeat(40), "text": torch.arange(3).repeat_interleave(30)}
    embeddings = {name: torch.randn(len(g), 6) for name, g in groups.items()}
    got = Retrieval(k=[1], chunk=8).compute(embeddings=embeddings, groups=groups)
    expected = brute_force(embeddings["image"], embeddings["text"], groups["image"], groups["text"], 1)
    assert got["i2t@1"] == pytest.approx(expected, abs=1e-9)


def test_a_row_without_partner_is_not_asked_but_stays_a_candidate():
    embeddings = {"image": torch.eye(3), "text": torch.tensor([[0.0, 1, 0.1], [0, 0, 1]])}
    groups = {"image": torch.tensor([0, 1, 2]), "text": torch.tensor([0, 2])}
    got = Retrieval(k=[1, 2]).compute(embeddings=embeddings, groups=groups)
    assert got["t2i@1"] == 0.5  # the first text is nearest to image 1, which has no text of its own
    assert got["i2t@1"] == 0.75  # image 0 is tied with both texts, image 2 finds its own, image 1 is not asked
    assert got["i2t@2"] == 1


def test_every_pair_of_three_modalities_is_named_both_ways():
    groups = {name: torch.arange(4) for name in ("image", "text", "audio")}
    embeddings = {name: torch.eye(4) for name in groups}
    got = Retrieval(k=[1]).compute(embeddings=embeddings, groups=groups)
    pairs = {"i2t", "t2i", "i2a", "a2i", "t2a", "a2t"}
    assert got == {f"{p}@1": 1.0 for p in pairs} | {f"{p}/median_rank": 1.0 for p in pairs}


def test_an_embedding_that_is_not_finite_gives_nan_rather_than_a_hit():
    groups = {name: torch.arange(4) for name in ("image", "text")}
    broken = torch.eye(4)
    broken[2, 1] = float("nan")
    got = Retrieval(k=[1]).compute(embeddings={"image": torch.eye(4), "text": broken}, groups=groups)
    assert all(math.isnan(value) for value in got.values())


def test_mixed_precision_around_it_changes_nothing():
    torch.manual_seed(0)
    groups = {name: torch.arange(64) for name in ("image", "text")}
    x = torch.randn(64, 16)
    embeddings = {"image": x, "text": x + 2 * torch.randn(64, 16)}
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = Retrieval().compute(embeddings=embeddings, groups=groups)
    assert inside == Retrieval().compute(embeddings=embeddings, groups=groups)


@pytest.mark.parametrize(("options", "named"), [({"k": []}, "k "), ({"k": [0]}, "k "), ({"chunk": 0}, "chunk")])
def test_wrong_options_are_named(options: dict[str, object], named: str):
    with pytest.raises(ValueError, match=named):
        Retrieval(**options)


def test_one_modality_or_uneven_rows_are_refused():
    with pytest.raises(TrialbookError, match="two modalities"):
        Retrieval().compute(embeddings={"image": torch.eye(2)}, groups={"image": torch.arange(2)})
    with pytest.raises(TrialbookError, match="'text' has 2 rows but 3 groups"):
        Retrieval().compute(
            embeddings={"image": torch.eye(2), "text": torch.eye(2)},
            groups={"image": torch.arange(2), "text": torch.arange(3)},
        )


def test_recall_of_every_query_is_in_the_order_of_its_rows() -> None:
    """Rows out of the order of their groups; the last text has no image, so it asks nothing."""
    images = torch.eye(3)[[2, 0, 1]]
    texts = torch.eye(3)[[0, 1, 1, 2, 0]]
    groups = {"image": torch.tensor([2, 0, 1]), "text": torch.tensor([0, 0, 1, 2, 5])}
    values = Retrieval(k=[1]).compute(embeddings={"image": images, "text": texts}, groups=groups)
    np.testing.assert_array_equal(values.per_sample["t2i@1"], [1, 0, 1, 1, np.nan])
    np.testing.assert_array_equal(values.per_sample["i2t@1"], [1, 0.5, 0.5])  # ties are broken at random
    assert values["t2i@1"] == np.nanmean(values.per_sample["t2i@1"])
