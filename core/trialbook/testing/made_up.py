"""A small data set that is made up, for tests of tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from trialbook.contracts.datasets import Modality, Raw, Rows, content_hash

_IMAGES = {"image": Modality("image", (3, 16, 16))}


class MadeUpDataset:
    """Random rows of any numeric modalities, one of each in a group; splits ``train``, ``val`` and ``test``.

    Args:
        modalities: name to modality, of the kinds ``image``, ``vector`` and ``series``; images of 16 × 16 if left out.
        labels: annotations of every split: name to a value for each group.
        groups: of a split.
    """

    def __init__(
        self, modalities: Mapping[str, Modality] | None = None, labels: Mapping[str, Sequence[Any]] | None = None,
        groups: int = 8,
    ) -> None:  # fmt: skip
        self._described = dict(_IMAGES if modalities is None else modalities)
        self.modalities = {name: modality.kind for name, modality in self._described.items()}
        self._splits = {
            name: MadeUpSplit(name, self._rows(place, groups), dict(labels or {}), groups)
            for place, name in enumerate(("train", "val", "test"))
        }

    def _rows(self, place: int, groups: int) -> dict[str, Any]:
        random = np.random.default_rng(place)
        return {
            name: random.integers(0, 256, (groups, *modality.shape), dtype=np.uint8)
            if modality.kind == "image"
            else random.standard_normal((groups, *modality.shape)).astype(np.float32)
            for name, modality in self._described.items()
        }

    def describe(self, modality: str) -> Modality:
        """Kind and shape of a modality."""
        return self._described[modality]

    def splits(self) -> Mapping[str, MadeUpSplit]:
        """Train, val and test."""
        return self._splits

    @property
    def fingerprint(self) -> str:
        """SHA-256 of all rows."""
        return content_hash(*(rows for split in self._splits.values() for rows in split.rows.values()))


class MadeUpSplit:
    """One split of it; row i of every modality is the only one of group i."""

    def __init__(self, name: str, rows: Mapping[str, Any], labels: Mapping[str, Sequence[Any]], groups: int) -> None:
        self.name, self.rows, self._labels, self._groups = name, rows, labels, groups

    def __len__(self) -> int:
        return self._groups

    def groups(self, modality: str) -> Rows:
        """0, 1, 2, …."""
        return np.arange(self._groups, dtype=np.int64)

    def read(self, modality: str, rows: Rows) -> Raw:
        """These rows."""
        return self.rows[modality][rows]

    def content(self, modality: str) -> Sequence[str]:
        """A hash of every row."""
        return [content_hash(row) for row in self.rows[modality]]

    def labels(self, name: str) -> Sequence[Any]:
        """An annotation; KeyError where it was not given."""
        return self._labels[name]
