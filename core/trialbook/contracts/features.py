"""Tokens of a batch, and those of all rows of a split as they lie in the feature store."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


class Features(NamedTuple):
    """Tokens [B, N, D] of a batch and which of them are real: mask [B, N] bool, or None where all are."""

    tokens: Tensor
    mask: Tensor | None = None

    def mean(self) -> Tensor:
        """Mean of the real tokens of each row, [B, D]; 0 where a row has none."""
        if self.mask is None:
            return self.tokens.mean(dim=1)
        weight = self.mask.unsqueeze(-1).to(self.tokens.dtype)  # [B, N, 1]
        return (self.tokens * weight).sum(dim=1) / weight.sum(dim=1).clamp(min=1)


class RowArray(Protocol):
    """As much of ``numpy.ndarray`` as a table reads: values [R, …], taken by rows, perhaps from a file."""

    @property
    def shape(self) -> tuple[int, ...]:
        """[R, …]."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the values."""

    def __len__(self) -> int:
        """Number of rows R."""

    def __getitem__(self, index: Any, /) -> NDArray[Any]:
        """The rows in a slice, or in an index array int64 [B]."""

    def reshape(self, *shape: int) -> RowArray:
        """The same values, [R, …] as well."""


class FeatureTable:
    """Outputs of a frozen encoder for all rows of a split, larger than memory perhaps: rows are read when they are asked for.

    It stands wherever samples are read in slices: it has a ``shape`` and a length, and ``table[index]`` is
    ``table.rows(index)``.

    Args:
        tokens: array [R, …], in a file or in memory; numbers that NumPy lacks (bfloat16) as int16 of the same bits.
        mask: which tokens are real, bool [R, N]; None where all are.
        dtype: of the tokens, if it is not that of the array.
    """

    def __init__(
        self,
        tokens: NDArray[Any] | RowArray,
        mask: NDArray[Any] | RowArray | None = None,
        *,
        dtype: torch.dtype | None = None,
    ) -> None:
        self._tokens, self._mask = tokens, mask
        self._dtype = dtype or torch.from_numpy(np.empty(0, tokens.dtype)).dtype

    @classmethod
    def of(cls, features: Features) -> FeatureTable:
        """The table of features that are in memory, for tests and small splits."""
        tokens, mask = features.tokens.detach().cpu(), features.mask
        array = tokens.view(torch.int16) if tokens.dtype == torch.bfloat16 else tokens
        return cls(array.numpy(), None if mask is None else mask.cpu().numpy(), dtype=tokens.dtype)

    def __len__(self) -> int:
        return len(self._tokens)

    @property
    def shape(self) -> tuple[int, ...]:
        """[R, N, D], or [R, H, W, D] where tokens lie on a grid."""
        return tuple(self._tokens.shape)

    @property
    def dtype(self) -> torch.dtype:
        """Of the tokens that ``rows`` gives."""
        return self._dtype

    def rows(self, index: slice | NDArray[np.int64]) -> Tensor:
        """Tokens [B, …] of the rows in ``index`` (a slice, or int64 [B]), on the CPU, copied out of the table."""
        taken: Tensor = _copied(self._tokens, index)
        return taken if taken.dtype == self._dtype else taken.view(self._dtype)

    __getitem__ = rows

    def mask(self, index: slice | NDArray[np.int64] = slice(None)) -> Tensor | None:
        """Mark the real tokens of the rows in ``index``, bool [B, N], on the CPU; None where all tokens of all rows are."""
        return None if self._mask is None else _copied(self._mask, index)

    def on_grid(self, rows: int, columns: int) -> FeatureTable:
        """The same tokens [R, N, D] as a grid [R, H, W, D] in raster order, read as late.

        Args:
            rows: H.
            columns: W; H * W must be N.
        """
        return FeatureTable(self._tokens.reshape(len(self), rows, columns, -1), dtype=self._dtype)


def _copied(array: NDArray[Any] | RowArray, index: slice | NDArray[np.int64]) -> Tensor:
    """Rows of an array as a tensor of their own; an index array copies by itself, a slice would be a view of the map."""
    taken = array[index]
    return torch.from_numpy(np.asarray(taken) if isinstance(index, np.ndarray) else np.array(taken))
