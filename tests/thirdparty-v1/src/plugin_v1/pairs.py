"""Dataset ``v1-pairs``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trialbook import TrialbookError
from trialbook.contracts import Modality, assign_splits, content_hash


class Pairs:
    """Normal vectors ``left`` and what a rotation makes of them, ``right``; each has a class, the sign of its first number.

    Args:
        size: number of pairs, over all splits.
        dim: width of the vectors.
        seed: another one draws other vectors and another rotation.

    Raises:
        TrialbookError: ``size`` is below 30 or ``dim`` below 2.
    """

    modalities = {"left": "vector", "right": "vector"}

    def __init__(self, *, size: int = 120, dim: int = 6, seed: int = 0) -> None:
        if size < 30 or dim < 2:
            raise TrialbookError(f"size ({size}) must be at least 30, and dim ({dim}) at least 2")
        self.size, self.dim, self.seed = size, dim, seed

    def describe(self, modality: str) -> Modality:
        """Vectors of width ``dim``."""
        return Modality("vector", (self.dim,))

    def splits(self) -> Mapping[str, PairsSplit]:
        """Train, val and test."""
        return self._splits

    @property
    def fingerprint(self) -> str:
        """SHA-256 of all vectors."""
        return content_hash(*(rows for split in self._splits.values() for rows in split.rows.values()))

    @cached_property
    def _splits(self) -> dict[str, PairsSplit]:
        random = np.random.default_rng(self.seed)
        rotation, _ = np.linalg.qr(random.standard_normal((self.dim, self.dim)))
        left = random.standard_normal((self.size, self.dim)).astype(np.float32)
        right = (left @ rotation).astype(np.float32)
        shares = {"train": 0.6, "val": 0.2, "test": 0.2}
        dealt = assign_splits([content_hash(row) for row in left], shares, self.seed)
        return {name: PairsSplit(name, {"left": left[i], "right": right[i]}) for name, i in dealt.items()}


class PairsSplit:
    """One split; row i of both modalities is group i."""

    def __init__(self, name: str, rows: Mapping[str, NDArray[np.float32]]) -> None:
        self.name, self.rows = name, rows

    def __len__(self) -> int:
        return len(self.rows["left"])

    def groups(self, modality: str) -> NDArray[np.int64]:
        """0, 1, 2, …."""
        return np.arange(len(self), dtype=np.int64)

    def read(self, modality: str, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Vectors [B, D]."""
        return self.rows[modality][rows]

    def content(self, modality: str) -> Sequence[str]:
        """A hash of every vector."""
        return [content_hash(row) for row in self.rows[modality]]

    def labels(self, name: str) -> Any:
        """``classes``; there is no other annotation."""
        return {"classes": (self.rows["left"][:, 0] > 0).astype(np.int64)}[name]
