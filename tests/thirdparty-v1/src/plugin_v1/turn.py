"""Projector ``v1-turn``."""

from __future__ import annotations

from torch import Tensor, nn


class Turn(nn.Module):
    """A linear map of every token without bias: [B, N, D_in] -> [B, N, D_out].

    Args:
        dim_in: width of the tokens.
        dim_out: width of the common space.
        gain: of the orthogonal initialisation.

    Source: Saxe et al. 2014, "Exact Solutions to the Nonlinear Dynamics of Learning …", for the initialisation.
    """

    keeps_tokens = True

    def __init__(self, dim_in: int, dim_out: int, /, *, gain: float = 1.0) -> None:
        super().__init__()
        self.map = nn.Linear(dim_in, dim_out, bias=False)
        nn.init.orthogonal_(self.map.weight, gain)

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        """[B, N, D_in], mask [B, N] -> [B, N, D_out]."""
        return self.map(tokens)
