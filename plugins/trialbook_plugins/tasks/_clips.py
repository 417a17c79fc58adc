"""Pictures of a split as clips, and what is known of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trialbook import TrialbookError
from trialbook.contracts import read_only
from trialbook.contracts.datasets import Split
from trialbook_plugins.probes.rows import MadeRows


def clips_of(split: Split, modality: str) -> MadeRows:
    """Images or clips of a split, uint8 [n, T, 3, H, W] with T = 1 for images, read when they are looked at."""

    def make(i: int) -> Tensor:
        row = torch.from_numpy(np.array(split.read(modality, np.array([i]))[0]))
        return row if row.ndim == 4 else row[None]

    return MadeRows((len(split.groups(modality)), *make(0).shape), make)


class Annotations(Mapping[str, Any]):
    """Annotations of the rows of a split: name to one value for each row.

    Args:
        split: whose annotations.
        modality: whose rows.
    """

    def __init__(self, split: Split, modality: str) -> None:
        self._split, self._rows = split, split.groups(modality).tolist()

    def __getitem__(self, name: str) -> Sequence[Any]:
        try:
            values = self._split.labels(name)
        except KeyError:
            raise TrialbookError(f"a metric needs the annotation '{name}', which the data set does not have") from None
        return read_only([values[group] for group in self._rows])  # type: ignore[no-any-return]

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


def to_bytes(pictures: Tensor) -> Tensor:
    """Pictures in 0 to 1 as uint8; what lies beyond is cut off."""
    return (pictures.clamp(0, 1) * 255).round().to(torch.uint8)


def mean_clip(clips: MadeRows) -> Tensor:
    """The mean of all clips, uint8 [T, 3, H, W]."""
    total = torch.zeros(clips.shape[1:], dtype=torch.float64)
    for i in range(len(clips)):
        total += clips[i : i + 1][0]
    return (total / len(clips)).round().to(torch.uint8)
