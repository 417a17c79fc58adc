"""The place of each image token: index maps from (row, column) to the place in the sequence.

A map [H, W] holds, for every cell of the grid, the row of the tokens that belongs to it. The grid of a point is that of
the patches, or one that is ``merge`` times coarser on both sides where squares of patches were made one token.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor


class Grid(NamedTuple):
    """A grid of tokens.

    Args:
        height: rows H.
        width: columns W.
        merge: side, in tokens, of the squares that the model merges later; 1 where they are merged already.
        window: side of an attention window in merged tokens; 0 without windows.
    """

    height: int
    width: int
    merge: int = 1
    window: int = 0


def raster(grid: Grid) -> Tensor:
    """Row by row."""
    return torch.arange(grid.height * grid.width).view(grid.height, grid.width)


def transposed(grid: Grid) -> Tensor:
    """Column by column."""
    return torch.arange(grid.height * grid.width).view(grid.width, grid.height).T.contiguous()


def blocks(grid: Grid) -> Tensor:
    """Squares of tokens that will be merged stand together, squares and what is in them row by row (Qwen-VL)."""
    row, column = _places(grid)
    m = grid.merge
    square = (row // m) * (grid.width // m) + column // m
    return square * m * m + (row % m) * m + column % m


def windows(grid: Grid) -> Tensor:
    """As :func:`blocks`, but squares of one attention window stand together, windows row by row (Qwen2.5-VL)."""
    row, column = _places(grid)
    m, side = grid.merge, max(grid.window, 1)
    square_row, square_column = row // m, column // m
    across = -(-(grid.width // m) // side)
    key = (square_row // side) * across + square_column // side
    for size, place in ((side, square_row % side), (side, square_column % side), (m, row % m), (m, column % m)):
        key = key * size + place
    ranks = torch.empty_like(key.flatten())
    ranks[key.flatten().argsort()] = torch.arange(key.numel())
    return ranks.view_as(key)


#: Name of an order -> its index map.
ORDERS: dict[str, Callable[[Grid], Tensor]] = {
    "raster": raster,
    "transposed": transposed,
    "blocks": blocks,
    "windows": windows,
    "none": raster,
}


def _places(grid: Grid) -> tuple[Tensor, Tensor]:
    row, column = torch.meshgrid(torch.arange(grid.height), torch.arange(grid.width), indexing="ij")
    return row, column
