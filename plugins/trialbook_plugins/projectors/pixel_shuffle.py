"""Projector ``pixel-shuffle``."""

from __future__ import annotations

import math

from torch import Tensor, nn

from trialbook import TrialbookError


class PixelShuffle(nn.Module):
    """Neighbouring tokens side by side in one, then two linear layers with GELU between: [B, N, D_in] -> [B, N / (h w), D_out].

    The tokens are a grid in raster order, ``columns`` wide; each block of h × w of them becomes one token of width D_in · h · w,
    its members row by row. Fewer tokens for the language model, without losing where anything is.

    Args:
        dim_in: width of the tokens.
        dim_out: width of the common space.
        factor: side of a square block, or rows and columns of a block, ``[h, w]``: text runs along rows, so that wide blocks keep
            words whole.
        columns: width of the grid in tokens; 0 for a grid that is as wide as high.
        hidden: width between the layers; 0 takes the width of the common space.
        norm: LayerNorm before the first layer.

    Raises:
        ValueError: ``factor`` is below 1 or not one or two numbers, or ``columns`` or ``hidden`` below 0.
        TrialbookError: the tokens are no such grid, or ``factor`` does not divide its sides.

    Source: the space-to-depth step and the two-layer connector of InternVL 1.5 (Chen et al. 2024, section 3.1) and of Idefics3
    (Laurençon et al. 2024, section 4.1); wide blocks (1 × 4) as in the H-Reducer of mPLUG-DocOwl 1.5 (Hu et al. 2024, section 3).
    Deviation: members row by row, where the first two reference programs order them otherwise (a permutation of the first
    layer's columns).
    """

    keeps_tokens = False

    def __init__(
        self, dim_in: int, dim_out: int, /, *, factor: int | list[int] = 2, columns: int = 0, hidden: int = 0,
        norm: bool = True,
    ) -> None:  # fmt: skip
        super().__init__()
        block = [factor, factor] if isinstance(factor, int) else factor
        if len(block) != 2 or min(block) < 1:
            raise ValueError(f"factor ({factor}) must be at least 1, or two such numbers: rows and columns of a block")
        if columns < 0:
            raise ValueError(f"columns ({columns}) must not be below 0; 0 is a grid as wide as high")
        if hidden < 0:
            raise ValueError(f"hidden ({hidden}) must not be below 0; 0 takes the width of the common space")
        self.block, self.columns = (block[0], block[1]), columns
        width = dim_in * block[0] * block[1]
        self.norm = nn.LayerNorm(width) if norm else nn.Identity()
        self.layers = nn.Sequential(
            nn.Linear(width, hidden or dim_out), nn.GELU(), nn.Linear(hidden or dim_out, dim_out)
        )

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        """[B, N, D_in], mask [B, N] -> [B, M, D_out]; what is masked counts as zeros."""
        if mask is not None:
            tokens = tokens * mask.unsqueeze(-1)
        return self.layers(self.norm(self.merge(tokens)))  # type: ignore[no-any-return]

    def merge(self, tokens: Tensor) -> Tensor:
        """[B, N, D] -> [B, N / (h w), D h w]."""
        batch, count, width = tokens.shape
        high, wide = self.block
        columns = self.columns or math.isqrt(count)
        rows, rest = divmod(count, columns)
        if rest or (not self.columns and rows != columns):
            raise TrialbookError(f"{count} tokens are no grid {columns} wide; set columns of projector 'pixel-shuffle'")
        if rows % high or columns % wide:
            raise TrialbookError(f"factor ({high} × {wide}) must divide the grid of {rows} × {columns} tokens")
        grid = tokens.reshape(batch, rows // high, high, columns // wide, wide, width)
        return grid.transpose(2, 3).reshape(batch, count // (high * wide), width * high * wide)
