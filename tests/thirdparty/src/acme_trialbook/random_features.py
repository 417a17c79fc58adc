"""Encoder ``random-features``."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from trialbook.contracts import Features
from trialbook.contracts.datasets import Modality, Raw


class RandomFeatures(nn.Module):
    """One random layer with tanh, never trained: vectors [B, D_in] to one token [B, 1, D].

    Args:
        modality: of kind ``vector``.
        width: width D of the token.
        scale: standard deviation of a unit before tanh, for inputs of unit variance.

    Source: Rahimi and Recht 2008, "Weighted Sums of Random Kitchen Sinks", with tanh.
    """

    accepts: ClassVar[tuple[str, ...]] = ("vector",)

    def __init__(self, modality: Modality, /, *, width: int = 64, scale: float = 0.5) -> None:
        super().__init__()
        dim_in = modality.shape[0]
        self.dim = width
        self.weight: Tensor
        self.register_buffer("weight", torch.randn(dim_in, width) * scale / dim_in**0.5)

    def prepare(self, raw: Raw) -> Tensor:
        """Vectors [B, D_in] as a tensor."""
        return torch.as_tensor(raw)

    def forward(self, prepared: Tensor) -> Features:
        """[B, D_in] -> [B, 1, D]."""
        return Features(torch.tanh(prepared @ self.weight).unsqueeze(1))
