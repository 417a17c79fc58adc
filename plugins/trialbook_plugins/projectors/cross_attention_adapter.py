"""Projector ``cross-attention-adapter``: latents on a grid that look at the tokens of another."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trialbook import TrialbookError
from trialbook_plugins.projectors._adapters import Grid, as_grid, fitting_width

_OCTAVES = 6.0  # from one half-wave over the picture to 2 ** 6 of them


class CrossAttentionAdapter(nn.Module):
    """One query for each latent, which knows its place, reads all tokens, which know theirs: [B, N, D_in] -> [B, M, D_out].

    Places are sines and cosines of moment, row and column as shares of the whole, the same for queries and tokens whatever their
    grids: a query can look where it lies.

    Args:
        dim_in: width of the tokens.
        dim_out: channels of the latents.
        grid_in: moments, rows and columns of the tokens.
        grid_out: moments, rows and columns of the latents.
        depth: layers of cross-attention and feed-forward.
        heads: attention heads.
        width: width of the queries, a multiple of ``heads``.
        parameters: in place of ``width``, how many parameters there are to be: the width that comes nearest without more.
        ff_mult: width of the feed-forward layers, in multiples of the width.

    Raises:
        TrialbookError: an option is out of its range, or the task offers no grids.

    Source: cross-attention of learned queries as in Carion et al. 2020 (DETR), section 3.2, without self-attention.
    """

    keeps_tokens = False

    def __init__(
        self, dim_in: int, dim_out: int, grid_in: Sequence[int] | None = None, grid_out: Sequence[int] | None = None, /, *,
        depth: int = 2, heads: int = 8, width: int = 384, parameters: float | None = None, ff_mult: int = 4,
    ) -> None:  # fmt: skip
        super().__init__()
        for name, value in {"depth": depth, "heads": heads, "width": width, "ff_mult": ff_mult}.items():
            if value < 1:
                raise TrialbookError(f"{name} ({value}) must be at least 1")
        if width % heads and parameters is None:
            raise TrialbookError(f"heads ({heads}) must divide width ({width})")
        self.grid_in, self.grid_out = as_grid(grid_in, "grid_in"), as_grid(grid_out, "grid_out")

        def parts(wide: int) -> nn.ModuleDict:
            return nn.ModuleDict({
                "queries": nn.Embedding(self.grid_out.size, wide),
                "tokens": nn.Sequential(nn.LayerNorm(dim_in), nn.Linear(dim_in, wide)),
                "layers": nn.ModuleList(_Layer(wide, heads, ff_mult) for _ in range(depth)),
                "out": nn.Sequential(nn.LayerNorm(wide), nn.Linear(wide, dim_out)),
            })  # fmt: skip

        wide = fitting_width(parts, parameters, width, heads)
        self.parts = parts(wide)
        self.places_in: Tensor
        self.places_out: Tensor
        self.register_buffer("places_in", places(self.grid_in, wide), persistent=False)
        self.register_buffer("places_out", places(self.grid_out, wide), persistent=False)

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        """[B, N, D_in], mask [B, N] -> [B, M, D_out]."""
        media = self.parts["tokens"](tokens) + self.places_in
        latents = (self.parts["queries"].weight + self.places_out).expand(len(tokens), -1, -1)
        visible = None if mask is None else mask[:, None, None]  # [B, 1, 1, N]
        for layer in self.parts["layers"]:  # type: ignore[attr-defined]
            latents = layer(latents, media, visible)
        result: Tensor = self.parts["out"](latents)
        return result


class _Layer(nn.Module):
    """Latents attend to tokens, then pass a feed-forward layer, both as residuals."""

    def __init__(self, width: int, heads: int, ff_mult: int) -> None:
        super().__init__()
        self.heads = heads
        self.latent_norm, self.media_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query, self.out = nn.Linear(width, width), nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.feed_forward = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, ff_mult * width), nn.GELU(), nn.Linear(ff_mult * width, width)
        )

    def forward(self, latents: Tensor, media: Tensor, visible: Tensor | None) -> Tensor:
        keys, values = self.key_value(self.media_norm(media)).chunk(2, dim=-1)
        q, k, v = (
            x.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for x in (self.query(self.latent_norm(latents)), keys, values)
        )
        seen = F.scaled_dot_product_attention(q, k, v, attn_mask=visible)
        latents = latents + self.out(seen.transpose(1, 2).flatten(2))
        return latents + self.feed_forward(latents)


def places(grid: Grid, width: int) -> Tensor:
    """Sines and cosines of where the cells of a grid lie [N, width], a third of the width for each axis; what is over is 0."""
    each = width // 6
    angles = torch.pi * 2 ** torch.linspace(0, _OCTAVES, max(each, 1))[:each]
    axes = torch.meshgrid(*((torch.arange(count) + 0.5) / count for count in grid), indexing="ij")
    waves = [wave(axis.reshape(-1, 1) * angles) for axis in axes for wave in (torch.sin, torch.cos)]
    return F.pad(torch.cat(waves, dim=1), (0, width - 6 * each))
