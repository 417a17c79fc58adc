"""Encoders with one fault each."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from trialbook.contracts import Features
from trialbook.contracts.datasets import Modality, Raw


class Drifts(nn.Module):
    """A linear map of vectors that writes into its own weights whenever it is used."""

    accepts = ("vector",)

    def __init__(self, modality: Modality, /) -> None:
        super().__init__()
        self.dim = modality.shape[0]
        self.linear = nn.Linear(self.dim, self.dim)

    def prepare(self, raw: Raw) -> Tensor:
        return torch.as_tensor(raw)

    def forward(self, prepared: Tensor) -> Features:
        with torch.no_grad():
            self.linear.weight.mul_(1.001)
        return Features(self.linear(prepared)[:, None], None)
