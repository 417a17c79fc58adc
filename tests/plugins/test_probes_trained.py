"""Probes that are trained step by step: detection with queries, reconstruction."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from trialbook_plugins.datasets.shapes import Shapes
from trialbook_plugins.probes import references
from trialbook_plugins.probes.boxes import generalized_iou, match_boxes, to_corners
from trialbook_plugins.probes.detection import DetectionProbe, detection_loss
from trialbook_plugins.probes.pictures import ssim
from trialbook_plugins.probes.reconstruction import ReconstructionProbe


def by_hand(logits: torch.Tensor, boxes: torch.Tensor, truth: torch.Tensor, kinds: torch.Tensor) -> float:
    """The loss of one picture, its assignment found by trying all of them."""
    chances = logits.softmax(-1)

    def cost(order: tuple[int, ...]) -> float:
        return sum(
            float(
                5 * (boxes[q] - truth[t]).abs().sum()
                - 2 * generalized_iou(to_corners(boxes[q]), to_corners(truth[t]))
                - chances[q, kinds[t]]
            )
            for t, q in enumerate(order)
        )

    order = min(itertools.permutations(range(len(boxes)), len(truth)), key=cost)
    wanted = [len(logits[0]) - 1] * len(boxes)
    for t, q in enumerate(order):
        wanted[q] = int(kinds[t])
    weights = [0.1 if kind == len(logits[0]) - 1 else 1.0 for kind in wanted]
    entropy = sum(-w * float(chances[q, k].log()) for q, (k, w) in enumerate(zip(wanted, weights, strict=True))) / sum(
        weights
    )
    apart = sum(
        float(
            5 * (boxes[q] - truth[t]).abs().sum()
            + 2 * (1 - generalized_iou(to_corners(boxes[q]), to_corners(truth[t])))
        )
        for t, q in enumerate(order)
    )
    return entropy + apart / len(truth)


def test_the_detection_loss_is_that_of_the_best_assignment_of_all() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(1, 4, 4, generator=generator, dtype=torch.float64)
    boxes = 0.2 + 0.3 * torch.rand(1, 4, 4, generator=generator, dtype=torch.float64)
    truth = 0.2 + 0.3 * torch.rand(3, 4, generator=generator, dtype=torch.float64)
    kinds = torch.tensor([2, 0, 2])
    found = detection_loss(logits, boxes, [truth], [kinds])
    assert abs(float(found) - by_hand(logits[0], boxes[0], truth, kinds)) < 1e-9
    assert torch.isfinite(detection_loss(logits, boxes, [truth[:0]], [kinds[:0]]))


@pytest.mark.slow
def test_detection_finds_what_is_in_the_tokens_and_nothing_in_noise() -> None:
    splits = Shapes(train=120, test=40, size=64).splits()
    boxes = {name: split.labels("boxes") for name, split in splits.items()}
    scores = {}
    for name in ("oracle", "random"):
        sets = {
            split: references.oracle_features(boxes[split], 8, 8, 16, slots=1) if name == "oracle"
            else references.random_features((len(boxes[split]), 8, 8, 16), (0, len(split)))
            for split in splits
        }  # fmt: skip
        probe = DetectionProbe(queries=4, width=32, depth=1, steps=200, lr=3e-3).fit(sets["train"], boxes["train"])
        found = probe.predict(sets["test"])
        assert all(len(one) == 4 and (np.diff(s) <= 0).all() for one, s in zip(found.boxes, found.scores, strict=True))
        scores[name] = match_boxes(found.boxes, boxes["test"]).iou.mean()
    print(scores)
    assert scores["oracle"] > 0.7  # not 1: it is trained for a few steps
    assert scores["random"] < 0.35


def test_the_same_seed_gives_the_same_probe() -> None:
    split = Shapes(train=20, test=0, size=64).splits()["train"]
    features = references.oracle_features(split.labels("boxes"), 4, 4, 8)
    first, second = (
        DetectionProbe(width=16, depth=1, steps=5).fit(features, split.labels("boxes")).predict(features).boxes
        for _ in range(2)
    )
    assert torch.equal(torch.stack(first), torch.stack(second))


def test_pictures_come_back_from_their_pixels_and_not_from_noise() -> None:
    splits = Shapes(train=80, test=16, size=32).splits()
    images = {name: split.read("image", np.arange(len(split))) for name, split in splits.items()}
    wanted = torch.from_numpy(images["test"]).float() / 255
    found = {}
    for name in ("pixels", "random"):
        sets = {
            split: references.pixel_features(images[split], 8, 8) if name == "pixels"
            else references.random_features((len(images[split]), 8, 8, 48), (0, len(split)))
            for split in splits
        }  # fmt: skip
        made = (
            ReconstructionProbe(width=32, steps=200, batch=8).fit(sets["train"], images["train"]).predict(sets["test"])
        )
        assert made.shape == wanted.shape
        found[name] = float(ssim(made, wanted).mean())
    print(found)
    assert found["pixels"] > found["random"] + 0.1
    assert found["pixels"] > 0.7
