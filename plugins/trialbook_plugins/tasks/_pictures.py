"""Pictures from outside, brought to the size that a model was trained on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Picture = NDArray[np.uint8]


def fitted(images: Sequence[Picture], shape: tuple[int, ...]) -> Picture | list[Picture]:
    """Images [3, H, W] in the one size of ``shape`` (3, H, W), or as they are where sizes differ (H or W is 0).

    The whole picture is kept: it is scaled to fit, and what is left over on two sides is filled with the colour of its edges.
    """
    height, width = shape[1:]
    if not height or not width:
        return list(images)
    return (
        np.stack([_fit(image, height, width) for image in images])
        if images
        else np.zeros((0, 3, height, width), np.uint8)
    )


def _fit(image: Picture, height: int, width: int) -> Picture:
    rows, columns = image.shape[1:]
    if (rows, columns) == (height, width):
        return image
    scale = min(height / rows, width / columns)
    size = max(1, round(columns * scale)), max(1, round(rows * scale))
    small = Image.fromarray(image.transpose(1, 2, 0)).resize(size, Image.Resampling.BICUBIC)
    edge = np.concatenate([image[:, 0], image[:, -1], image[:, :, 0], image[:, :, -1]], axis=1)
    whole = Image.new("RGB", (width, height), tuple(int(value) for value in np.median(edge, axis=1)))
    whole.paste(small, ((width - size[0]) // 2, (height - size[1]) // 2))
    return np.ascontiguousarray(np.asarray(whole).transpose(2, 0, 1))
