"""Projector ``mlp``."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from trialbook_plugins.projectors.pooling import Pool, make_pool


class MLP(nn.Module):
    """Linear layers with exact GELU between, over every token or one pooled token: [B, N, D_in] -> [B, M, D_out].

    Args:
        dim_in: width of the tokens.
        dim_out: width of the common space.
        layers: number of linear layers.
        hidden: width between the layers; 0 takes the width of the common space.
        pool: ``"none"`` maps every token; ``"mean"``, ``"attention"`` (a learned query) and ``"class"`` (the first
            token) make one of them first, so that the layers see one token a row.
        heads: heads of attention pooling.
        norm: LayerNorm before the first layer, after pooling.
        dropout: share of the activations dropped after each GELU while training.

    Raises:
        ValueError: ``layers`` or ``heads`` is below 1, ``hidden`` below 0, or ``dropout`` outside [0, 1).

    Source: LLaVA-1.5's ``mlp2x_gelu`` with the default options (two layers, ``hidden = dim_out``, biases, default
    initialisation). Pooling comes before the map as in open_clip's vision tower (attentional pooler, LayerNorm,
    projection); ``norm`` is that LayerNorm.
    """

    def __init__(
        self, dim_in: int, dim_out: int, /, *, layers: int = 2, hidden: int = 0, pool: Pool = "none", heads: int = 8,
        norm: bool = False, dropout: float = 0.0,
    ) -> None:  # fmt: skip
        super().__init__()
        if layers < 1:
            raise ValueError(f"layers ({layers}) must be at least 1")
        if hidden < 0:
            raise ValueError(f"hidden ({hidden}) must not be below 0; 0 takes the width of the common space")
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout ({dropout}) must be at least 0 and below 1")
        self.keeps_tokens = pool == "none"
        self.pool = make_pool(pool, dim_in, heads)
        self.norm = nn.LayerNorm(self.pool.dim) if norm else nn.Identity()
        widths = [self.pool.dim, *[hidden or dim_out] * (layers - 1), dim_out]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))
        self.activation = nn.GELU()
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        """[B, N, D_in], mask [B, N] -> [B, M, D_out]."""
        x = self.norm(self.pool(tokens, mask))
        for layer in self.layers[:-1]:
            x = self.dropout(self.activation(layer(x)))
        return self.layers[-1](x)
