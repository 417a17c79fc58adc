"""A whole picture in a frame of another shape."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Picture = NDArray[np.uint8]


class Placed(NamedTuple):
    """A picture in its frame [3, H, W], and where it lies there, in pixels."""

    frame: Picture
    left: int
    top: int
    width: int
    height: int


def fitted_size(height: int, width: int, rows: int, columns: int) -> tuple[int, int]:
    """Height and width of a picture that is scaled to fit a frame of ``rows`` × ``columns`` pixels; at least 1 each."""
    if columns * height <= rows * width:  # the width decides
        return max(1, (2 * height * columns + width) // (2 * width)), columns
    return rows, max(1, (2 * width * rows + height) // (2 * height))


def letterbox(image: Picture, rows: int, columns: int) -> Placed:
    """A picture [3, H, W] scaled to fit a frame of ``rows`` × ``columns`` pixels, in its middle.

    What is left over on two sides is filled with the colour of the picture's edges.
    """
    if image.shape[1:] == (rows, columns):
        return Placed(image, 0, 0, columns, rows)
    height, width = fitted_size(*image.shape[1:], rows, columns)
    left, top = (columns - width) // 2, (rows - height) // 2
    small = Image.fromarray(image.transpose(1, 2, 0)).resize((width, height), Image.Resampling.BICUBIC)
    edge = np.concatenate([image[:, 0], image[:, -1], image[:, :, 0], image[:, :, -1]], axis=1)
    whole = Image.new("RGB", (columns, rows), tuple(int(value) for value in np.median(edge, axis=1)))
    whole.paste(small, (left, top))
    return Placed(np.ascontiguousarray(np.asarray(whole).transpose(2, 0, 1)), left, top, width, height)


def letterboxed(images: Sequence[Picture], shape: tuple[int, ...]) -> Picture | list[Picture]:
    """Images [3, H, W] in the one size of ``shape`` (3, H, W), or as they are where sizes differ (H or W is 0).

    The whole picture is kept: it is scaled to fit, and what is left over on two sides is filled with the colour of its edges.
    """
    height, width = shape[1:]
    if not height or not width:
        return list(images)
    if not images:
        return np.zeros((0, 3, height, width), np.uint8)
    return np.stack([letterbox(image, height, width).frame for image in images])
