"""Pictures with their true boxes and those that a probe found, side by side in one file."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from trialbook.contracts import PredictedBoxes, Probed
from trialbook.contracts.plots import Shown
from trialbook.contracts.records import Artifact
from trialbook_plugins.probes.boxes import as_boxes, assign, iou, match_boxes
from trialbook_plugins.probes.rows import read_part

#: Pixels: of a picture's longer side, between pictures, of a line of text, of its letters.
_SIDE, _GAP, _TEXT, _LETTERS = 220, 10, 20, 13
_IN_A_ROW = 4
#: Blue and orange, which people with any colour vision can tell apart; found boxes are dashed besides.
_TRUE, _FOUND, _EDGE = "#1a7fc1", "#d1600a", "#ffffff"
_DASH = (7, 5)


@dataclass(frozen=True)
class BoxedPicture:
    """A picture with its boxes, and a line of text below it.

    Args:
        picture: uint8 [3, H, W].
        true: boxes as shares of the picture [n, 4].
        found: boxes that are matched to a true one [m, 4].
        more: other boxes that were found [k, 4].
        text: below the picture.
    """

    picture: NDArray[np.uint8]
    true: NDArray[np.float64]
    found: NDArray[np.float64]
    more: NDArray[np.float64]
    text: str


def boxes_shown(probe: str, layer: str, data: Probed, found: PredictedBoxes, most: int) -> tuple[Artifact, Shown]:
    """The file of some pictures of a split, from the best to the worst, and what a page says of it.

    Args:
        probe: its name.
        layer: that was read.
        data: the split, with annotation ``boxes``, and ``classes`` where ``found`` has classes.
        found: by the probe.
        most: pictures that are shown.
    """
    true, kinds = data.labels["boxes"], (None, None)
    if found.classes is not None:
        kinds = (found.classes, data.labels["classes"])  # type: ignore[assignment]
    scores = match_boxes(found.boxes, true, *kinds)
    counts = np.array([len(boxes) for boxes in true])
    sums = np.bincount(scores.picture, scores.iou, minlength=len(true))
    extra = np.array([len(boxes) > 0 for boxes in found.boxes])
    means = np.where(counts > 0, sums / np.maximum(counts, 1), np.where(extra, 0.0, 1.0))
    order = np.argsort(-means, kind="stable")
    chosen = order[np.unique(np.linspace(0, len(order) - 1, min(most, len(order))).round().astype(int))]
    pictures = [
        BoxedPicture(
            _picture(data, i), _array(true[i]), *_parted(found.boxes[i], true[i], *(one and one[i] for one in kinds)),
            _said(means[i], true[i], found.boxes[i]),
        )
        for i in chosen.tolist()
    ]  # fmt: skip
    file = f"boxes-{re.sub(r'[^A-Za-z0-9_.-]', '_', probe)}.png"
    told = "; ".join(one.text for one in pictures)
    caption = (
        f"Blue: true boxes; orange, dashed: those found in the tokens of {layer}, thin where they match no true one. "
        f"{len(pictures)} of {len(true)} pictures, evenly from the highest to the lowest IoU (mean over the true boxes, 0 for "
        "one that is missed)."
    )
    shown = Shown(
        file=file, title=f"Boxes found by probe '{probe}'", caption=caption, alt=f"From the best to the worst: {told}."
    )
    return Artifact(0, file, partial(write_boxes, pictures=pictures)), shown


def write_boxes(file: Path, pictures: Sequence[BoxedPicture]) -> None:
    """A PNG of pictures in rows, each with its boxes and its line of text."""
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.load_default(_LETTERS)
    tiles = [_tile(one) for one in pictures]
    rows = [range(start, min(start + _IN_A_ROW, len(tiles))) for start in range(0, len(tiles), _IN_A_ROW)]
    heights = [max(tiles[i].height for i in row) + _TEXT + _GAP for row in rows]
    columns = min(_IN_A_ROW, len(tiles))
    whole = Image.new("RGB", (_GAP + columns * (_SIDE + _GAP), _GAP + sum(heights)), "#ffffff")
    draw: Any = ImageDraw.Draw(whole)
    top = _GAP
    for row, height in zip(rows, heights, strict=True):
        for column, i in enumerate(row):
            left = _GAP + column * (_SIDE + _GAP)
            whole.paste(tiles[i], (left, top))
            draw.text((left, top + tiles[i].height + 3), pictures[i].text, fill="#1b1f24", font=font)
        top += height
    whole.save(file, format="PNG")


def _tile(one: BoxedPicture) -> Any:
    """The picture as large as a tile, with its boxes."""
    from PIL import Image, ImageDraw

    _, height, width = one.picture.shape
    scale = _SIDE / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    way = Image.Resampling.NEAREST if scale >= 2 else Image.Resampling.LANCZOS
    image = Image.fromarray(np.ascontiguousarray(one.picture.transpose(1, 2, 0))).resize(size, way)
    draw: Any = ImageDraw.Draw(image)
    line = 3 if len(one.true) <= 6 else 2
    for boxes, colour, dash, width in (
        (one.more, _FOUND, _DASH, 1),
        (one.true, _TRUE, None, line),
        (one.found, _FOUND, _DASH, line),
    ):
        for box in boxes:
            corners = _corners(box, size)
            for ink, extra in ((_EDGE, 2), (colour, 0)) if width > 1 else ((colour, 0),):
                _rectangle(draw, corners, ink, width + extra, dash)
    return image


def _corners(box: NDArray[np.float64], size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Pixels of a box; what is outside the picture is drawn at its edge."""
    x0, y0, x1, y1 = np.nan_to_num(box)
    x, y = sorted((x0, x1)), sorted((y0, y1))
    ends = [
        round(float(np.clip(share, 0, 1)) * (side - 1))
        for side, share in zip((*size, *size), (x[0], y[0], x[1], y[1]), strict=True)
    ]
    return ends[0], ends[1], ends[2], ends[3]


def _rectangle(
    draw: Any, corners: tuple[int, int, int, int], ink: str, width: int, dash: tuple[int, int] | None
) -> None:
    x0, y0, x1, y1 = corners
    for start, end in (((x0, y0), (x1, y0)), ((x1, y0), (x1, y1)), ((x1, y1), (x0, y1)), ((x0, y1), (x0, y0))):
        for a, b in _pieces(start, end, dash):
            draw.line([a, b], fill=ink, width=width)


def _pieces(
    start: tuple[int, int], end: tuple[int, int], dash: tuple[int, int] | None
) -> list[tuple[tuple[float, float], tuple[float, float]]]:
    """The strokes of a line: all of it, or dashes."""
    long = math.dist(start, end)
    if dash is None or long == 0:
        return [(start, end)]
    along = ((end[0] - start[0]) / long, (end[1] - start[1]) / long)
    places = np.arange(0, long, sum(dash)).tolist()
    return [
        (
            (start[0] + along[0] * at, start[1] + along[1] * at),
            (start[0] + along[0] * min(at + dash[0], long), start[1] + along[1] * min(at + dash[0], long)),
        )
        for at in places
    ]


def _parted(
    found: Any, true: Any, found_classes: Any, true_classes: Any
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Boxes that the metrics match to a true one, and the others."""
    guess, truth = as_boxes(found), as_boxes(true)
    overlap = iou(guess[:, None], truth[None])
    if found_classes is not None:
        overlap = overlap * (torch.as_tensor(found_classes)[:, None] == torch.tensor(np.array(true_classes))[None])
    rows, columns = assign(-overlap)
    kept = torch.zeros(len(guess), dtype=torch.bool)
    kept[rows] = overlap[rows, columns] > 0
    return guess[kept].numpy(), guess[~kept].numpy()


def _picture(data: Probed, i: int) -> NDArray[np.uint8]:
    """Picture i as uint8 [3, H, W]; of a clip its first one."""
    one = np.asarray(read_part(data.images, slice(i, i + 1))[0])
    one = one[0] if one.ndim == 4 else one
    return np.broadcast_to(one, (3, *one.shape[1:])) if one.shape[0] == 1 else one[:3]


def _array(boxes: Any) -> NDArray[np.float64]:
    return np.asarray(boxes, dtype=np.float64).reshape(-1, 4)


def _said(value: float, true: Any, found: Any) -> str:
    if not len(true):
        return f"no object, {len(found)} found"
    if len(true) == 1 and len(found) == 1:
        return f"IoU {value:.2f}"
    return f"IoU {value:.2f}; {len(true)} true, {len(found)} found"
