"""Photos with boxes: how boxes follow their picture when it is resized."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from trialbook import TrialbookError
from trialbook.contracts.pictures import UNREADABLE, describe_unreadable, orientation
from trialbook_plugins.datasets._images import padded_size

Fit = Literal["pad", "crop"]
Boxes = NDArray[np.float64]
_SEEN = 0.25  # share of a box that must be within the crop, or it is left out


@dataclass(frozen=True)
class BoxedPhoto:
    """A picture file and its objects: boxes [n, 4] (corners in pixels), class index, and whether it is a crowd [n]."""

    file: Path
    boxes: Boxes
    classes: NDArray[np.int64]
    crowd: NDArray[np.bool_]
    size: tuple[int, int] | None = None


def upright_size(file: Path) -> tuple[int, int]:
    """Width and height of a picture once it is turned as its EXIF orientation says; only the head of the file is read.

    Raises:
        TrialbookError: it is no readable picture.
    """
    head = None
    try:
        with file.open("rb") as stream:
            head = stream.read(512)
            with Image.open(stream) as opened:
                return (opened.height, opened.width) if 5 <= orientation(opened) <= 8 else opened.size
    except UNREADABLE as error:
        why = describe_unreadable(error, head)
        raise TrialbookError(
            f"{file}: not a readable picture: {why}; fix the data or set skip_missing = true"
        ) from error


def place_boxes(boxes: Boxes, width: int, height: int, size: int, fit: Fit) -> tuple[Boxes, NDArray[np.bool_]]:
    """Boxes in pixels of a photo as shares of the picture that is made of it, and which of them can be seen there.

    Args:
        boxes: corners in pixels [n, 4].
        width: of the photo.
        height: of the photo.
        size: side of the square picture in pixels; 0 where the photo is kept as it is.
        fit: ``pad``: the longer side is resized to ``size``; ``crop``: the shorter one, and the centre square cut out.
    Returns:
        boxes [n, 4] within 0 to 1, and bool [n]: of those that are False less than a quarter is left, or nothing.
    """
    if not size:
        scale, offset, shape = np.ones(2), np.zeros(2), np.array([width, height])
    elif fit == "pad":
        inner = padded_size(width, height, size)
        scale = np.array(inner) / (width, height)
        offset, shape = np.array([round((size - side) * 0.5) for side in inner]), np.array([size, size])
    else:
        resized = [max(size, round(side * size / min(width, height))) for side in (width, height)]
        scale = np.array(resized) / (width, height)
        offset, shape = -np.array([(side - size) // 2 for side in resized]), np.array([size, size])
    moved = (boxes.reshape(-1, 2, 2) * scale + offset) / shape
    inside = moved.clip(0, 1)
    before, after = ((b[:, 1] - b[:, 0]).clip(min=0).prod(1) for b in (moved, inside))
    return inside.reshape(-1, 4), (after > 0) & (after >= _SEEN * before)


def boxes_of(
    notes: list[dict[str, Any]], classes: dict[Any, int], source: Path
) -> tuple[Boxes, NDArray[np.int64], NDArray[np.bool_]]:
    """Corners, class indices and crowd flags of COCO's annotations of one picture, in the order of their ids.

    Raises:
        TrialbookError: a box is no box, or its category is not listed.
    """
    for note in notes:
        box = note["bbox"]
        if len(box) != 4 or not all(isinstance(v, int | float) for v in box) or min(box[2:]) < 0:
            raise TrialbookError(
                f"{source}: annotation {note.get('id')}: {box} is no box; COCO's are [x, y, width, height]"
            )
        if note["category_id"] not in classes:
            raise TrialbookError(f"{source}: annotation {note.get('id')}: category {note['category_id']} is not listed")
    corners = np.array([note["bbox"] for note in notes], dtype=np.float64).reshape(-1, 4)
    corners[:, 2:] += corners[:, :2]
    kinds = np.array([classes[note["category_id"]] for note in notes], dtype=np.int64)
    return corners, kinds, np.array([bool(note.get("iscrowd", 0)) for note in notes], dtype=bool)
