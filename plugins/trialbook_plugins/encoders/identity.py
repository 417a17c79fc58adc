"""Encoder ``identity``: vectors and series as they are."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from trialbook import TrialbookError
from trialbook.contracts import Features
from trialbook.contracts.datasets import Modality, Raw


class Identity(nn.Module):
    """Vectors [B, D] as one token each, series [B, T, C] as one token a time step; nothing to learn.

    Args:
        modality: of kind ``vector`` or ``series``.

    Raises:
        TrialbookError: the modality has no fixed width.

    Source: none, nothing is computed.
    """

    accepts: ClassVar[tuple[str, ...]] = ("vector", "series")

    def __init__(self, modality: Modality, /) -> None:
        super().__init__()
        if not modality.shape:
            raise TrialbookError(f"encoder 'identity' needs rows of a known width; this {modality.kind} has no shape")
        self.dim = modality.shape[-1]

    def prepare(self, raw: Raw) -> Tensor:
        """Vectors [B, D] or series [B, T, C] as a float32 tensor."""
        rows = torch.as_tensor(raw, dtype=torch.float32)
        if rows.ndim not in (2, 3) or rows.shape[-1] != self.dim:
            raise TrialbookError(
                f"encoder 'identity' reads [B, {self.dim}] or [B, T, {self.dim}], not {list(rows.shape)}"
            )
        return rows

    def forward(self, prepared: Tensor) -> Features:
        """[B, D] -> [B, 1, D]; [B, T, C] -> [B, T, C]."""
        return Features(prepared.unsqueeze(1) if prepared.ndim == 2 else prepared)
