"""Rows of one modality in one split, whichever way they reach the forward pass."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from trialbook import TrialbookError
from trialbook.contracts import Features, FeatureTable
from trialbook.contracts.datasets import Raw, Split
from trialbook_plugins.tasks._blocks import counted_blocks, masked_blocks


class Rows(NamedTuple):
    """The input of a modality's encoder or projector: features of a frozen encoder, or prepared rows.

    Args:
        stored: features of a frozen encoder.
        prepared: what the encoder's ``prepare`` made.
        tags: what losses ask to know of each row, by name, int64 [B]; see ``trialbook_plugins.tasks._tags``.
        there: which blocks of tokens each row has, bool [B, T], on the CPU; None where it has all of them.
    """

    stored: Features | None
    prepared: Any
    tags: Mapping[str, Tensor] = MappingProxyType({})
    there: NDArray[np.bool_] | None = None


@dataclass
class Source:
    """Rows of one modality in one split, stored or to be prepared.

    Rows are listed by group, so that one of a group's rows is drawn without a search. ``tags`` are handed over with the
    rows: name to int64 [R].
    """

    split: Split
    modality: str
    encoder: nn.Module
    stored: FeatureTable | None
    prepared: Any
    tags: Mapping[str, NDArray[np.int64]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.groups = self.split.groups(self.modality)
        self.by_group = np.argsort(self.groups, kind="stable")
        self.counts = np.bincount(self.groups, minlength=len(self.split))
        self.starts = np.concatenate([[0], np.cumsum(self.counts)[:-1]])
        if (empty := int((self.counts == 0).sum())) > 0:
            raise TrialbookError(f"{empty} samples of split '{self.split.name}' have no '{self.modality}'")

    def draw(self, samples: NDArray[np.int64], uniform: NDArray[np.float64]) -> NDArray[np.int64]:
        """One row of each sample [B]; ``uniform`` [G] in [0, 1) decides which."""
        offset = (uniform[samples] * self.counts[samples]).astype(np.int64)
        chosen: NDArray[np.int64] = self.by_group[self.starts[samples] + offset]
        return chosen

    def read(self, rows: NDArray[np.int64]) -> Rows:
        """The rows [B], ready for the forward pass."""
        tags = {name: torch.from_numpy(values[rows]) for name, values in self.tags.items()}
        if self.stored is not None:
            return stored_rows(self.encoder, self.stored, rows, tags)
        if self.prepared is not None:
            return Rows(None, _index(self.prepared, rows), tags)
        return prepared_rows(self.encoder, self.split.read(self.modality, rows), tags)


def stored_rows(
    encoder: nn.Module, stored: FeatureTable, rows: NDArray[np.int64], tags: Mapping[str, Tensor] = MappingProxyType({})
) -> Rows:
    """Rows [B] of what a frozen encoder gave."""
    features = Features(stored.rows(rows), mask := stored.mask(rows))
    return Rows(features, None, tags, None if mask is None else masked_blocks(encoder, mask.numpy()))


def prepared_rows(encoder: nn.Module, raw: Raw, tags: Mapping[str, Tensor] = MappingProxyType({})) -> Rows:
    """Raw rows [B] as an encoder wants them."""
    return Rows(None, encoder.prepare(raw), tags, counted_blocks(encoder, raw))  # type: ignore[operator]


def _index(prepared: Any, rows: NDArray[np.int64]) -> Any:
    """Rows of prepared tensors and arrays, however they are nested."""
    if isinstance(prepared, Tensor):
        return prepared[torch.from_numpy(rows)]
    if isinstance(prepared, np.ndarray):
        return prepared[rows]
    if isinstance(prepared, Mapping):
        return {key: _index(value, rows) for key, value in prepared.items()}
    return type(prepared)(*(_index(value, rows) for value in prepared))
