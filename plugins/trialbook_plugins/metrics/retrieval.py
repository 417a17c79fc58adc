"""Metric ``retrieval``."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import permutations
from typing import ClassVar, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from trialbook.contracts.datasets import pair_names
from trialbook.contracts.metric_values import MetricValues
from trialbook_plugins.metrics._rows import check_rows, full_precision, without_partner

#: Cosines closer than this are tied: a few times what float32 products of unit vectors differ by between block shapes.
TIE = 1e-6


class Retrieval:
    """Recall@K of every direction of every pair of modalities, on cosines; ties count as if broken at random.

    A query is a hit if any row of its group is among its K nearest rows of the other modality: image to text asks
    once per image, whichever of its captions is found; text to image asks once per caption. Where the best of these
    is tied with rows of other groups, the query counts with the probability that a random order of the tied puts one
    of its own into the top K, so that a collapsed model scores chance. A query without any row of its group on the
    other side is left out, though it stays a candidate for others. Beside recall stands the median rank of the best
    own row (1 is first).

    Args:
        k: the K of recall@K.
        chunk: rows compared at once, on either side; memory is a few times ``chunk²`` numbers, whatever the size of
            the split.

    Raises:
        ValueError: ``k`` is empty, repeats a number or has one below 1, or ``chunk`` is below 1.

    Source: CLIP_benchmark ``zeroshot_retrieval.py`` and LAVIS (recall with several captions per image), which leave
    ties to the sort order.
    """

    needs: ClassVar[tuple[str, ...]] = ("embeddings", "groups")
    produces: ClassVar[tuple[str, ...]] = ("{pair}@{k}", "{pair}/median_rank")
    lower_is_better: ClassVar[tuple[str, ...]] = ("{pair}/median_rank",)

    def __init__(self, *, k: list[int] = [1, 5, 10], chunk: int = 1024) -> None:  # noqa: B006 (copied below)
        if not k or len(set(k)) < len(k) or min(k) < 1:
            raise ValueError(f"k ({k}) must name at least one rank, each once and at least 1")
        if chunk < 1:
            raise ValueError(f"chunk ({chunk}) must be at least 1")
        self.k = tuple(k)
        self.chunk = chunk

    @torch.no_grad()
    def compute(self, *, embeddings: Mapping[str, Tensor], groups: Mapping[str, Tensor]) -> MetricValues:
        """Metrics of a split, and recall of every query; NaN for a pair with an embedding that is not finite.

        Args:
            embeddings: modality name to all rows [R, D], not normalised.
            groups: modality name to the group of every row, int64 [R].
        Raises:
            TrialbookError: there are fewer than two modalities, rows and groups differ in number, or two modalities
                share no group.
        """
        check_rows("retrieval", embeddings, groups)
        sides = {name: _sorted_side(rows, groups[name]) for name, rows in embeddings.items()}
        names = pair_names(list(embeddings))
        values: dict[str, float] = {}
        each: dict[str, NDArray[np.float64]] = {}
        with full_precision(next(iter(embeddings.values())).device):
            for a, b in permutations(sides, 2):
                ranks, asked = self._ranks(sides[a], sides[b])
                if not len(ranks.own):
                    raise without_partner("retrieval", a, b)
                finite = bool(sides[a].rows.isfinite().all() and sides[b].rows.isfinite().all())
                for k in self.k:
                    hits = ranks.hits(k)
                    values[f"{names[a, b]}@{k}"] = float(hits.mean()) if finite else float("nan")
                    if finite:
                        each[f"{names[a, b]}@{k}"] = _by_row(hits, asked, len(sides[a].groups))
                values[f"{names[a, b]}/median_rank"] = float(ranks.expected().quantile(0.5)) if finite else float("nan")
        return MetricValues(values, each)

    def _ranks(self, queries: _Side, items: _Side) -> tuple[_Ranks, Tensor]:
        """Return where the best own row of every query stands that has one, and which row of the modality each query is."""
        first = torch.searchsorted(items.groups, queries.groups)
        last = torch.searchsorted(items.groups, queries.groups, right=True)
        asked = first < last
        rows, groups, first, last = (x[asked] for x in (queries.rows, queries.groups, first, last))
        blocks = [
            self._block(
                rows[i : i + self.chunk],
                groups[i : i + self.chunk],
                items,
                int(first[i]),
                int(last[i : i + self.chunk][-1]),
            )
            for i in range(0, len(rows), self.chunk)
        ]
        ranks = (
            _Ranks(*(torch.cat(counts) for counts in zip(*blocks, strict=True))) if blocks else _Ranks(*[groups] * 3)
        )
        return ranks, queries.order[asked]

    def _block(self, rows: Tensor, groups: Tensor, items: _Side, first: int, last: int) -> _Ranks:
        """The same for some queries, whose own rows all lie between ``first`` and ``last`` of the sorted items."""
        starts = range(0, len(items.rows), self.chunk)
        near = [start for start in starts if start < last and start + self.chunk > first]
        best = rows.new_full((len(rows),), -torch.inf)
        for start in near:
            scores, own = items.compare(rows, groups, start, self.chunk)
            best = torch.maximum(best, scores.masked_fill_(~own, -torch.inf).amax(dim=1))
        low, high = (best - TIE)[:, None], (best + TIE)[:, None]
        above, tied, tied_own = (torch.zeros_like(groups) for _ in range(3))
        for start in starts:
            if start in near:
                scores, own = items.compare(rows, groups, start, self.chunk)
                tied_own += ((scores >= low) & own).sum(dim=1)
                scores.masked_fill_(own, -torch.inf)
            else:
                scores = rows @ items.rows[start : start + self.chunk].T
            over = (scores > high).sum(dim=1)
            above += over
            tied += (scores >= low).sum(dim=1) - over
        return _Ranks(above, tied, tied_own)


class _Side(NamedTuple):
    """One modality: L2-normalised rows [R, D] in the order of their groups [R], and where each stood before [R]."""

    rows: Tensor
    groups: Tensor
    order: Tensor

    def compare(self, rows: Tensor, groups: Tensor, start: int, size: int) -> tuple[Tensor, Tensor]:
        """Cosines of queries with ``size`` rows from ``start`` on, and which of these belong to the query's group."""
        stop = start + size
        return rows @ self.rows[start:stop].T, groups[:, None] == self.groups[start:stop]


def _sorted_side(rows: Tensor, groups: Tensor) -> _Side:
    groups, order = torch.sort(groups.to(rows.device), stable=True)
    return _Side(F.normalize(rows.float(), dim=-1)[order], groups, order)


def _by_row(values: Tensor, rows: Tensor, count: int) -> NDArray[np.float64]:
    """Values of some rows [Q] as an array [count] in the order of the rows; NaN for the others."""
    placed = np.full(count, np.nan)
    placed[rows.cpu().numpy()] = values.cpu().numpy()
    return placed


class _Ranks(NamedTuple):
    """The place of the best own row of every query [R].

    Args:
        above: rows of other groups with a higher score.
        tied: rows of other groups with the same score.
        own: rows of its own group with the same score, itself included.
    """

    above: Tensor
    tied: Tensor
    own: Tensor

    def hits(self, k: int) -> Tensor:
        """Probability [R] that an own row is in the top ``k`` when ties are broken at random.

        ``k - above`` places are left for ``tied + own`` rows; the probability that all go to other groups is the
        product over the places i of (tied - i) / (tied + own - i).
        """
        miss = torch.ones_like(self.own, dtype=torch.float64)
        for i in range(k):
            open_place = i < k - self.above
            left = (self.tied - i).clamp(min=0)
            miss = torch.where(open_place, miss * left / (left + self.own), miss)
        return 1 - miss

    def expected(self) -> Tensor:
        """Expected rank [R] of the best own row.

        A tied row of another group comes before all the tied own ones with probability 1 / (own + 1).
        """
        return 1 + self.above + self.tied.double() / (self.own + 1)
