"""References beside a spatial probe's metric: features that know everything, nothing, or only the pixels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trialbook import TrialbookError
from trialbook_plugins.probes.boxes import BoxLists, as_boxes, occupancy
from trialbook_plugins.probes.rows import MadeRows, Rows, read_part

_LOOKED_AT = 16  # samples that tell whether tokens of a picture differ


def oracle_features(
    boxes: BoxLists,
    rows: int,
    columns: int,
    width: int,
    *,
    classes: Any = None,
    class_count: int = 1,
    slots: int | None = None,
    seed: int = 0,
) -> MadeRows:
    """Tokens that know the true boxes: occupancy of each cell and all boxes of the picture, rotated into the width.

    The ceiling of a probe: what it makes of features in which nothing is missing. Where ``width`` is too small for what there is
    to know, it is raised to that.

    Args:
        boxes: true boxes of every picture.
        rows: rows of the token grid.
        columns: columns of the token grid.
        width: width D of the features that are probed.
        classes: class of every box of each picture, for one channel of occupancy a class.
        class_count: number of classes.
        slots: boxes that fit in a token; the most of any picture if left out.
        seed: of the rotation.
    Returns:
        [n, rows, columns, D] float32, made when read.
    """
    slots = slots or max((len(one) for one in boxes), default=1)
    channels = class_count if classes is not None else 1
    known = channels + 5 * slots
    width = max(width, known)
    generator = torch.Generator().manual_seed(seed)
    turn = torch.linalg.qr(torch.randn(width, known, generator=generator, dtype=torch.float64)).Q.T

    def make(i: int) -> Tensor:
        kinds = None if classes is None else classes[i]
        cells = occupancy(boxes[i], rows, columns, kinds, channels).permute(1, 2, 0)
        everywhere = sorted_boxes(boxes[i], slots).flatten().expand(rows, columns, -1)
        return (torch.cat([cells, everywhere], dim=-1) @ turn).float()

    return MadeRows((len(boxes), rows, columns, width), make)


def sorted_boxes(boxes: NDArray[Any] | Tensor, slots: int) -> Tensor:
    """Boxes from left to right in ``slots`` rows of presence, cx, cy, w, h; rows without a box are 0: float64 [slots, 5]."""
    boxes = as_boxes(boxes)
    boxes = boxes[np.lexsort((boxes[:, 1].numpy(), boxes[:, 0].numpy()))][:slots]
    found = torch.zeros(slots, 5, dtype=torch.float64)
    found[: len(boxes), 0] = 1
    found[: len(boxes), 1:3] = (boxes[:, :2] + boxes[:, 2:]) / 2
    found[: len(boxes), 3:] = boxes[:, 2:] - boxes[:, :2]
    return found


def shuffled_tokens(features: Rows, seed: int | Sequence[int] = 0) -> MadeRows:
    """The same tokens in an order that is another one in each picture [n, H, W, D]: a floor for all that reads positions."""
    _, rows, columns, width = features.shape

    def make(i: int) -> Tensor:
        tokens = read_part(features, slice(i, i + 1)).reshape(rows * columns, width)
        order = np.random.default_rng([*np.atleast_1d(seed), i]).permutation(rows * columns)
        return tokens[torch.from_numpy(order)].reshape(rows, columns, width)

    return MadeRows(tuple(features.shape), make)


def random_features(shape: tuple[int, ...], seed: int | Sequence[int] = 0) -> MadeRows:
    """Normal noise of this shape [n, H, W, D] that has nothing to do with the pictures: a floor for everything."""

    def make(i: int) -> Tensor:
        return torch.from_numpy(
            np.random.default_rng([*np.atleast_1d(seed), i]).standard_normal(shape[1:], dtype=np.float32)
        )

    return MadeRows(shape, make)


def pixel_features(images: Rows, rows: int, columns: int, most: int = 1024) -> MadeRows:
    """The pixels under every token: uint8 [n, 3, S, S] -> [n, rows, columns, 3 P P] in 0 to 1; a baseline without any model.

    Args:
        images: pictures of one size.
        rows: rows of the token grid.
        columns: columns of the token grid.
        most: most numbers of a token. Pictures are resized so that tokens are P × P pixels, P the largest that fits in
            ``most`` and in the picture.
    """
    channels, height, wide = images.shape[1:]
    side = max(1, min(height // rows, wide // columns, int((most / channels) ** 0.5)))

    def make(i: int) -> Tensor:
        picture = read_part(images, slice(i, i + 1)).float() / 255
        target = (rows * side, columns * side)
        if picture.shape[2:] != target:
            picture = torch.nn.functional.interpolate(
                picture, target, mode="bilinear", antialias=True, align_corners=False
            )
        cells = picture.reshape(channels, rows, side, columns, side)
        return cells.permute(1, 3, 0, 2, 4).reshape(rows, columns, -1)

    return MadeRows((len(images), rows, columns, channels * side * side), make)


def check_grid(features: Rows) -> tuple[int, int, int, int]:
    """The shape [n, H, W, D].

    Raises:
        TrialbookError: features are not tokens on a grid.
    """
    if len(features.shape) != 4:
        raise TrialbookError(f"spatial probes need tokens on a grid [n, H, W, D], not {tuple(features.shape)}")
    n, rows, columns, width = features.shape
    return n, rows, columns, width


def is_position_blind(features: Rows) -> bool:
    """Return whether features have one token a picture, or the same one everywhere, as after mean pooling: they hold no boxes."""
    n, rows, columns, _ = check_grid(features)
    if rows * columns == 1:
        return True
    some = read_part(features, slice(0, min(n, _LOOKED_AT))).flatten(1, 2).double()
    apart = (some - some[:, :1]).square().sum()
    return bool(apart <= 1e-12 * some.square().sum())
