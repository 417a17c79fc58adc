"""Detection and picture measures against pycocotools, scikit-image and the lpips package."""

from __future__ import annotations

import json
import os
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch

from trialbook.errors import TrialbookError
from trialbook_plugins.probes.average_precision import average_precision
from trialbook_plugins.probes.perceptual import lpips, perceptual_random
from trialbook_plugins.probes.pictures import (
    DIRECTIONS,
    direction_accuracy,
    direction_of_tracks,
    directions,
    edge_f1,
    foreground,
    spatial_iou,
    ssim,
)


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
    pictures = sorted(image["id"] for image in truth["images"])
    notes = [[a for a in truth["annotations"] if a["image_id"] == i] for i in pictures]
    found = [[r for r in results if r["image_id"] == i] for i in pictures]
    scores = average_precision(
        [corners([r["bbox"] for r in f]) for f in found], [[r["score"] for r in f] for f in found],
        [[r["category_id"] for r in f] for f in found], [corners([a["bbox"] for a in n]) for n in notes],
        [[a["category_id"] for a in n] for n in notes], [[a["iscrowd"] for a in n] for n in notes],
    )  # fmt: skip
    return scores.mean, scores.at(0.5)


@pytest.mark.parametrize("seed", range(12))
def test_ap_agrees_with_pycocotools_with_ties_and_crowds(seed: int, capsys) -> None:
    """Within 1e-12. Coordinates are small integers, so that scores, overlaps and thresholds are often equal."""
    rng = np.random.default_rng(seed)

    def box() -> list[float]:
        low = rng.integers(0, 6, 2)
        return [*low.astype(float).tolist(), *rng.integers(1, 5, 2).astype(float).tolist()]

    annotations, results = [], []
    for image in range(1, 9):
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
        "images": [{"id": i} for i in range(1, 9)],
        "categories": [{"id": i} for i in range(1, 5)],
        "annotations": annotations,
    }
    np.testing.assert_allclose(own(truth, results), evaluate(truth, results), atol=1e-12)


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
    tracks = np.zeros((1, 5, 4))
    for t in range(5):
        y, x = 20 + step[0] * t, 20 + step[1] * t
        clip[0, t, :, y : y + 6, x : x + 6] = 1
        tracks[0, t] = [x, y, x + 6, y + 6]
    wanted = np.array([DIRECTIONS.index(name)])
    assert direction_accuracy(directions(clip), wanted)[0] == 1
    assert direction_accuracy(direction_of_tracks(tracks), wanted)[0] == 1
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
