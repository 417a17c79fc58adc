"""Metric ``pretrained-detection``: what a detector's checkpoint finds, with pictures as they come and in boxes as COCO counts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from vision_checkpoints import pil

from trialbook.errors import TrialbookError
from trialbook.testing import check_component
from trialbook_plugins.metrics.pretrained_detection import PretrainedDetection
from trialbook_plugins.probes.average_precision import average_precision

SIDE = 48


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny YOLOS with random weights."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("yolos")
    config = transformers.YolosConfig(
        hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, image_size=[64, 64], patch_size=8,
        num_detection_tokens=6, use_mid_position_embeddings=False, num_labels=3,
    )  # fmt: skip
    transformers.YolosForObjectDetection(config).save_pretrained(folder)
    pil("YolosImageProcessor")(size={"height": 64, "width": 64}).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def pictures() -> torch.Tensor:
    return torch.randint(0, 256, (7, 3, 3, SIDE, SIDE), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def by_hand(folder: Path, frames: torch.Tensor) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Boxes in shares of the picture and scores, from the model's raw outputs."""
    model = transformers.YolosForObjectDetection.from_pretrained(folder).eval()
    processor = transformers.AutoImageProcessor.from_pretrained(folder, backend="pil")
    boxes, scores = [], []
    for frame in frames:
        with torch.no_grad():
            raw = model(**processor(images=frame.permute(1, 2, 0).numpy(), return_tensors="pt"))
        centre, size = raw.pred_boxes[0, :, :2], raw.pred_boxes[0, :, 2:]
        boxes.append(torch.cat([centre - size / 2, centre + size / 2], dim=1).double().numpy())
        scores.append(raw.logits[0].softmax(-1)[:, :-1].max(-1).values.double().numpy())  # the last one is "nothing"
    return boxes, scores


def test_the_frame_in_the_middle_is_looked_at_and_boxes_are_shares_of_it(folder: Path, pictures: torch.Tensor) -> None:
    boxes, scores = by_hand(folder, pictures[:, 1])
    true = [one[:2] + 0.01 for one in boxes]  # some of what it finds, a little aside
    true[:3] = [np.array([[0.0, 0.0, 0.01, 0.01], [0.99, 0.99, 1.0, 1.0]])] * 3  # what it does not find
    zeros = [np.zeros(6, int)] * 7, [np.zeros(2, int)] * 7
    expected = average_precision(boxes, scores, zeros[0], true, zeros[1], thresholds=(0.5,)).mean
    metric = PretrainedDetection(model=str(folder), rows=3)
    found = metric.compute(pictures=pictures, labels={"boxes": true})
    assert found["map@0.5"] == pytest.approx(expected, abs=1e-6)
    assert 0 < found["map@0.5/low"] < found["map@0.5"] < found["map@0.5/high"] <= 1


def test_it_conforms(folder: Path, pictures: torch.Tensor) -> None:
    inputs = {"pictures": pictures, "labels": {"boxes": [np.array([[0.1, 0.2, 0.5, 0.6]])] * len(pictures)}}
    check_component(PretrainedDetection, "metric", options={"model": str(folder)}, inputs=inputs)


def test_what_is_no_detector_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrialbookError):
        PretrainedDetection(model=str(tmp_path / "nowhere"))
    transformers.ViTModel(
        transformers.ViTConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
    ).save_pretrained(tmp_path)
    with pytest.raises(TrialbookError, match="detector"):
        PretrainedDetection(model=str(tmp_path))
