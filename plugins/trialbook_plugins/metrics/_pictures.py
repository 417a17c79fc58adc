"""The common parts of metrics between pictures: pairs read in slices, and means with their intervals."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trialbook_plugins.metrics._rows import full_precision
from trialbook_plugins.probes.resampling import bootstrap_interval, share_interval
from trialbook_plugins.probes.rows import Rows, as_array, chunks, read_part

_CHUNK = 16  # rows that are read at once


def floats(pictures: Rows, chosen: slice) -> Tensor:
    """Pictures uint8 [n, T, 3, H, W] of a slice as [b, T, 3, H, W] in 0 to 1."""
    return read_part(pictures, chosen).float() / 255


def by_row(
    pictures: Rows, targets: Rows, measure: Callable[[Tensor, Tensor], Tensor | NDArray[Any]], device: torch.device
) -> NDArray[np.float64]:
    """A metric of every row [n]: the mean over its frames.

    Args:
        pictures: uint8 [n, T, 3, H, W].
        targets: what they should be.
        measure: pairs of pictures [m, 3, H, W] in 0 to 1 to a metric each.
        device: where they are measured.
    """
    found = []
    with full_precision(device):
        for part in chunks(len(pictures), _CHUNK):
            a, b = (floats(one, part).to(device) for one in (pictures, targets))
            values = as_array(measure(a.flatten(0, 1), b.flatten(0, 1))).astype(np.float64)
            found.append(values.reshape(len(a), -1).mean(1))
    return np.concatenate(found)


def with_interval(name: str, values: NDArray[np.float64], *, share: bool = False) -> dict[str, float]:
    """The mean over rows and its 95% interval; of a ``share``, values from 0 to 1, also where all are 0, or all 1."""
    interval = share_interval(values) if share else bootstrap_interval(values)
    return {name: interval.value, f"{name}/low": interval.low, f"{name}/high": interval.high}
