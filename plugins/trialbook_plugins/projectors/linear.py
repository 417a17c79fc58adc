"""Projector ``linear``."""

from __future__ import annotations

from torch import Tensor, nn

from trialbook_plugins.projectors.pooling import Pool, make_pool


class Linear(nn.Module):
    """One linear map, over every token or over one pooled token: [B, N, D_in] -> [B, M, D_out], M = N or 1.

    Args:
        dim_in: width of the tokens.
        dim_out: width of the common space.
        bias: add a learned bias.
        pool: ``"none"`` maps every token; ``"mean"``, ``"attention"`` (a learned query) and ``"class"`` (the first
            token) make one of them first.
        heads: heads of attention pooling.

    Raises:
        ValueError: ``heads`` is below 1.

    Source: the baseline of LLaVA 1.0 (one linear layer after the vision encoder) and CLIP's projection, which has
    ``bias = false``.
    """

    def __init__(self, dim_in: int, dim_out: int, /, *, bias: bool = True, pool: Pool = "none", heads: int = 8) -> None:
        super().__init__()
        self.keeps_tokens = pool == "none"
        self.pool = make_pool(pool, dim_in, heads)
        self.map = nn.Linear(self.pool.dim, dim_out, bias=bias)

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        """[B, N, D_in], mask [B, N] -> [B, M, D_out]."""
        return self.map(self.pool(tokens, mask))
