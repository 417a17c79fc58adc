"""Metric ``modality-gap``."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import permutations
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from trialbook.contracts.datasets import pair_names


class ModalityGap:
    """Distance between the centroids of two modalities on the unit sphere.

    Args:
        squared: report the squared distance.

    Source: Liang et al. 2022, "Mind the Gap", section 4.2.
    """

    needs: ClassVar[tuple[str, ...]] = ("embeddings",)
    produces: ClassVar[tuple[str, ...]] = ("{pair}",)

    def __init__(self, *, squared: bool = False) -> None:
        self.power = 2 if squared else 1

    @torch.no_grad()
    def compute(self, *, embeddings: Mapping[str, Tensor]) -> dict[str, float]:
        """Modality name to all rows [R, D] -> one metric for every ordered pair."""
        centres = {name: F.normalize(rows, dim=-1).mean(dim=0) for name, rows in embeddings.items()}
        names = pair_names(list(embeddings))
        gaps = {(a, b): float((centres[a] - centres[b]).norm()) for a, b in permutations(centres, 2)}
        return {names[pair]: gap**self.power for pair, gap in gaps.items()}
