"""Boxes from maps of occupancy: what a probe reads from each token by itself, put together."""

from __future__ import annotations

import torch
from torch import Tensor

_CHUNK = 1 << 25  # numbers that are looked at at once
_CONTRAST = 2.2  # least height of an object over the mean of its map
_EMPTY = 4.0  # how much an empty cell counts against a rectangle, beside a full one
_FAINT = 0.25  # occupancy below which a map shows nothing: its level is not raised to 1


def boxes_from_maps(maps: Tensor, count: int = 1) -> tuple[Tensor, Tensor]:
    """The rectangles that stand out most in each map, found one after the other.

    Each begins as the rectangle of cells with the largest sum above half the map's height, where cells below it count
    ``_EMPTY``-fold, so that neighbours are not joined. From its middle, edges are set where occupancy ends, within a cell by
    how much of it is covered. A flat map gives its largest cell. The coverage of boxes at least two cells wide and one apart
    gives these boxes.

    Args:
        maps: occupancy of every cell, 1 inside and 0 outside [n, H, W].
        count: boxes of each map.
    Returns:
        boxes [n, count, 4] in shares of the picture and scores [n, count], the mean occupancy inside; near 0 where nothing
        is left.
    """
    left = maps.double().clone()
    boxes, scores = [], []
    for _ in range(count):
        level = _level(left)
        relative = left / level[:, None, None]
        above = relative - 0.5
        cells = largest_sums(torch.where(above > 0, above, _EMPTY * above))
        inside = _inside(cells, *maps.shape[1:])
        box = _edges(relative.clamp(0, 1), cells)
        mean = (left * inside).sum((1, 2)) / inside.sum((1, 2))
        boxes.append(box.clamp(0, 1))
        scores.append(mean.clamp(min=0))
        left = left.masked_fill(_touched(box, *maps.shape[1:]), 0.0)
    return torch.stack(boxes, 1), torch.stack(scores, 1)


def boxes_from_moments(maps: Tensor) -> Tensor:
    """The box with the mean and the variance of each map's mass [n, H, W] -> [n, 4]; negative mass counts as none.

    Any mass far from the object pulls at it: where maps are not clean, ``boxes_from_maps`` is the better reading.
    """
    weights = maps.double().clamp(min=0)
    total = weights.sum((1, 2)).clamp(min=1e-12)
    found = []
    for axis, cells in ((1, maps.shape[2]), (2, maps.shape[1])):
        mass = weights.sum(axis) / total[:, None]
        place = (torch.arange(cells, dtype=torch.float64) + 0.5) / cells
        mean = mass @ place
        variance = (mass * (place - mean[:, None]).square()).sum(1) + 1 / (12 * cells**2)
        found.append((mean, (12 * variance).sqrt() / 2))
    (x, half_width), (y, half_height) = found
    return torch.stack([x - half_width, y - half_height, x + half_width, y + half_height], dim=1).clamp(0, 1)


def largest_sums(maps: Tensor) -> Tensor:
    """The rectangle with the largest sum of each map [n, H, W]: first and end row, first and end column, int64 [n, 4].

    Source: the maximum-sum rectangle by Kadane's scan over every pair of rows (Bentley 1984).
    """
    n, height, width = maps.shape
    first, end = torch.triu_indices(height, height).unbind()
    end = end + 1
    step = max(1, _CHUNK // (len(first) * (width + 1)))
    found = []
    for start in range(0, n, step):
        part = maps[start : start + step]
        sums = torch.zeros(len(part), height + 1, width + 1, dtype=part.dtype)
        sums[:, 1:, 1:] = part.cumsum(1).cumsum(2)
        strips = sums[:, end] - sums[:, first]  # [b, pairs, W + 1]
        low, where = strips.cummin(-1)
        gains = strips[..., 1:] - low[..., :-1]
        best = gains.flatten(1).argmax(1)
        pair, column = best // width, best % width
        begin = where[torch.arange(len(part)), pair, column]
        found.append(torch.stack([first[pair], end[pair], begin, column + 1], dim=1))
    return torch.cat(found)


def _level(maps: Tensor) -> Tensor:
    """Height of each map inside its object: at least ``_FAINT``, and, up to 1, twice what a map without contrast has."""
    return torch.maximum(maps.amax((1, 2)), (_CONTRAST * maps.mean((1, 2))).clamp(max=1)).clamp(min=_FAINT)


def _inside(cells: Tensor, height: int, width: int) -> Tensor:
    rows, columns = torch.arange(height), torch.arange(width)
    y = (rows >= cells[:, 0:1]) & (rows < cells[:, 1:2])
    x = (columns >= cells[:, 2:3]) & (columns < cells[:, 3:4])
    return y[:, :, None] & x[:, None, :]


def _touched(boxes: Tensor, height: int, width: int) -> Tensor:
    """Cells [n, H, W] that boxes [n, 4] reach into."""
    sizes = torch.tensor([width, height, width, height], dtype=boxes.dtype)
    edges = boxes * sizes
    low, high = (edges[:, :2] + 1e-9).floor(), (edges[:, 2:] - 1e-9).ceil()
    return _inside(torch.stack([low[:, 1], high[:, 1], low[:, 0], high[:, 0]], dim=1), height, width)


def _edges(maps: Tensor, cells: Tensor) -> Tensor:
    """Edges within cells: from the middle outwards, as far as cells are covered, plus the share of the next one."""
    height, width = maps.shape[1:]
    rows, columns = torch.arange(height), torch.arange(width)
    in_rows = (rows >= cells[:, 0:1]) & (rows < cells[:, 1:2])
    in_columns = (columns >= cells[:, 2:3]) & (columns < cells[:, 3:4])
    found = []
    for profile, first, end in (
        ((maps * in_rows[:, :, None]).amax(1), 2, 3),
        ((maps * in_columns[:, None, :]).amax(2), 0, 1),
    ):
        size = profile.shape[1]
        middle = (cells[:, first] + cells[:, end]) // 2  # a border between cells, or the first cell of one
        after = torch.arange(size) >= middle[:, None]
        high = middle + _reach(torch.where(after, profile, 1.0), after)
        low = middle - _reach(torch.where(after, 1.0, profile).flip(1), ~after.flip(1))
        found.append((low / size, high / size))
    (x0, x1), (y0, y1) = found
    return torch.stack([x0, y0, x1, y1], dim=1)


def _reach(profile: Tensor, counted: Tensor) -> Tensor:
    """Sum of the counted cells up to and with the first that is less than half covered: [n, W] -> [n]."""
    ended = (profile < 0.5).long().cumsum(1)
    first = torch.nn.functional.pad(ended[:, :-1], (1, 0))  # cells before the first end, and the end itself, have 0
    return (profile * (counted & (first == 0))).sum(1)
