"""Projector ``gated``."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Gated(nn.Module):
    """A linear map of every token times a sigmoid gate of the same token: [B, N, D_in] -> [B, N, D_out].

    Args:
        dim_in: width of the tokens.
        dim_out: width of the common space.
        gate_bias: bias of the gate at the start; a high one starts with an open gate.

    Source: Dauphin et al. 2017, "Language Modeling with Gated Convolutional Networks", equation 1, with kernel size 1.
    """

    keeps_tokens = True

    def __init__(self, dim_in: int, dim_out: int, /, *, gate_bias: float = 2.0) -> None:
        super().__init__()
        self.value = nn.Linear(dim_in, dim_out)
        self.gate = nn.Linear(dim_in, dim_out)
        nn.init.constant_(self.gate.bias, gate_bias)

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        """[B, N, D_in], mask [B, N] -> [B, N, D_out]."""
        return self.value(tokens) * torch.sigmoid(self.gate(tokens))
