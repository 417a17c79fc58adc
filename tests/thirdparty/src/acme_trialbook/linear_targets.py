"""Dataset ``linear-targets``."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

import numpy as np

from acme_trialbook._splits import ArraySplit
from trialbook import TrialbookError
from trialbook.contracts.datasets import Modality, content_hash


class LinearTargets:
    """Normal vectors ``vector`` with a number ``target``: a random linear function of the vector plus noise.

    Args:
        dim: width of the vectors.
        noise: standard deviation of the noise; the target's own is 1 without it.
        train: vectors of the train split.
        test: vectors of the test split.
        seed: another one draws other vectors and another function.

    Raises:
        TrialbookError: a size is below 1.
    """

    modalities = {"vector": "vector"}

    def __init__(self, *, dim: int = 8, noise: float = 0.1, train: int = 256, test: int = 128, seed: int = 0) -> None:
        if min(dim, train, test) < 1:
            raise TrialbookError(f"dim ({dim}), train ({train}) and test ({test}) must be at least 1")
        self.dim, self.noise, self.sizes, self.seed = dim, noise, {"train": train, "test": test}, seed

    def describe(self, modality: str) -> Modality:
        """Vectors of width ``dim``."""
        return Modality("vector", (self.dim,))

    def splits(self) -> Mapping[str, ArraySplit]:
        """Train and test."""
        return self._splits

    @property
    def fingerprint(self) -> str:
        """SHA-256 of all vectors and targets."""
        return content_hash(*(part for s in self._splits.values() for part in (s.name, s.rows, s.labels("target"))))

    @cached_property
    def _splits(self) -> dict[str, ArraySplit]:
        random = np.random.default_rng(self.seed)
        weight = random.standard_normal(self.dim) / self.dim**0.5
        splits = {}
        for name, size in self.sizes.items():
            rows = random.standard_normal((size, self.dim)).astype(np.float32)
            target = rows @ weight + self.noise * random.standard_normal(size)
            splits[name] = ArraySplit(name, rows, {"target": target})
        return splits
