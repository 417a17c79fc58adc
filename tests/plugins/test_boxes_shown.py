"""Pictures with true and found boxes: any size, any number of boxes, from the best to the worst."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from trialbook.contracts import PredictedBoxes, Probed
from trialbook_plugins.probes.rows import MadeRows
from trialbook_plugins.tasks._boxes_shown import BoxedPicture, boxes_shown, write_boxes

RNG = np.random.default_rng(0)
BLUE, ORANGE = (0x1A, 0x7F, 0xC1), (0xD1, 0x60, 0x0A)


def grey(height: int, width: int, channels: int = 3) -> NDArray[np.uint8]:
    return np.full((channels, height, width), 120, np.uint8)


def drawn(tmp_path: Path, *pictures: BoxedPicture) -> NDArray[np.uint8]:
    write_boxes(tmp_path / "boxes.png", pictures)
    return np.asarray(Image.open(tmp_path / "boxes.png"))


def where(image: NDArray[np.uint8], colour: tuple[int, int, int]) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of all pixels of a colour."""
    y, x = np.nonzero((image == colour).all(-1))
    return int(x.min()), int(y.min()), int(x.max()), int(y.max())


@pytest.mark.parametrize(("height", "width"), [(64, 64), (480, 640), (1024, 300), (3, 5), (1, 2000)])
def test_boxes_stand_where_they_are_in_pictures_of_any_size(tmp_path: Path, height: int, width: int) -> None:
    true, found = np.array([[0.25, 0.25, 0.75, 0.75]]), np.array([[0.0, 0.0, 0.5, 1.0]])
    image = drawn(tmp_path, BoxedPicture(grey(height, width), true, found, np.zeros((0, 4)), "IoU 0.2"))
    scale = 220 / max(height, width)
    wide, high = width * scale, height * scale
    if min(wide, high) < 40:
        return  # too flat for two boxes to be told apart; that it is drawn at all is what counts
    expected = (10 + wide / 4, 10 + high / 4, 10 + 3 * wide / 4, 10 + 3 * high / 4)
    assert where(image, BLUE) == pytest.approx(expected, abs=4)  # the line is three pixels wide
    assert where(image, ORANGE) == pytest.approx((10, 10, 10 + wide / 2, 10 + high), abs=8)  # and dashes may end before


def test_many_boxes_boxes_outside_and_no_box_are_drawn(tmp_path: Path) -> None:
    many = RNG.random((60, 4))
    outside = np.array([[-2.0, -1.0, 3.0, 4.0], [np.nan, 0.0, 1.0, 1.0], [0.9, 0.9, 0.1, 0.1]])
    empty = np.zeros((0, 4))
    threes = ((many, outside, many), (outside, many, outside), (empty, empty, empty))
    pictures = [BoxedPicture(grey(40, 60), *boxes, "x") for boxes in threes]
    image = drawn(tmp_path, *pictures)
    assert image.shape[1] == 10 + 3 * 230
    third = image[:150, 10 + 2 * 230 : 10 + 2 * 230 + 220]
    assert not (third == BLUE).all(-1).any()


def test_found_boxes_that_match_no_true_one_are_told_apart(tmp_path: Path) -> None:
    true = [np.array([[0.1, 0.1, 0.5, 0.5], [0.6, 0.6, 0.9, 0.9]])]
    found = torch.tensor([[0.1, 0.1, 0.5, 0.6], [0.1, 0.1, 0.5, 0.7], [0.0, 0.8, 0.2, 1.0]]).double()
    images = MadeRows((1, 3, 64, 64), lambda i: torch.from_numpy(grey(64, 64)))
    artifact, _ = boxes_shown("p", "L1", data_of(images, true), PredictedBoxes([found], [torch.ones(3)]), 1)
    (one,) = artifact.write.keywords["pictures"]  # type: ignore[attr-defined]
    assert one.found.tolist() == found[:1].tolist()
    assert one.more.tolist() == found[1:].tolist()
    assert one.text == "IoU 0.40; 2 true, 3 found"


def data_of(images: Any, boxes: list[Any], classes: list[Any] | None = None) -> Probed:
    labels = {"boxes": boxes, **({"classes": classes} if classes else {})}
    return Probed(torch.zeros(len(boxes), 1, 1, 1), labels, images)


def test_pictures_go_from_the_best_to_the_worst_and_are_as_many_as_wanted(tmp_path: Path) -> None:
    true = [np.array([[0.0, 0.0, 1.0, 1.0]])] * 9
    found = [torch.tensor([[0.0, 0.0, 1.0, (i * 4 % 9 + 1) / 10]]) for i in range(9)]  # IoU 0.1 to 0.9 in another order
    images = MadeRows((9, 3, 8, 8), lambda i: torch.full((3, 8, 8), i, dtype=torch.uint8))
    artifact, shown = boxes_shown("a/b", "L1", data_of(images, true), PredictedBoxes(found, [torch.ones(1)] * 9), 5)
    assert artifact.name == shown.file == "boxes-a_b.png"
    assert shown.alt == "From the best to the worst: IoU 0.90; IoU 0.70; IoU 0.50; IoU 0.30; IoU 0.10."
    assert "5 of 9 pictures" in shown.caption
    artifact.write(tmp_path / artifact.name)
    assert Image.open(tmp_path / artifact.name).size[0] == 10 + 4 * 230


def test_pictures_of_different_sizes_grey_ones_and_clips_are_shown(tmp_path: Path) -> None:
    kinds = [torch.zeros(3, 20, 30), torch.zeros(3, 50, 10), torch.zeros(1, 8, 8), torch.zeros(4, 3, 8, 8)]
    images = MadeRows((4, 3, 0, 0), lambda i: kinds[i].to(torch.uint8))
    boxes = [np.array([[0.1, 0.1, 0.9, 0.9]])] * 4
    found = PredictedBoxes([torch.tensor([[0.1, 0.1, 0.9, 0.9]]).double()] * 4, [torch.ones(1)] * 4)
    artifact, _ = boxes_shown("p", "L1", data_of(images, boxes), found, 8)
    artifact.write(tmp_path / "p.png")
    assert (np.asarray(Image.open(tmp_path / "p.png")) == BLUE).all(-1).any()


def test_boxes_of_another_class_do_not_count_and_pictures_without_objects_are_told() -> None:
    box = np.array([[0.0, 0.0, 1.0, 1.0]])
    true, kinds = [box, box, np.zeros((0, 4))], [np.array([0]), np.array([0]), np.zeros(0, np.int64)]
    found = [torch.from_numpy(box), torch.from_numpy(box), torch.zeros(0, 4)]
    classes = [torch.tensor([0]), torch.tensor([1]), torch.zeros(0, dtype=torch.int64)]
    images = MadeRows((3, 3, 8, 8), lambda i: torch.zeros(3, 8, 8, dtype=torch.uint8))
    predicted = PredictedBoxes(found, [torch.ones(len(one)) for one in found], classes)
    _, shown = boxes_shown("p", "L1", data_of(images, true, kinds), predicted, 3)
    assert shown.alt == "From the best to the worst: IoU 1.00; no object, 0 found; IoU 0.00."
