"""A split of arrays that lie in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trialbook.contracts.datasets import Raw, Rows, content_hash


@dataclass(frozen=True)
class ArraySplit:
    """One row of one modality in each group.

    Args:
        name: of the split.
        rows: [G, …].
        annotations: label name to an array [G, …].
    """

    name: str
    rows: NDArray[Any]
    annotations: Mapping[str, NDArray[Any]]

    def __len__(self) -> int:
        return len(self.rows)

    def groups(self, modality: str) -> Rows:
        """Row i belongs to group i."""
        return np.arange(len(self.rows), dtype=np.int64)

    def read(self, modality: str, rows: Rows) -> Raw:
        """These rows, in this order."""
        return self.rows[rows]

    def content(self, modality: str) -> Sequence[str]:
        """A hash of every row."""
        return [content_hash(row) for row in self.rows]

    def labels(self, name: str) -> NDArray[Any]:
        """An annotation; KeyError where there is none of that name."""
        return self.annotations[name]
