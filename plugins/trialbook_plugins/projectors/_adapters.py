"""The common parts of adapters between grids: their grids, and the width that gives a wanted number of parameters."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from trialbook import TrialbookError


class Grid(NamedTuple):
    """Tokens of a row: moments t (1 for an image), rows h, columns w."""

    times: int
    rows: int
    columns: int

    @property
    def size(self) -> int:
        """Number of tokens."""
        return math.prod(self)


def as_grid(grid: Sequence[int] | None, wanted: str) -> Grid:
    """A grid that a task offers: (t, h, w) or (h, w).

    Raises:
        TrialbookError: the task offers none.
    """
    if grid is None:
        raise TrialbookError(f"an adapter between grids needs a task that offers '{wanted}', such as 'reconstruct'")
    return Grid(*grid) if len(grid) == 3 else Grid(1, *grid)


def masked(tokens: Tensor, mask: Tensor | None) -> Tensor:
    """Tokens [B, N, D] with 0 where ``mask`` [B, N] is False."""
    return tokens if mask is None else torch.where(mask[..., None], tokens, 0.0)


def fitting_width(make: Callable[[int], nn.Module], parameters: float | None, width: int, step: int = 8) -> int:
    """The width, in multiples of ``step``, whose module has as many parameters as can be without going above ``parameters``.

    Args:
        make: the module of a width.
        parameters: how many there are to be; None takes ``width`` as it is.
        width: width where nothing else is asked for.
        step: of widths.
    Raises:
        TrialbookError: even the narrowest module has more.
    """
    if parameters is None:
        return width

    def count(steps: int) -> int:
        with torch.device("meta"):  # shapes alone: nothing is allocated
            return sum(one.numel() for one in make(steps * step).parameters())

    if count(1) > parameters:
        raise TrialbookError(f"parameters ({parameters:g}) are too few: the narrowest adapter has {count(1)}")
    low, high = 1, 2
    while count(high) <= parameters:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if count(middle) <= parameters else (low, middle)
    return low * step
