"""Stored features of each layer of an encoder, as tokens on a grid."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import nn

from trialbook import TrialbookError
from trialbook.contracts import Builder, FeatureTable, LayerEncoder
from trialbook.contracts.datasets import Split
from trialbook_plugins.probes.rows import MadeRows

#: Name of the only layer of an encoder that gives one.
ONLY = "tokens"


class LayerFeatures:
    """Features [n, H, W, D] of the rows of one modality, by split and layer; all layers of a split come from one forward pass.

    An encoder that gives no layers is one layer, ``tokens``, whose tokens must be a square grid in raster order or one token.

    Args:
        builder: stores features.
        encoder: ``trialbook.contracts.LayerEncoder``, or any encoder; it is frozen.
        dataset: what is read.
        modality: whose rows.
        name: of the encoder's table; that of the modality if left out.
    """

    def __init__(self, builder: Builder, encoder: nn.Module, dataset: Any, modality: str, name: str = "") -> None:
        self._builder, self._encoder, self._dataset, self._modality = builder, encoder, dataset, modality
        self._name = name or modality
        encoder.requires_grad_(False).eval()
        self.names = [ONLY]
        if isinstance(encoder, LayerEncoder):
            with builder.on_device(encoder):
                self.names = list(encoder.points())
        self._read: dict[str, Mapping[str, FeatureTable]] = {}

    def verify(self) -> None:
        """Try whether tokens stand where they are said to stand.

        Raises:
            TrialbookError: they do not.
        """
        if isinstance(self._encoder, LayerEncoder):
            with self._builder.on_device(self._encoder):
                self._encoder.verify()

    def describe(self, layer: str) -> dict[str, Any]:
        """Width, grid and place of a layer, for the record."""
        if isinstance(self._encoder, LayerEncoder):
            return dict(self._encoder.points()[layer]._asdict())
        return {"width": int(self._encoder.dim), "where": "the encoder's tokens"}  # type: ignore[arg-type]

    def read(self, split: str, layer: str) -> FeatureTable:
        """Features [n, H, W, D]."""
        if split not in self._read:
            self._read[split] = self._stored(split)
        return self._read[split][layer]

    def _stored(self, split: str) -> Mapping[str, FeatureTable]:
        place = (self._name, self._encoder, self._dataset, split, self._modality)
        if isinstance(self._encoder, LayerEncoder):
            return self._builder.layer_features(*place)
        table = self._builder.features(*place)
        side = math.isqrt(table.shape[1])
        if table.mask() is not None or side * side != table.shape[1]:
            raise TrialbookError(
                f"the {table.shape[1]} tokens of the encoder are no square grid: probes read tokens on grids"
            )
        return {ONLY: table.on_grid(side, side)}


def lazy_images(split: Split, modality: str) -> MadeRows:
    """The pictures of a split, uint8 [n, 3, S, S], read when they are looked at."""
    import torch

    first = np.asarray(split.read(modality, np.arange(1)))
    return MadeRows(
        (len(split.groups(modality)), *first.shape[1:]),
        lambda i: torch.from_numpy(np.asarray(split.read(modality, np.array([i])))[0]),
    )
