"""Encoder ``hybrid``: the tokens of several encoders of one image, side by side."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from trialbook import TrialbookError
from trialbook.contracts import Features, LayerEncoder, LayerPoint, OrderResult, Prepared, device_of, to_device
from trialbook.contracts.datasets import Modality, Raw

POINT = "joined"


class Hybrid(nn.Module):
    """Token grids of several encoders, resampled to the finest of them and joined in width: [B, H, W, D₁ + D₂ + …].

    A model of language that has lost where things are may be joined with a plain encoder that knows (DINOv2, OWL-ViT). Every part
    gives the tokens of one layer: of ``hf-vlm`` its ``layer``, of others all their tokens, which must be a square grid in raster
    order. Each token is brought to mean 0 and deviation 1 over its width, so that no part drowns the others. What is put behind
    it (a probe, an adapter, a projector) sees one encoder.

    Args:
        modality: images that the parts read.
        of: the encoders by name; their tables stand in ``[encoder.….of.NAME]``.
        normalize: bring each token to mean 0 and deviation 1.
        tap_rows: images of one forward pass when tokens are stored.

    Raises:
        TrialbookError: there are fewer than two, or the tokens of one have no grid.

    Source: channel-wise joining of features, as in Tong et al. 2024 (Cambrian-1), section 3.1. Deviation: grids meet in
    the finest,
    bilinearly.
    """

    accepts: ClassVar[tuple[str, ...]] = ("image",)
    parts: ClassVar[Mapping[str, str]] = {"of": "encoder.*"}
    tap_choices: ClassVar[tuple[str, ...]] = ()

    def __init__(
        self, modality: Modality, of: Mapping[str, nn.Module], /, *, normalize: bool = True, tap_rows: int = 8
    ) -> None:
        super().__init__()
        if len(of) < 2:
            raise TrialbookError("of: a hybrid joins at least two encoders; write [encoder.….of.NAME] for each")
        if tap_rows < 1:
            raise TrialbookError(f"tap_rows ({tap_rows}) must be at least 1")
        self.of = nn.ModuleDict(of)
        self.normalize, self.tap_rows = normalize, tap_rows
        self.shape = modality.shape
        self.dim = sum(int(one.dim) for one in of.values())  # type: ignore[arg-type]
        self._grids: dict[str, tuple[int, int]] = {}

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of the finest grid, in each direction."""
        if not self._grids:
            black = np.zeros((1, *(side or 224 for side in self.shape)), np.uint8)
            with torch.no_grad():
                grids = self._maps(to_device(self.prepare(black), device_of(self)))
            self._grids = {name: (one.shape[1], one.shape[2]) for name, one in grids.items()}
        rows, columns = zip(*self._grids.values(), strict=True)
        return max(rows), max(columns)

    def prepare(self, raw: Raw) -> dict[str, Prepared]:
        """Images as each part wants them."""
        return {name: one.prepare(raw) for name, one in self.of.items()}  # type: ignore[operator]

    def forward(self, prepared: Mapping[str, Prepared]) -> Features:
        """Prepared images to tokens [B, H W, D]."""
        return Features(self.encode_layers(prepared)[POINT].flatten(1, 2))

    def points(self) -> Mapping[str, LayerPoint]:
        """The only point, ``joined``."""
        where = (
            " + ".join(f"{name} {rows}x{columns}" for name, (rows, columns) in self._grids.items()) if self.grid else ""
        )
        return {POINT: LayerPoint(self.dim, self.grid, where)}

    def encode_layers(self, prepared: Mapping[str, Prepared]) -> dict[str, Tensor]:
        """Tokens [B, H, W, D]."""
        found = []
        for tokens in self._maps(prepared).values():
            own = functional.layer_norm(tokens, tokens.shape[-1:]) if self.normalize else tokens
            planes = own.permute(0, 3, 1, 2)
            if planes.shape[2:] != self.grid:
                planes = functional.interpolate(planes, self.grid, mode="bilinear", align_corners=False)
            found.append(planes)
        return {POINT: torch.cat(found, dim=1).permute(0, 2, 3, 1)}

    def _maps(self, prepared: Mapping[str, Prepared]) -> dict[str, Tensor]:
        """Tokens of each part on its own grid [B, H, W, D]."""
        return {name: _on_grid(name, one, *one(prepared[name])) for name, one in self.of.items()}

    def identity(self) -> dict[str, str]:
        """Return what the parts' tokens depend on beside weights and options."""
        told = {name: dict(one.identity()) for name, one in self.of.items() if hasattr(one, "identity")}  # type: ignore[operator]
        return {f"{name}.{key}": value for name, own in told.items() for key, value in own.items()}

    def check_order(self) -> Mapping[str, OrderResult]:
        """The worst result of the parts that can be tried."""
        results = [
            OrderResult(one.passed, one.share, one.cells, one.message and f"{name}/{layer}: {one.message}")
            for name, part in self.of.items()
            if isinstance(part, LayerEncoder)
            for layer, one in part.check_order().items()
        ]
        return {POINT: min(results, key=lambda one: (one.passed, one.share), default=OrderResult(True, 1.0, 0))}

    def verify(self) -> None:
        """Nothing, where the tokens of every part that can be tried stand where they are said to stand."""
        for part in self.of.values():
            if isinstance(part, LayerEncoder):
                part.verify()


def _on_grid(name: str, part: Any, tokens: Tensor, mask: Tensor | None) -> Tensor:
    """Tokens [B, N, D] on their grid [B, H, W, D]."""
    if isinstance(part, LayerEncoder):
        layer = getattr(part, "layer", None) or next(iter(part.points()))
        rows, columns = part.points()[layer].grid
    else:
        rows = columns = math.isqrt(tokens.shape[1])
    if mask is not None or rows * columns != tokens.shape[1]:
        raise TrialbookError(
            f"of.{name}: its {tokens.shape[1]} tokens are no square grid (leave class tokens and registers out)"
        )
    return tokens.unflatten(1, (rows, columns)).float()
