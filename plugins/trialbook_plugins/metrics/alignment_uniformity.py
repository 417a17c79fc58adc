"""Metric ``alignment-uniformity``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import combinations
from typing import ClassVar

import torch
from torch import Tensor

from trialbook_plugins.metrics._rows import check_rows, full_precision, sum_over_matching, unit_rows, without_partner


class AlignmentUniformity:
    """The closeness of matching rows of two modalities, and how evenly the rows of each cover the sphere; lower is better.

    On embeddings of length 1. Alignment is the mean of ‖x - y‖^alpha over all pairs of rows of one group: 0 where all
    partners coincide, 2 for random directions (alpha 2). Uniformity is ln of the mean of exp(-t ‖x - y‖²) over all pairs of
    different rows of one modality: 0 where all rows coincide, near -2t where they spread evenly in many dimensions. Alone
    neither says anything: a collapsed model has perfect alignment.

    Args:
        alpha: exponent of the distances of matching rows.
        t: how fast a pair of rows of one modality counts less with its distance.
        chunk: rows compared at once, on either side; memory is a few times ``chunk²`` numbers, whatever the size of the
            split.

    Raises:
        ValueError: ``alpha`` or ``t`` is not above 0, or ``chunk`` is below 1.

    Source: Wang & Isola 2020, section 4.1, with its alpha 2 and t 2; there both rows of a pair come from one encoder.
    """

    needs: ClassVar[tuple[str, ...]] = ("embeddings", "groups")
    produces: ClassVar[tuple[str, ...]] = ("alignment/{couple}", "uniformity/{modality}")
    lower_is_better: ClassVar[tuple[str, ...]] = produces

    def __init__(self, *, alpha: float = 2.0, t: float = 2.0, chunk: int = 1024) -> None:
        for name, value in {"alpha": alpha, "t": t}.items():
            if not value > 0:
                raise ValueError(f"{name} ({value}) must be above 0")
        if chunk < 1:
            raise ValueError(f"chunk ({chunk}) must be at least 1")
        self.alpha = alpha
        self.t = t
        self.chunk = chunk

    @torch.no_grad()
    def compute(self, *, embeddings: Mapping[str, Tensor], groups: Mapping[str, Tensor]) -> dict[str, float]:
        """Metrics of a split; NaN where an embedding is not finite, and for the uniformity of a single row.

        Args:
            embeddings: modality name to all rows [R, D], not normalised.
            groups: modality name to the group of every row, int64 [R].
        Raises:
            TrialbookError: there are fewer than two modalities, rows and groups differ in number, or two modalities
                share no group.
        """
        check_rows("alignment-uniformity", embeddings, groups)
        rows = {name: unit_rows(x) for name, x in embeddings.items()}
        values = {}
        with full_precision(next(iter(rows.values())).device):
            for a, b in combinations(rows, 2):
                total, count = sum_over_matching(rows[a], rows[b], groups[a], groups[b], self._distance)
                if not count:
                    raise without_partner("alignment-uniformity", a, b)
                values[f"alignment/{a}-{b}"] = total / count
            for name, x in rows.items():
                values[f"uniformity/{name}"] = self._uniformity(x)
        return values

    def _distance(self, x: Tensor, y: Tensor) -> Tensor:
        return (x - y).norm(dim=-1).pow(self.alpha)

    def _uniformity(self, x: Tensor) -> float:
        """From the blocks on and above the diagonal; each pair of rows once."""
        if len(x) < 2:
            return math.nan
        lengths = x.square().sum(dim=1)
        sums = []
        for i in range(0, len(x), self.chunk):
            for j in range(i, len(x), self.chunk):
                one, other = slice(i, i + self.chunk), slice(j, j + self.chunk)
                squared = (lengths[one, None] + lengths[other] - 2 * x[one] @ x[other].T).clamp(min=0)
                weights = (-self.t * squared).double()
                if i == j:
                    lower = torch.ones_like(weights, dtype=torch.bool).tril()
                    weights.masked_fill_(lower, -torch.inf)
                sums.append(weights.flatten().logsumexp(dim=0))
        pairs = len(x) * (len(x) - 1) / 2
        return float(torch.stack(sums).logsumexp(dim=0)) - math.log(pairs)
