"""Features of samples as matrices: tables and tensors read a chunk at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trialbook import TrialbookError
from trialbook.contracts import CPU, FeatureTable, as_float64, float64_device

#: Samples along the first axis: a tensor, an array, a table of stored features, or ``MadeRows``.
Rows: TypeAlias = "Tensor | NDArray[Any] | FeatureTable | MadeRows"
#: Share of a GPU's memory that one matrix may take.
_SHARE = 1 / 16


def read_rows(rows: Rows, chosen: slice | NDArray[np.int64], device: torch.device = CPU) -> Tensor:
    """The chosen samples as a matrix [b, D] in float64; all axes behind the first are flattened into D."""
    part = read_part(rows, chosen)
    return as_float64(part.reshape(len(part), -1).to(float64_device(device)))  # widened there: half as much is copied


def read_part(rows: Rows, chosen: slice | NDArray[np.int64]) -> Tensor:
    """The chosen samples with their axes, in the precision that they are kept in."""
    if isinstance(rows, Tensor):
        return rows[chosen] if isinstance(chosen, slice) else rows[torch.from_numpy(chosen).to(rows.device)]
    taken = rows[chosen]
    if isinstance(taken, Tensor):
        return taken
    taken = np.ascontiguousarray(taken)
    return torch.from_numpy(taken if taken.flags.writeable else taken.copy())


def as_array(values: Tensor | NDArray[Any]) -> NDArray[Any]:
    """Values as an array of the host, wherever they are."""
    return np.asarray(values.cpu() if isinstance(values, Tensor) else values)


class MadeRows:
    """Samples that are made when they are read, as an array of this shape would be: slices and arrays of indices.

    Args:
        shape: [n, …].
        make: gives one sample by its index; the same one each time.
    """

    def __init__(self, shape: tuple[int, ...], make: Callable[[int], Tensor]) -> None:
        self.shape = shape
        self._make = make

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, chosen: slice | NDArray[np.int64]) -> Tensor:
        places = range(len(self))[chosen] if isinstance(chosen, slice) else chosen.tolist()
        return torch.stack([self._make(i) for i in places]) if len(places) else torch.empty(0, *self.shape[1:])


def roomy_device(numbers: int, device: torch.device) -> torch.device:
    """Choose where a float64 matrix of so many numbers is computed with: ``device``, or the CPU where that lacks float64 or room.

    What is made of such a matrix takes a few times as much as itself, so that a GPU is left most of its memory.
    """
    if device.type == "cuda" and 8 * numbers > _SHARE * torch.cuda.get_device_properties(device).total_memory:
        return CPU
    return float64_device(device)


def held(rows: Rows, most: int = 1 << 26) -> Rows:
    """The same samples as a tensor in memory, where they have at most ``most`` numbers: what is read often is made once."""
    if isinstance(rows, MadeRows) and len(rows) * width_of(rows) <= most:
        return rows[slice(None)]
    return rows


def chunks(count: int, size: int) -> Iterator[slice]:
    """Consecutive slices of at most ``size`` samples that cover ``count``."""
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))


def width_of(rows: Rows) -> int:
    """Width D of a sample, all axes behind the first flattened."""
    return int(np.prod(rows.shape[1:], dtype=np.int64))


def check_paired(x: Rows, y: Rows, fewest: int = 4) -> int:
    """Number of samples n of both.

    Raises:
        TrialbookError: they have not equally many samples, or fewer than ``fewest``.
    """
    if len(x) != len(y):
        raise TrialbookError(
            f"the two sets have {len(x)} and {len(y)} samples; sample i of both must be the same input"
        )
    if len(x) < fewest:
        raise TrialbookError(f"{len(x)} samples are too few: this measure needs at least {fewest}")
    return len(x)


def subsample(count: int, most: int, seed: int) -> NDArray[np.int64]:
    """Ascending indices of at most ``most`` of ``count`` samples, drawn without replacement; all where they are enough."""
    if count <= most:
        return np.arange(count)
    return np.sort(np.random.default_rng([seed, count]).choice(count, most, replace=False)).astype(np.int64)


def channel_moments(rows: Rows, most: int = 512) -> tuple[Tensor, Tensor]:
    """Mean and deviation of every channel (last axis) over the first ``most`` samples, float32 [D]; 1 for a deviation of 0."""
    count, total, squares = 0, torch.zeros(rows.shape[-1]).double(), torch.zeros(rows.shape[-1]).double()
    for part in chunks(min(len(rows), most), 64):
        tokens = read_part(rows, part).reshape(-1, rows.shape[-1]).double().cpu()
        count += len(tokens)
        total += tokens.sum(0)
        squares += tokens.square().sum(0)
    mean = total / count
    deviation = (squares / count - mean.square()).clamp(min=0).sqrt()
    return mean.float(), torch.where(deviation > 1e-6 * (1 + mean.abs()), deviation, 1.0).float()
