"""Metric ``label-retrieval``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from trialbook import TrialbookError
from trialbook_plugins.metrics._classes import Labelled, directions, labelled
from trialbook_plugins.metrics._rows import check_rows, full_precision
from trialbook_plugins.metrics.retrieval import TIE


class LabelRetrieval:
    """Retrieval between modalities by class: rows of the query's class are right, whichever window they are of.

    Rows of the other modality are ranked by cosine. For every direction of every pair of modalities: precision@K, the share of
    the first K rows that are of the query's class; recall@K, the share of queries with at least one among them; mAP, the mean
    over queries of the average precision; and ``chance``, the precision of a random order. Tied rows count as if broken at
    random: every metric is its mean over all orders of the tied, so that a collapsed model scores chance. Rows are tied with
    the next of the ranking if their cosines differ by at most 1e-6. A query without any row of its class on the other side is
    left out.

    Args:
        k: the K of precision@K and recall@K.
        own: whether rows of the query's own group (its own caption) are candidates.
        chunk: queries ranked at once.

    Raises:
        ValueError: ``k`` is empty, repeats a number or has one below 1, or ``chunk`` is below 1.

    Source: Manning et al. 2008, section 8.4, for precision@K and mAP; McSherry and Najork 2008, section 2, for their means
    over the orders of tied rows.
    """

    needs: ClassVar[tuple[str, ...]] = ("embeddings", "groups", "classes")
    produces: ClassVar[tuple[str, ...]] = (
        "{pair}/precision@{k}", "{pair}/recall@{k}", "{pair}/map", "{pair}/chance",
    )  # fmt: skip

    def __init__(self, *, k: list[int] = [1, 5, 10], own: bool = True, chunk: int = 128) -> None:  # noqa: B006 (copied below)
        if not k or len(set(k)) < len(k) or min(k) < 1:
            raise ValueError(f"k ({k}) must name at least one rank, each once and at least 1")
        if chunk < 1:
            raise ValueError(f"chunk ({chunk}) must be at least 1")
        self.k, self.own, self.chunk = tuple(k), own, chunk

    @torch.no_grad()
    def compute(
        self, *, embeddings: Mapping[str, Tensor], groups: Mapping[str, Tensor], classes: Tensor
    ) -> dict[str, float]:
        """Metrics of a split; NaN for a pair with an embedding that is not finite.

        Args:
            embeddings: modality name to all rows [R, D], not normalised.
            groups: modality name to the group of every row, int64 [R].
            classes: class of every group, int64 [G].
        Raises:
            TrialbookError: there are fewer than two modalities, rows and groups differ in number, or two modalities
                share no class.
        """
        check_rows("label-retrieval", embeddings, groups)
        sides = labelled(embeddings, groups, classes)
        values: dict[str, float] = {}
        with full_precision(next(iter(embeddings.values())).device):
            for pair, a, b in directions(sides):
                found = self._means(sides[a], sides[b])
                if found is None:
                    raise TrialbookError(f"label-retrieval: no row of '{a}' has one of its class in '{b}'")
                finite = sides[a].finite and sides[b].finite
                values |= {f"{pair}/{name}": value if finite else float("nan") for name, value in found.items()}
        return values

    def _means(self, queries: Labelled, items: Labelled) -> dict[str, float] | None:
        """Means over the queries that have a row of their class; None if none has."""
        blocks = [
            self._block(Labelled(*(one[at : at + self.chunk] for one in queries)), items)
            for at in range(0, len(queries.rows), self.chunk)
        ]
        figures = {name: torch.cat([block[name] for block in blocks]) for name in blocks[0]}
        return {name: float(each.mean()) for name, each in figures.items()} if len(figures["map"]) else None

    def _block(self, queries: Labelled, items: Labelled) -> dict[str, Tensor]:
        """Every metric of some queries."""
        scores = queries.rows @ items.rows.T
        right = queries.classes[:, None] == items.classes
        candidates = torch.full((len(scores),), float(scores.shape[1]), dtype=torch.float64, device=scores.device)
        if not self.own:
            mine = queries.groups[:, None] == items.groups
            scores, right = scores.masked_fill(mine, -2.0), right & ~mine  # behind all cosines, and right for nobody
            candidates -= mine.sum(dim=1)
        asked = right.any(dim=1)
        scores, order = scores[asked].sort(dim=1, descending=True)
        return _expected(scores, right[asked].gather(1, order).double(), candidates[asked], self.k)


def _expected(scores: Tensor, right: Tensor, candidates: Tensor, ks: tuple[int, ...]) -> dict[str, Tensor]:
    """Metrics of ranked rows, each the mean over all orders of tied rows.

    Args:
        scores: descending [Q, N].
        right: 1 where a row is right, else 0 [Q, N].
        candidates: how many rows are none of the query's own [Q].
        ks: the ranks.
    """
    place = torch.arange(scores.shape[1], device=scores.device).expand_as(scores)
    breaks = torch.nn.functional.pad(scores[:, :-1] - scores[:, 1:] > TIE, (1, 0), value=True)
    start = torch.where(breaks, place, 0).cummax(dim=1).values  # of the tied rows around each place
    ends = torch.nn.functional.pad(breaks[:, 1:], (0, 1), value=True)
    stop = torch.where(ends, place, scores.shape[1]).flip(1).cummin(dim=1).values.flip(1)
    seen = right.cumsum(dim=1)
    before = seen.gather(1, start) - right.gather(1, start)
    tied, good, within = stop - start + 1, seen.gather(1, stop) - before, place - start
    share = good / tied  # how likely it is that the row at a place is right
    miss = ((tied - good - within).clamp(min=0) / (tied - within)).cumprod(dim=1)
    others = within * (good - 1).clamp(min=0) / (tied - 1).clamp(min=1)
    precision = share * (before + 1 + others) / (place + 1)
    figures = {"map": precision.sum(dim=1) / seen[:, -1], "chance": seen[:, -1] / candidates}
    for k in ks:
        figures[f"precision@{k}"] = share[:, :k].sum(dim=1) / k
        figures[f"recall@{k}"] = 1 - miss[:, min(k, miss.shape[1]) - 1]
    return figures
