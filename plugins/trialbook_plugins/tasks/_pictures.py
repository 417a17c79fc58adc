"""Pictures from outside, brought to the size that a model was trained on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from trialbook_plugins.encoders.letterbox import Picture, letterbox


def fitted(images: Sequence[Picture], shape: tuple[int, ...]) -> Picture | list[Picture]:
    """Images [3, H, W] in the one size of ``shape`` (3, H, W), or as they are where sizes differ (H or W is 0).

    The whole picture is kept: it is scaled to fit, and what is left over on two sides is filled with the colour of its edges.
    """
    height, width = shape[1:]
    if not height or not width:
        return list(images)
    if not images:
        return np.zeros((0, 3, height, width), np.uint8)
    return np.stack([letterbox(image, height, width).frame for image in images])
