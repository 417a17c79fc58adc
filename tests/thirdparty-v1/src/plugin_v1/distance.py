"""Loss ``v1-distance``."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Distance(nn.Module):
    """Squared distance of matching unit rows, and a margin to the others, over all pairs of modalities.

    Args:
        margin: squared distance that other rows must have; from 0 to 4.

    Raises:
        ValueError: ``margin`` is outside of [0, 4].

    Source: Hadsell et al. 2006, "Dimensionality Reduction by Learning an Invariant Mapping", equation 4, with the margin on
    the squared distance.
    """

    needs: ClassVar[tuple[str, ...]] = ("embeddings",)
    produces: ClassVar[tuple[str, ...]] = ("matching",)

    def __init__(self, *, margin: float = 1.0) -> None:
        super().__init__()
        if not 0 <= margin <= 4:
            raise ValueError(f"margin ({margin}) must be from 0 to 4")
        self.margin = margin
        self.last = 0.0

    def forward(self, *, embeddings: Mapping[str, Tensor]) -> Tensor:
        """Modality name to rows [B, D] -> scalar."""
        units = [F.normalize(rows, dim=-1) for rows in embeddings.values()]
        parts = [self._pair(2 - 2 * a @ b.T) for a, b in combinations(units, 2)]
        self.last = torch.stack([matching for matching, _ in parts]).mean().detach()
        return torch.stack([matching + other for matching, other in parts]).mean()

    def _pair(self, squared: Tensor) -> tuple[Tensor, Tensor]:
        """Mean of the diagonal, and of what lies off it and within the margin."""
        off = ~torch.eye(len(squared), dtype=torch.bool, device=squared.device)
        return squared.diagonal().mean(), ((self.margin - squared).clamp(min=0) * off).sum() / off.sum().clamp(min=1)

    def report(self) -> dict[str, float | Tensor]:
        """Mean squared distance of matching rows in the last batch."""
        return {"matching": self.last}
