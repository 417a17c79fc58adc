"""Spatial probes on generated shapes: the ceiling is 1, the floors are near 0, and what lies between can be told apart."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import scipy.optimize
import torch

from trialbook.errors import TrialbookError
from trialbook_plugins.datasets.shapes import Shapes
from trialbook_plugins.probes import references
from trialbook_plugins.probes.boxes import (
    assign,
    coverage,
    generalized_iou,
    iou,
    match_boxes,
    occupancy,
    to_centres,
    to_corners,
)
from trialbook_plugins.probes.occupancy import boxes_from_maps, largest_sums
from trialbook_plugins.probes.spatial import MLPSettings, PooledBoxProbe, TokenBoxProbe

GRID, PATCH, WIDTH = 14, 16, 192


@cache
def shapes(objects: int = 1):
    return Shapes(train=200, test=80, objects=objects).splits()


@cache
def images(split: str, objects: int = 1) -> np.ndarray:
    part = shapes(objects)[split]
    return part.read("image", np.arange(len(part)))


@cache
def embedded(split: str, objects: int = 1) -> torch.Tensor:
    """An untrained patch embedding: random filters over patches of 16 × 16 pixels, [n, 14, 14, 192]."""
    pixels = references.pixel_features(images(split, objects), GRID, GRID)[slice(None)]
    return pixels @ torch.randn(3 * PATCH**2, WIDTH, generator=torch.Generator().manual_seed(0)) / 28


@cache
def sets(split: str, objects: int = 1) -> dict:
    part = shapes(objects)[split]
    number = ("train", "test").index(split)
    patches, shown = embedded(split, objects), images(split, objects)
    return {
        "patches": patches,
        "oracle": references.oracle_features(part.labels("boxes"), GRID, GRID, WIDTH, slots=objects),
        "shuffled": references.shuffled_tokens(patches, (0, number)),
        "random": references.random_features(tuple(patches.shape), (0, number)),
        "pixels": references.pixel_features(shown, GRID, GRID),
    }


def score(probe, name: str, objects: int = 1) -> float:
    train, test = (shapes(objects)[split].labels("boxes") for split in ("train", "test"))
    probe.fit(sets("train", objects)[name], train)
    return match_boxes(probe.predict(sets("test", objects)[name]).boxes, test).iou.mean()


def test_one_object_read_per_token_stands_between_its_ceiling_and_its_floors() -> None:
    found = {name: score(TokenBoxProbe(), name) for name in sets("test")}
    print({name: round(value, 3) for name, value in found.items()})
    assert found["oracle"] >= 0.99
    assert found["shuffled"] <= 0.05
    assert found["random"] <= 0.05
    assert found["patches"] >= 0.7
    assert 0.3 < found["pixels"] < 0.99


def test_mean_pooling_hides_position_and_is_flagged() -> None:
    pooled = score(PooledBoxProbe(pool="mean"), "patches")
    assert score(PooledBoxProbe(pool="mean"), "oracle") >= 0.99
    assert pooled < 0.15  # about what the mean box of all pictures gives
    means = embedded("test").mean((1, 2), keepdim=True)
    assert references.is_position_blind(means)
    assert references.is_position_blind(means.expand(-1, GRID, GRID, -1))
    assert not references.is_position_blind(embedded("test"))


def test_several_objects_are_matched_whatever_their_order() -> None:
    found = {name: score(TokenBoxProbe(count=3), name, objects=3) for name in ("oracle", "patches", "shuffled")}
    print({name: round(value, 3) for name, value in found.items()})
    assert found["oracle"] >= 0.99
    assert found["shuffled"] <= 0.05
    assert found["patches"] > 0.4
    assert score(PooledBoxProbe(slots=3, pool="mean"), "oracle", objects=3) >= 0.99


def test_boxes_per_class_come_from_a_map_for_each_class() -> None:
    part = shapes(3)["test"]
    boxes, classes = part.labels("boxes"), part.labels("classes")
    features = references.oracle_features(boxes, GRID, GRID, 64, classes=classes, class_count=5)
    found = TokenBoxProbe(class_count=5, count=3).fit(features, boxes, classes).predict(features)
    scores = match_boxes(found.boxes, boxes, found.classes, classes)
    assert scores.iou.mean() >= 0.99
    assert match_boxes(found.boxes, boxes, [c + 1 for c in found.classes], classes).iou.mean() < 0.1


def test_an_mlp_reads_at_least_what_a_linear_map_reads() -> None:
    mlp = MLPSettings(hidden=24, steps=120, batch=256, samples=10_000)
    assert score(TokenBoxProbe(mlp=mlp), "patches") > score(TokenBoxProbe(), "patches") - 0.03
    assert score(TokenBoxProbe(mlp=mlp), "oracle") > 0.9


@pytest.mark.parametrize("seed", range(5))
def test_the_coverage_of_a_box_gives_the_box(seed: int) -> None:
    rng = np.random.default_rng(seed)
    low = rng.uniform(0, 0.5, (40, 2))
    boxes = np.concatenate([low, low + rng.uniform(2 / 9, 0.5, (40, 2))], axis=1)
    found, scores = boxes_from_maps(coverage(boxes, 12, 9))
    np.testing.assert_allclose(found[:, 0], boxes, atol=1e-9)
    assert (scores > 0.4).all()


def test_the_largest_rectangle_is_that_of_all_rectangles() -> None:
    maps = torch.randn(20, 5, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for one, (first, end, begin, stop) in zip(maps, largest_sums(maps).tolist(), strict=True):
        every = [
            one[a:b, c:d].sum() for a in range(5) for b in range(a + 1, 6) for c in range(6) for d in range(c + 1, 7)
        ]
        assert one[first:end, begin:stop].sum() == pytest.approx(float(max(every)))


def test_coverage_is_the_share_of_pixels() -> None:
    box = np.array([[3, 5, 40, 21]]) / 64
    pixels = np.zeros((64, 64))
    pixels[5:21, 3:40] = 1
    np.testing.assert_allclose(coverage(box, 8, 8)[0], pixels.reshape(8, 8, 8, 8).mean((1, 3)), atol=1e-12)
    assert occupancy(box, 8, 8, [1], 3)[1].equal(coverage(box, 8, 8)[0])


def test_overlaps_of_known_boxes() -> None:
    a, b = torch.tensor([0.0, 0, 2, 2]), torch.tensor([1.0, 1, 3, 3])
    assert iou(a, b) == pytest.approx(1 / 7)
    assert generalized_iou(a, b) == pytest.approx(1 / 7 - 2 / 9)
    assert iou(a, torch.tensor([5.0, 5, 6, 6])) == 0
    assert torch.equal(to_corners(to_centres(b)), b)


def test_matching_takes_the_best_pairs_overall() -> None:
    cost = torch.rand(6, 4, generator=torch.Generator().manual_seed(0))
    rows, columns = assign(cost)
    expected = scipy.optimize.linear_sum_assignment(cost.numpy())
    assert cost[rows, columns].sum() == pytest.approx(float(cost.numpy()[expected].sum()))
    truth = [np.array([[0, 0, 0.2, 0.2], [0.5, 0.5, 1, 1]])]
    scores = match_boxes([truth[0][::-1]], truth)
    assert scores.iou.mean() == 1
    assert match_boxes([np.zeros((0, 4))], truth).iou.mean() == 0
    assert match_boxes([truth[0][:1]], truth).recall() == 0.5
    assert match_boxes([np.concatenate([truth[0]] * 2)], truth).precision() == 0.5


def test_features_that_are_no_grid_are_refused() -> None:
    with pytest.raises(TrialbookError, match="grid"):
        TokenBoxProbe().fit(torch.zeros(3, 4, 5), [np.zeros((1, 4))] * 3)
    with pytest.raises(TrialbookError, match="3 pictures and boxes of 2"):
        TokenBoxProbe().fit(torch.zeros(3, 4, 4, 5), [np.zeros((1, 4))] * 2)
