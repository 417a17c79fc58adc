"""Metric ``modality-gap``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import combinations
from typing import ClassVar

import torch
from torch import Tensor

from trialbook_plugins.metrics._rows import check_rows, sum_over_matching, unit_rows, without_partner


class ModalityGap:
    """Distance between the centroids of two modalities on the sphere, and the mean cosines of positive and of negative pairs.

    On embeddings of length 1: 0 where both centroids coincide, at most 2. The cosines tell what a gap hides: retrieval
    works across a wide gap as long as positive pairs (of one group) have larger cosines than all others of the two modalities.

    Source: Liang et al. 2022 (Mind the Gap), section 4.2: the difference of the centroids, here its length.
    """

    needs: ClassVar[tuple[str, ...]] = ("embeddings", "groups")
    produces: ClassVar[tuple[str, ...]] = ("{couple}", "{couple}/positive", "{couple}/negative")
    lower_is_better: ClassVar[tuple[str, ...]] = ("{couple}", "{couple}/negative")

    @torch.no_grad()
    def compute(self, *, embeddings: Mapping[str, Tensor], groups: Mapping[str, Tensor]) -> dict[str, float]:
        """Metrics of a split; NaN where an embedding is not finite, and for the negative pairs where there are none.

        Args:
            embeddings: modality name to all rows [R, D], not normalised.
            groups: modality name to the group of every row, int64 [R].
        Raises:
            TrialbookError: there are fewer than two modalities, rows and groups differ in number, or two modalities
                share no group.
        """
        check_rows("modality-gap", embeddings, groups)
        rows = {name: unit_rows(x) for name, x in embeddings.items()}
        centroids = {name: x.double().mean(dim=0) for name, x in rows.items()}
        values = {}
        for a, b in combinations(rows, 2):
            positive, count = sum_over_matching(rows[a], rows[b], groups[a], groups[b], _cosine)
            if not count:
                raise without_partner("modality-gap", a, b)
            pairs = len(rows[a]) * len(rows[b])
            total = float(centroids[a] @ centroids[b]) * pairs
            values[f"{a}-{b}"] = float((centroids[a] - centroids[b]).norm())
            values[f"{a}-{b}/positive"] = positive / count
            values[f"{a}-{b}/negative"] = (total - positive) / (pairs - count) if pairs > count else math.nan
        return values


def _cosine(x: Tensor, y: Tensor) -> Tensor:
    return (x * y).sum(dim=-1)
