"""Encoder ``v1-cosines``."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor, nn

from trialbook.contracts import Features, Modality, Raw


class Cosines(nn.Module):
    """Random cosine features of vectors, never trained: [B, D_in] to one token [B, 1, D].

    Args:
        modality: of kind ``vector``.
        width: width D of the token.
        scale: standard deviation of the frequencies.

    Source: Rahimi and Recht 2007, "Random Features for Large-Scale Kernel Machines", algorithm 1.
    """

    accepts: ClassVar[tuple[str, ...]] = ("vector",)
    learns = False

    def __init__(self, modality: Modality, /, *, width: int = 32, scale: float = 0.5) -> None:
        super().__init__()
        self.dim = width
        self.frequencies: Tensor
        self.phases: Tensor
        self.register_buffer("frequencies", torch.randn(modality.shape[0], width) * scale)
        self.register_buffer("phases", torch.rand(width) * 2 * math.pi)

    def prepare(self, raw: Raw) -> Tensor:
        """Vectors [B, D_in] as a tensor."""
        return torch.as_tensor(raw)

    def forward(self, prepared: Tensor) -> Features:
        """[B, D_in] -> [B, 1, D]."""
        waves = torch.cos(prepared @ self.frequencies + self.phases)
        return Features((math.sqrt(2 / self.dim) * waves).unsqueeze(1))
