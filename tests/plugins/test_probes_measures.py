"""Detection and picture measures against pycocotools, scikit-image and the lpips package."""

from __future__ import annotations

import json
import os
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from trialbook.contracts import Probed
from trialbook.errors import TrialbookError
from trialbook_plugins.datasets.moving_shapes import DIRECTIONS
from trialbook_plugins.probes._box_figures import box_figures
from trialbook_plugins.probes.average_precision import AveragePrecision, average_precision
from trialbook_plugins.probes.boxes import classed, match_boxes
from trialbook_plugins.probes.perceptual import lpips, perceptual_random
from trialbook_plugins.probes.pictures import (
    direction_accuracy,
    directions,
    edge_f1,
    foreground,
    spatial_iou,
    ssim,
)
from trialbook_plugins.probes.resampling import drawn_counts
from trialbook_plugins.probes.spatial import FoundBoxes


def evaluate(truth: dict, results: list) -> np.ndarray:
    """pycocotools' AP and AP at 0.5 of boxes."""
    pytest.importorskip("pycocotools")
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    coco = COCO()
    coco.dataset = truth
    coco.createIndex()
    run = COCOeval(coco, coco.loadRes(results), "bbox")
    run.evaluate()
    run.accumulate()
    run.summarize()
    return run.stats[:2]


def corners(boxes: list) -> np.ndarray:
    boxes = np.array(boxes, dtype=np.float64).reshape(-1, 4)
    return np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)


def own(truth: dict, results: list) -> tuple[float, float]:
    scores = scored(truth, results)
    return scores.mean, scores.at(0.5)


def scored(truth: dict, results: list, **options: int) -> AveragePrecision:
    pictures = sorted(image["id"] for image in truth["images"])
    notes = [[a for a in truth["annotations"] if a["image_id"] == i] for i in pictures]
    found = [[r for r in results if r["image_id"] == i] for i in pictures]
    return average_precision(
        [corners([r["bbox"] for r in f]) for f in found], [[r["score"] for r in f] for f in found],
        [[r["category_id"] for r in f] for f in found], [corners([a["bbox"] for a in n]) for n in notes],
        [[a["category_id"] for a in n] for n in notes], [[a["iscrowd"] for a in n] for n in notes], **options,
    )  # fmt: skip


def tied(seed: int, pictures: int = 8) -> tuple[dict, list]:
    """Truth and detections whose coordinates are small integers: scores, overlaps and thresholds are often equal."""
    rng = np.random.default_rng(seed)

    def box() -> list[float]:
        low = rng.integers(0, 6, 2)
        return [*low.astype(float).tolist(), *rng.integers(1, 5, 2).astype(float).tolist()]

    annotations, results = [], []
    for image in range(1, pictures + 1):
        for _ in range(rng.integers(0, 6)):
            annotations.append({
                "id": len(annotations) + 1, "image_id": image, "category_id": int(rng.integers(1, 4)), "bbox": box(),
                "iscrowd": int(rng.random() < 0.25),
            })  # fmt: skip
            annotations[-1]["area"] = annotations[-1]["bbox"][2] * annotations[-1]["bbox"][3]
        for _ in range(rng.integers(0, 12)):
            near = rng.random() < 0.6 and annotations
            guess = annotations[rng.integers(len(annotations))]["bbox"] if near else box()
            score = float(rng.integers(1, 5)) / 4
            results.append({"image_id": image, "category_id": int(rng.integers(1, 5)), "bbox": guess, "score": score})
    truth = {
        "images": [{"id": i} for i in range(1, pictures + 1)],
        "categories": [{"id": i} for i in range(1, 5)],
        "annotations": annotations,
    }
    return truth, results


@pytest.mark.parametrize("seed", range(12))
def test_ap_agrees_with_pycocotools_with_ties_and_crowds(seed: int, capsys) -> None:
    """Within 1e-12."""
    truth, results = tied(seed)
    np.testing.assert_allclose(own(truth, results), evaluate(truth, results), atol=1e-12)


def drawn_set(truth: dict, results: list, counts: np.ndarray) -> tuple[dict, list]:
    """A set in which every picture is as often as ``counts`` says, with its truth and its detections."""
    pictures = np.repeat(np.arange(1, len(counts) + 1), counts.astype(int)).tolist()
    notes = [
        {**note, "image_id": place}
        for place, picture in enumerate(pictures, 1)
        for note in truth["annotations"]
        if note["image_id"] == picture
    ]
    notes = [{**note, "id": i} for i, note in enumerate(notes, 1)]
    found = [
        {**one, "image_id": place}
        for place, picture in enumerate(pictures, 1)
        for one in results
        if one["image_id"] == picture
    ]
    return {**truth, "images": [{"id": i} for i in range(1, len(pictures) + 1)], "annotations": notes}, found


@pytest.mark.parametrize("seed", range(6))
def test_ap_of_pictures_drawn_again_is_pycocotools_on_that_set(seed: int, capsys) -> None:
    """Within 1e-12, for all 15 draws: hits and others of equal scores, crowds and classes that a set lacks included."""
    truth, results = tied(seed)
    scores = scored(truth, results, replicates=15, seed=seed)
    for found, counts in zip(scores.drawn, drawn_counts(8, 15, seed), strict=True):
        expected = evaluate(*drawn_set(truth, results, counts))
        ours = [np.nanmean(found), np.nanmean(found[0])]
        np.testing.assert_allclose(ours, expected, atol=1e-12)
    means = np.nanmean(scores.drawn, axis=(1, 2))
    around = (scores.mean + np.quantile(means - means.mean(), [0.025, 0.975])).clip(0, 1)
    interval = scores.interval()
    if means.any():  # where nothing was ever found, the rule of three holds
        assert (interval.low, interval.high) == pytest.approx(around, abs=1e-12)
    assert scores.interval(0.5).value == scores.at(0.5)


def test_the_interval_covers_what_as_many_other_pictures_give() -> None:
    """In 90% to 99% of 150 sets of 40 pictures, of which bootstrap intervals of 95% cover a little less than they say."""

    def draw(rng: np.random.Generator) -> Any:
        pictures = []
        for _ in range(40):
            low = rng.uniform(0, 0.6, (rng.integers(1, 4), 2))
            true = np.concatenate([low, low + rng.uniform(0.1, 0.4, low.shape)], axis=1)
            guess = true + rng.normal(0, 0.05 * rng.uniform(0.3, 1.7), true.shape)
            pictures.append(
                (guess, rng.normal(size=len(true)), np.zeros(len(true), int), true, np.zeros(len(true), int))
            )
        return average_precision(*zip(*pictures, strict=True), thresholds=[0.5], replicates=200)

    found = [draw(np.random.default_rng(seed)).interval() for seed in range(150)]
    mean = np.mean([one.value for one in found])
    assert 0.90 <= np.mean([one.low <= mean <= one.high for one in found]) <= 0.99


def test_a_detection_whose_score_is_no_number_is_wrong() -> None:
    box = np.array([[0.1, 0.1, 0.5, 0.5]])
    assert average_precision([box], [[np.nan]], [[0]], [box], [[0]]).mean == 0.0
    assert average_precision([box], [[0.5]], [[0]], [box], [[0]]).mean == pytest.approx(1.0)
    twice = average_precision([np.concatenate([box, box])], [[np.nan, 0.1]], [[0, 0]], [box], [[0]])
    assert twice.mean == pytest.approx(1.0)  # the other one is right
    found = FoundBoxes([torch.from_numpy(box)], [torch.tensor([torch.nan])], [torch.tensor([0])])
    values = box_figures(found, [box])
    assert (values["iou"], values["recall@0.5"], values["precision@0.5"], values["map@0.5"]) == (0, 0, 0, 0)


def test_a_box_that_is_no_number_matches_nothing() -> None:
    box = np.array([[0.1, 0.1, 0.5, 0.5]])
    assert match_boxes([np.full((1, 4), np.nan)], [box]).iou.tolist() == [0.0]
    assert average_precision([np.full((1, 4), np.nan)], [[0.9]], [[0]], [box], [[0]]).mean == 0.0


def test_boxes_without_a_class_do_not_count_where_classes_do() -> None:
    boxes = [np.array([[0.0, 0.0, 0.5, 0.5], [0.5, 0.5, 1.0, 1.0]])]
    kept = classed(Probed(None, {"boxes": boxes, "classes": [np.array([-1, 2])]}, None)).labels
    assert [one.tolist() for one in kept["boxes"]] == [[[0.5, 0.5, 1.0, 1.0]]]
    assert [one.tolist() for one in kept["classes"]] == [[2]]


def test_without_truth_there_is_no_ap_and_no_interval() -> None:
    empty = average_precision([np.zeros((1, 4))], [[1.0]], [[0]], [np.zeros((0, 4))], [[]], replicates=10)
    assert np.isnan([empty.mean, empty.interval().low, empty.interval(0.5).high]).all()


def test_the_interval_of_what_never_failed_has_a_width() -> None:
    """3 of n + 3: at n = 27 a share that is seen in none of n pictures has its one-sided 95% bound at 1 - 0.05^(1/27) = 0.105."""
    n, box, far = 27, np.array([[0, 0, 0.4, 0.4]]), np.array([[0.5, 0.5, 1, 1]])
    for guess, value, ends in ((box, 1, (0.9, 1)), (far, 0, (0, 0.1))):
        found = average_precision([guess] * n, [[1.0]] * n, [[0]] * n, [box] * n, [[0]] * n, replicates=10)
        interval = found.interval()
        assert (found.mean, interval.low, interval.high) == pytest.approx((value, *ends), abs=1e-12)
        assert abs(interval.high - interval.low - (1 - 0.05 ** (1 / n))) < 0.01


def test_ap_of_cocos_own_example_is_the_published_figure(capsys) -> None:
    root = os.environ.get("TRIALBOOK_DATA")
    folder = Path(root or "/nowhere") / "coco-detections"
    if not folder.is_dir():
        pytest.skip("needs coco-detections below TRIALBOOK_DATA")
    truth = json.loads((folder / "instances_val2014_100.json").read_text())
    results = json.loads((folder / "instances_val2014_fakebbox100_results.json").read_text())
    found = own(truth, results)
    assert found[0] == pytest.approx(0.50458, abs=5e-6)
    np.testing.assert_allclose(found, evaluate(truth, results), atol=1e-12)


def noisy(seed: int = 0, n: int = 2, side: int = 40) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    a = torch.rand(n, 3, side, side + 7, generator=generator, dtype=torch.float64)
    return a, (a + 0.2 * torch.randn(a.shape, generator=generator, dtype=torch.float64)).clamp(0, 1)


@pytest.mark.parametrize("data_range", [1.0, 2.0])
def test_ssim_agrees_with_scikit_image(data_range: float) -> None:
    """Within 1e-12: float64 in both."""
    metrics = pytest.importorskip("skimage.metrics")
    a, b = noisy()
    found = ssim(a, b, data_range)
    for i in range(len(a)):
        expected = metrics.structural_similarity(
            a[i].numpy(), b[i].numpy(), channel_axis=0, gaussian_weights=True, sigma=1.5, use_sample_covariance=False,
            data_range=data_range,
        )  # fmt: skip
        assert float(found[i]) == pytest.approx(expected, abs=1e-12)
    assert float(ssim(a, a)[0]) == pytest.approx(1)


def squares(left: int) -> torch.Tensor:
    picture = torch.zeros(1, 3, 48, 48)
    picture[:, :, 12:36, left : left + 20] = 1
    return picture


def test_edge_f1_forgives_as_many_pixels_as_it_is_told() -> None:
    pytest.importorskip("skimage.feature")
    assert edge_f1(squares(12), squares(12))[0] == 1
    assert edge_f1(squares(12), squares(14), tolerance=2)[0] == 1
    assert edge_f1(squares(12), squares(16), tolerance=2)[0] < 0.9
    assert edge_f1(squares(12), torch.zeros(1, 3, 48, 48))[0] == 0
    assert edge_f1(torch.zeros(1, 3, 48, 48), torch.zeros(1, 3, 48, 48))[0] == 1


def test_spatial_iou_is_that_of_the_pixels_above_the_threshold() -> None:
    a, b = foreground(squares(10)), foreground(squares(20))
    assert int(a.sum()) == 24 * 20
    assert float(spatial_iou(a, b)[0]) == pytest.approx(10 / 30)
    assert float(spatial_iou(a, a)[0]) == 1
    assert not foreground(squares(10), threshold=1.0).any()


@pytest.mark.parametrize(("name", "step"), [("right", (0, 2)), ("left", (0, -2)), ("down", (2, 1)), ("up", (-2, 1))])
def test_directions_are_those_of_the_foreground(name: str, step: tuple[int, int]) -> None:
    clip = torch.zeros(1, 5, 3, 48, 48)
    for t in range(5):
        y, x = 20 + step[0] * t, 20 + step[1] * t
        clip[0, t, :, y : y + 6, x : x + 6] = 1
    wanted = np.array([DIRECTIONS.index(name)])
    assert direction_accuracy(directions(clip), wanted)[0] == 1
    assert directions(torch.zeros(1, 5, 3, 48, 48))[0] == -1


def alexnet() -> torch.nn.Module:
    """The layers of torchvision's AlexNet, with random weights."""
    nn = torch.nn
    torch.manual_seed(0)
    features = nn.Sequential(
        nn.Conv2d(3, 64, 11, 4, 2), nn.ReLU(), nn.MaxPool2d(3, 2),
        nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2),
        nn.Conv2d(192, 384, 3, padding=1), nn.ReLU(), nn.Conv2d(384, 256, 3, padding=1), nn.ReLU(),
        nn.Conv2d(256, 256, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2),
    )  # fmt: skip
    model = nn.Module()
    model.features = features
    return model


def test_lpips_is_that_of_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Within 1e-6: float32 in both. torchvision, which the package imports, is stood in for by its layers."""
    from importlib.util import find_spec

    if find_spec("lpips") is None:
        pytest.skip("needs lpips, installed without its dependencies")
    backbone = alexnet()
    torch.save({f"features.{k}": v for k, v in backbone.features.state_dict().items()}, tmp_path / "alexnet.pth")
    vision, models = types.ModuleType("torchvision"), types.ModuleType("torchvision.models")
    models.alexnet = lambda pretrained: backbone
    vision.models = models
    monkeypatch.setitem(sys.modules, "torchvision", vision)
    monkeypatch.setitem(sys.modules, "torchvision.models", models)
    package = pytest.importorskip("lpips")
    a, b = (one.float() for one in noisy(side=70))
    expected = package.LPIPS(net="alex", verbose=False)(a, b, normalize=True).flatten()
    found = lpips(tmp_path / "alexnet.pth")
    assert found.name == "lpips"
    torch.testing.assert_close(found(a, b), expected, rtol=1e-5, atol=1e-6)
    for name in [name for name in sys.modules if name.split(".")[0] == "lpips"]:
        monkeypatch.delitem(sys.modules, name)


def test_without_its_weights_it_is_not_called_lpips(tmp_path: Path) -> None:
    with pytest.raises(TrialbookError, match="lpips_backbone"):
        lpips(None)
    with pytest.raises(TrialbookError, match="no file"):
        lpips(tmp_path / "missing.pth")
    torch.save({"other": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(TrialbookError, match="not the weights"):
        lpips(tmp_path / "other.pth")
    a, b = (one.float() for one in noisy(side=70))
    distance = perceptual_random()
    assert distance.name == "perceptual-random"
    assert torch.equal(distance(a, a), torch.zeros(2))
    assert (distance(a, b) > 0).all()
    with pytest.raises(TrialbookError, match="63 pixels"):
        distance(a[..., :40], b[..., :40])
