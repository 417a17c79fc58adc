"""Data with one fault each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from trialbook.contracts.datasets import Modality
from trialbook_plugins.datasets.paired_latents import PairedLatents

Fault = Literal[
    "none", "train-shuffled", "evaluation-shuffled", "evaluation-shifted", "train-shifted", "overlap", "infinite", "missing",
    "offset", "constant", "evaluation-doubled",
]  # fmt: skip


class Tampered:
    """``paired-latents``, tampered with in one way.

    Args:
        fault: what is wrong with it.
        train, val, test: pairs of each split.
        noise: of the vectors.
    """

    modalities = {"image": "vector", "text": "vector"}

    def __init__(
        self, *, fault: Fault = "none", train: int = 1024, val: int = 128, test: int = 128, noise: float = 0.1
    ) -> None:
        self.inner = PairedLatents(train=train, val=val, test=test, noise=noise, nonlinearity=0.0)
        self.fault = fault
        self.fingerprint = f"{fault}-{self.inner.fingerprint}"

    def describe(self, modality: str) -> Modality:
        return self.inner.describe(modality)

    def splits(self) -> Mapping[str, _Split]:
        inner = self.inner.splits()
        if self.fault == "overlap":
            return {name: _Split(inner["train"], "none", name, len(inner[name])) for name in inner}
        return {name: _Split(split, self.fault, name, len(split)) for name, split in inner.items()}


class _Split:
    def __init__(self, inner: Any, fault: str, name: str, size: int) -> None:
        self.inner, self.name, self.size = inner, name, size
        where, _, what = fault.partition("-")
        here = where == ("train" if name == "train" else "evaluation")
        self.order = np.arange(size)
        if here and what == "shuffled":
            self.order = np.random.default_rng(0).permutation(size)
        elif here and what == "shifted":
            self.order = np.roll(self.order, -1)
        elif here and what == "doubled":  # no fault: rows may repeat within a split
            self.order = self.order // 2 * 2
        self.fault = fault

    def __len__(self) -> int:
        return self.size

    def groups(self, modality: str) -> NDArray[np.int64]:
        return np.arange(self.size)

    def read(self, modality: str, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        found = self.inner.read(modality, self._rows(modality)[rows]).copy()
        if self.fault in ("infinite", "missing") and modality == "image" and self.name == "train":
            found[rows % 100 == 7, 0] = np.inf if self.fault == "infinite" else np.nan
        if self.fault == "offset" and modality == "text":
            found += 100.0
        if self.fault == "constant" and modality == "image":
            found[:] = 1.0
        return found

    def content(self, modality: str) -> Sequence[str]:
        hashes = self.inner.content(modality)
        return [hashes[row] for row in self._rows(modality)]

    def labels(self, name: str) -> Any:
        return self.inner.labels(name)[: self.size]

    def _rows(self, modality: str) -> NDArray[np.int64]:
        moves = modality == "text" or self.fault.endswith("doubled")
        return self.order if moves else np.arange(self.size)
