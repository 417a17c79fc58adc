"""From what a module gave to tokens [B, H, W, D] in raster order."""

from __future__ import annotations

from torch import Tensor

from trialbook import TrialbookError
from trialbook.contracts import to_device
from trialbook_plugins.vlms.architecture import Area
from trialbook_plugins.vlms.family import Layout
from trialbook_plugins.vlms.order import ORDERS, Grid

_SPECIAL = 8
"""Tokens without a place that may stand before an image's: class token, registers, a mean."""


def arrange(output: Tensor, area: Area, layout: Layout, rows: int, places: Tensor | None, where: str) -> Tensor:
    """Image tokens of ``rows`` images, by row and column.

    It moves numbers and computes none, so that what it does to an array of indices says where each token comes from.

    Args:
        output: [B·V, N, D], [B·V·N, D], [B·V, D, H, W], or for a sequence [B, S, D], with V views of an image.
        area: where it was read.
        layout: of the image.
        rows: B.
        places: of the image's tokens in the sequence, [B, K].
        where: what to call it in errors.

    Raises:
        TrialbookError: the number of tokens fits no grid of the image.
    """
    if area.rows == "map":
        return output.permute(0, 2, 3, 1)
    if area.rows == "sequence":
        if places is None:
            raise TrialbookError(f"'{where}' is behind a sequence, but the inputs say no places of the image in it")
        picked = output.gather(1, places[..., None].expand(-1, -1, output.shape[-1]))
        if area.order == "none":
            return picked[:, None]
        return _of_sequence(picked, layout, area, where)
    views = layout.views
    tokens = output.reshape(rows, views, -1, output.shape[-1])
    if area.order == "none":
        return tokens.reshape(rows, 1, -1, output.shape[-1])
    grid = _grid(tokens.shape[2], layout, where)
    placed = _placed(tokens, grid, area)
    if not layout.stitched:
        return placed[:, 0]
    down, across = layout.tiles
    tiles = placed[:, 1:].unflatten(1, (down, across))  # [B, down, across, h, w, D]
    return tiles.transpose(2, 3).reshape(rows, down * grid.height, across * grid.width, -1)


def _of_sequence(tokens: Tensor, layout: Layout, area: Area, where: str) -> Tensor:
    """[B, K, D] of the language model's sequence; tiles stand behind the whole, each of their rows with an end."""
    if layout.views == 1:
        return _placed(tokens[:, None], _grid(tokens.shape[1], layout, where), area)[:, 0]
    height, width = layout.patches
    if not layout.stitched:
        return _placed(tokens[:, None, : height * width], Grid(height, width), area)[:, 0]
    down, across = layout.tiles
    lines = tokens[:, height * width :].unflatten(1, (down * height, across * width + 1))
    return _placed(lines[:, None, :, :-1].flatten(2, 3), Grid(down * height, across * width), area)[:, 0]


def _placed(tokens: Tensor, grid: Grid, area: Area) -> Tensor:
    """[B, V, N, D] -> [B, V, H, W, D]: special tokens dropped, the rest in its place."""
    count = grid.height * grid.width
    index = ORDERS[area.order](grid).flatten() + tokens.shape[2] - count
    return tokens[:, :, to_device(index, tokens.device)].unflatten(2, (grid.height, grid.width))


def _grid(count: int, layout: Layout, where: str) -> Grid:
    """The grid that ``count`` tokens fill: that of the patches, or the finest coarser one that fits."""
    height, width = layout.patches
    for merge in range(1, max(height, width) + 1):
        if height % merge or width % merge:
            continue
        if 0 <= count - (height // merge) * (width // merge) <= (_SPECIAL if merge == 1 else 1):
            within = layout.merge if merge == 1 else 1
            return Grid(height // merge, width // merge, within, layout.window)
    raise TrialbookError(f"'{where}' gives {count} tokens, which fit no grid of an image of {height} x {width} patches")
