"""Metric ``effective-rank``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from trialbook_plugins.metrics._rows import unit_rows

#: Singular values below this share of the matrix's norm are what rounding to float32 leaves behind, and count as 0.
ROUNDING = 1e-6


class EffectiveRank:
    """The number of directions that each modality's embeddings use: exp of the entropy of their normalised singular values.

    With singular values σ of the matrix of rows [R, D] and p = σ / Σσ, the effective rank is exp(-Σ p ln p): 1 where all rows
    lie on one line, D where they fill all directions alike, and at most R. By default rows are brought to length 1 and
    their mean is taken away, so that it tells in how many directions cosines differ; a mean that all rows share would
    count as a large direction of its own. Rows that are all equal count 1. Beside it stands its share of the width D.

    Args:
        normalize: bring each row to length 1 first.
        center: take away the mean of the rows, after normalising.

    Source: Roy & Vetterli 2007, section 2, which is the plain matrix (``normalize = false, center = false``).
    """

    needs: ClassVar[tuple[str, ...]] = ("embeddings",)
    produces: ClassVar[tuple[str, ...]] = ("{modality}", "{modality}/share")

    def __init__(self, *, normalize: bool = True, center: bool = True) -> None:
        self.normalize = normalize
        self.center = center

    @torch.no_grad()
    def compute(self, *, embeddings: Mapping[str, Tensor]) -> dict[str, float]:
        """Metrics of a split; NaN for a modality with an embedding that is not finite.

        Args:
            embeddings: modality name to all rows [R, D], not normalised.
        """
        values = {}
        for name, rows in embeddings.items():
            values[name] = self._rank(rows)
            values[f"{name}/share"] = values[name] / rows.shape[1]
        return values

    def _rank(self, rows: Tensor) -> float:
        """Effective rank of rows [R, D], from the eigenvalues of the smaller of their two products with themselves."""
        if not bool(rows.isfinite().all()):
            return math.nan
        x = (unit_rows(rows) if self.normalize else rows).double()
        norm = x.norm()
        if self.center:
            x = x - x.mean(dim=0)
        product = x @ x.T if x.shape[0] < x.shape[1] else x.T @ x
        singular = torch.linalg.eigvalsh(product).clamp(min=0).sqrt()
        singular = singular[singular > ROUNDING * norm]
        share = singular / singular.sum()
        return float((-(share * share.log()).sum()).exp())
