"""Projector ``mlp-adapter``: tokens on one grid to latents on another, each cell from its own tokens."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional

from trialbook import TrialbookError
from trialbook_plugins.projectors._adapters import as_grid, fitting_width, masked


class MLPAdapter(nn.Module):
    """Two hidden layers with GELU, for each cell of latents from the tokens that lie in it: [B, N, D_in] -> [B, M, D_out].

    Where grids do not divide one another, tokens are resampled (trilinearly) to as many as each cell is to read, and read side by
    side, so that where a token lies within its cell is not lost. What lies in one cell has no influence on another.

    Args:
        dim_in: width of the tokens.
        dim_out: channels of the latents.
        grid_in: moments, rows and columns of the tokens.
        grid_out: moments, rows and columns of the latents.
        hidden: width of the hidden layers.
        parameters: in place of ``hidden``, how many parameters there are to be: the width that comes nearest without more.
        per_cell: tokens that a cell reads along each axis; 0 takes as many as lie in it. 1 averages what lies in it.

    Raises:
        TrialbookError: an option is out of its range, or the task offers no grids.

    Source: the three linear maps of LLaVA-like connectors, one deeper (Liu et al. 2024, section 3.3). Deviations: LayerNorm on
    the tokens, several tokens a cell.
    """

    keeps_tokens = False

    def __init__(
        self, dim_in: int, dim_out: int, grid_in: Sequence[int] | None = None, grid_out: Sequence[int] | None = None, /, *,
        hidden: int = 2048, parameters: float | None = None, per_cell: int = 0,
    ) -> None:  # fmt: skip
        super().__init__()
        for name, value, least in (("hidden", hidden, 1), ("per_cell", per_cell, 0)):
            if value < least:
                raise TrialbookError(f"{name} ({value}) must be at least {least}")
        self.grid_in, self.grid_out = as_grid(grid_in, "grid_in"), as_grid(grid_out, "grid_out")
        self.read = tuple(
            per_cell or math.ceil(given / wanted) for given, wanted in zip(self.grid_in, self.grid_out, strict=True)
        )
        inputs = dim_in * math.prod(self.read)

        def layers(width: int) -> nn.Sequential:
            return nn.Sequential(
                nn.Linear(inputs, width), nn.GELU(), nn.Linear(width, width), nn.GELU(), nn.Linear(width, dim_out)
            )

        self.norm = nn.LayerNorm(dim_in)
        own = sum(one.numel() for one in self.norm.parameters())
        rest = None if parameters is None else parameters - own
        self.layers = layers(fitting_width(layers, rest, hidden))

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        """[B, N, D_in], mask [B, N] -> [B, M, D_out]; masked tokens are read as 0."""
        grid = masked(self.norm(tokens), mask).transpose(1, 2).unflatten(2, self.grid_in)  # [B, D, t, h, w]
        return self.layers(self._gathered(grid))

    def _gathered(self, grid: Tensor) -> Tensor:
        """The tokens of each cell side by side: [B, D, t, h, w] -> [B, M, D · tokens]."""
        size = tuple(cells * each for cells, each in zip(self.grid_out, self.read, strict=True))
        if size != tuple(self.grid_in):
            if all(wanted >= given for wanted, given in zip(size, self.grid_in, strict=True)):
                grid = functional.interpolate(grid, size, mode="trilinear", align_corners=False)
            else:
                grid = functional.adaptive_avg_pool3d(grid, size)
        times, rows, columns = self.grid_out
        a, b, c = self.read
        cells = grid.reshape(len(grid), -1, times, a, rows, b, columns, c).permute(0, 2, 4, 6, 1, 3, 5, 7)
        return cells.reshape(len(grid), self.grid_out.size, -1)
