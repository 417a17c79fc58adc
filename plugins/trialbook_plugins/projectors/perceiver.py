"""Projector ``perceiver``."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trialbook_plugins.projectors.pooling import make_pool


class Perceiver(nn.Module):
    """Perceiver resampler: M learned latents read the tokens through cross-attention: [B, N, D_in] -> [B, M, D_out].

    With ``pool``, one token is made of the latents: M = 1 in what comes out.

    Args:
        dim_in: width of the tokens.
        dim_out: width of the common space.
        latents: number M of latents.
        depth: number of layers (attention and feed-forward).
        heads: attention heads.
        head_dim: width of a head; any, as ``heads * head_dim`` need not be the width.
        ff_mult: width of the feed-forward layer, in multiples of the width.
        width: width of the latents; 0 takes that of the tokens.
        init_std: standard deviation of the latents at the start.
        query_norm: LayerNorm on the latents before they are projected to queries (and to their own keys and values).
            Without it, the size of the queries is that of the latents, and a small ``init_std`` leaves attention all
            but uniform.
        pool: how the latents are read out after the last layer: ``"none"`` gives them all, ``"mean"`` their mean,
            ``"attention"`` what one more learned query, with ``heads`` heads, reads from them.

    Raises:
        ValueError: a size is below 1 (``width`` below 0), or ``init_std`` below 0.

    Source: Flamingo, section 2.1 and appendix A.1.1; lucidrains/flamingo-pytorch ``PerceiverResampler``, with which
    it agrees in the defaults: no biases, keys and values from tokens and latents together, residuals, final
    LayerNorm. Deviations: no time embedding (tokens of one medium; the encoder knows positions); where widths differ,
    a linear map without bias brings tokens to ``width`` before and latents to ``dim_out`` after; masked tokens are
    left out of attention; ``pool`` is an addition (pooled between the final LayerNorm and that map).
    """

    keeps_tokens = False

    def __init__(
        self, dim_in: int, dim_out: int, /, *, latents: int = 64, depth: int = 6, heads: int = 8, head_dim: int = 64,
        ff_mult: int = 4, width: int = 0, init_std: float = 1.0, query_norm: bool = True,
        pool: Literal["none", "mean", "attention"] = "none",
    ) -> None:  # fmt: skip
        super().__init__()
        sizes = {"latents": latents, "depth": depth, "heads": heads, "head_dim": head_dim, "ff_mult": ff_mult}
        for name, size in sizes.items():
            if size < 1:
                raise ValueError(f"{name} ({size}) must be at least 1")
        if width < 0:
            raise ValueError(f"width ({width}) must not be below 0; 0 takes the width of the tokens")
        if init_std < 0:
            raise ValueError(f"init_std ({init_std}) must not be below 0")
        width = width or dim_in
        self.latents = nn.Parameter(torch.randn(latents, width) * init_std)
        self.map_in = nn.Identity() if width == dim_in else nn.Linear(dim_in, width, bias=False)
        self.layers = nn.ModuleList(_Layer(width, heads, head_dim, ff_mult, query_norm) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.pool = make_pool(pool, width, heads)
        self.map_out = nn.Identity() if self.pool.dim == dim_out else nn.Linear(self.pool.dim, dim_out, bias=False)

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        """[B, N, D_in], mask [B, N] -> [B, M, D_out]."""
        media = self.map_in(tokens)
        latents = self.latents.expand(len(tokens), -1, -1)
        visible = None
        if mask is not None:  # the latents themselves are always visible: [B, 1, 1, N + M]
            visible = F.pad(mask, (0, latents.shape[1]), value=True)[:, None, None]
        for layer in self.layers:
            latents = layer(latents, media, visible)
        return self.map_out(self.pool(self.norm(latents)))


class _Layer(nn.Module):
    """Latents attend to tokens and latents, then pass a feed-forward layer, both as residuals."""

    def __init__(self, width: int, heads: int, head_dim: int, ff_mult: int, query_norm: bool) -> None:
        super().__init__()
        self.heads = heads
        self.media_norm = nn.LayerNorm(width)
        self.latent_norm = nn.LayerNorm(width) if query_norm else nn.Identity()
        self.query = nn.Linear(width, heads * head_dim, bias=False)
        self.key_value = nn.Linear(width, 2 * heads * head_dim, bias=False)
        self.out = nn.Linear(heads * head_dim, width, bias=False)
        self.feed_forward = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, ff_mult * width, bias=False),
            nn.GELU(),
            nn.Linear(ff_mult * width, width, bias=False),
        )

    def forward(self, latents: Tensor, media: Tensor, visible: Tensor | None) -> Tensor:
        latents = latents + self._attend(self.latent_norm(latents), self.media_norm(media), visible)
        return latents + self.feed_forward(latents)

    def _attend(self, latents: Tensor, media: Tensor, visible: Tensor | None) -> Tensor:
        keys, values = self.key_value(torch.cat((media, latents), dim=1)).chunk(2, dim=-1)
        q, k, v = (self._split(x) for x in (self.query(latents), keys, values))
        seen = F.scaled_dot_product_attention(q, k, v, attn_mask=visible)  # [B, K, M, head_dim]
        return self.out(seen.transpose(1, 2).flatten(2))

    def _split(self, x: Tensor) -> Tensor:
        """[B, N, K * head_dim] -> [B, K, N, head_dim]."""
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)
