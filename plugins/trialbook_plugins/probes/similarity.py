"""Two stored sets compared in every way: metrics with intervals and nulls, each with what it is biased by and what chance is."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trialbook.contracts import CPU
from trialbook_plugins.probes.cka import gram_hsic, hollow_gram
from trialbook_plugins.probes.pairwise import (
    neighbours,
    overlap_chance,
    overlaps,
    pair_ranks,
    rank_correlation,
    squared_distances,
)
from trialbook_plugins.probes.resampling import (
    Interval,
    Null,
    bootstrap_interval,
    centred_interval,
    half_samples,
    permutation_null,
    permutations_of,
)
from trialbook_plugins.probes.rows import Rows, check_paired, read_rows, roomy_device, subsample, width_of


class PairedSets:
    """Two sets of the same inputs, looked at through pairs of at most ``samples`` of them: with nulls and intervals.

    Memory is a few matrices of samples × samples; everything is computed in float64.

    Args:
        x: the first set [n, …].
        y: the second set [n, …].
        samples: most samples that are looked at, drawn without replacement.
        clusters: cluster of each of the n samples; those of one cluster share a source and are drawn and permuted together.
        seed: of all draws.
        device: where it is computed, if there is room.
    """

    def __init__(
        self, x: Rows, y: Rows, *, samples: int = 1000, clusters: Sequence[Any] | None = None, seed: int = 0,
        device: torch.device = CPU,
    ) -> None:  # fmt: skip
        self.chosen = _draw(check_paired(x, y), samples, clusters, seed)
        self.clusters = None if clusters is None else np.asarray(clusters)[self.chosen].tolist()
        self.seed = seed
        home = roomy_device(len(self.chosen) * max(width_of(x), width_of(y)), device)
        self._x, self._y = read_rows(x, self.chosen, home), read_rows(y, self.chosen, home)

    @cached_property
    def _distances(self) -> tuple[Tensor, Tensor]:
        return squared_distances(self._x), squared_distances(self._y)

    def __len__(self) -> int:
        return len(self.chosen)

    def cka(self, permutations: int = 199, replicates: int = 500) -> tuple[Interval, Null]:
        """Unbiased linear CKA with its interval and its null."""
        k, l = (hollow_gram(rows) for rows in (self._x, self._y))  # noqa: E741
        scale = _root(gram_hsic(k, k) * gram_hsic(l, l))
        value = gram_hsic(k, l) / scale
        interval = centred_interval(value, _half_ckas(k, l, self._halves(replicates)))

        def other(index: NDArray[np.int64]) -> float:
            return gram_hsic(k, _permuted(l, index)) / scale

        return interval, permutation_null(other, value, self._pairings(permutations))

    def rsa(self, permutations: int = 199, replicates: int = 500) -> tuple[Interval, Null]:
        """Spearman correlation of pairwise distances with its interval and its null (Mantel's test).

        The interval takes the ranks among all samples, not those within each half.

        Source: Kriegeskorte, Mur and Bandettini 2008.
        """
        x, y = (pair_ranks(distances) for distances in self._distances)
        value = rank_correlation(x, y)
        interval = centred_interval(value, _half_correlations(x, y, self._halves(replicates)))

        def other(index: NDArray[np.int64]) -> float:
            return rank_correlation(x, _permuted(y, index))

        return interval, permutation_null(other, value, self._pairings(permutations))

    def overlap(self, k: int = 10, permutations: int = 199, replicates: int = 2000) -> tuple[Interval, Null]:
        """Overlap of the k nearest neighbours with its interval (over samples, their neighbours kept) and its null."""
        x, y = (neighbours(distances, k) for distances in self._distances)
        each = overlaps(x, y)
        interval = bootstrap_interval(each.cpu().numpy(), self.clusters, replicates=replicates, seed=self.seed)

        def other(index: NDArray[np.int64]) -> float:
            return float(overlaps(x, _permuted(y, index)).mean())

        return interval, permutation_null(other, float(each.mean()), self._pairings(permutations))

    def chance(self, k: int = 10) -> float:
        """Overlap of independent neighbourhoods."""
        return overlap_chance(k, len(self))

    def _halves(self, replicates: int) -> NDArray[np.bool_]:
        return half_samples(len(self), self.clusters, replicates=replicates, seed=self.seed)

    def _pairings(self, permutations: int) -> NDArray[np.int64]:
        return permutations_of(len(self), self.clusters, permutations=permutations, seed=self.seed)


def _draw(count: int, samples: int, clusters: Sequence[Any] | None, seed: int) -> NDArray[np.int64]:
    """At most ``samples`` samples; of clusters as many whole ones as there is room for."""
    if clusters is None or count <= samples:
        return subsample(count, samples, seed)
    names = np.asarray(clusters)
    kinds, sizes = np.unique(names, return_counts=True)
    order = np.random.default_rng([seed, count]).permutation(len(kinds))
    kept = kinds[order[np.cumsum(sizes[order]) <= samples]]
    return np.flatnonzero(np.isin(names, kept))


def _permuted(matrix: Tensor, index: NDArray[np.int64]) -> Tensor:
    order = torch.from_numpy(index).to(matrix.device)
    return matrix[order][:, order]


def _half_ckas(k: Tensor, l: Tensor, halves: NDArray[np.bool_]) -> NDArray[np.float64]:  # noqa: E741
    """CKA of each half [R] by matrix products with the halves' indicators, without cutting the matrices."""
    chosen = torch.from_numpy(halves).to(k.device).double().T  # [n, R]
    size = chosen.sum(0)
    sums = [chosen * (gram @ chosen) for gram in (k, l)]  # row sums within each half

    def hsic(a: int, b: int, product: Tensor) -> Tensor:
        trace = (chosen * (product @ chosen)).sum(0)
        totals = sums[a].sum(0) * sums[b].sum(0) / ((size - 1) * (size - 2))
        return (trace + totals - 2 * (sums[a] * sums[b]).sum(0) / (size - 2)) / (size * (size - 3))

    both, own_k, own_l = hsic(0, 1, k * l), hsic(0, 0, k * k), hsic(1, 1, l * l)
    return (both / (own_k * own_l).clamp(min=0).sqrt()).cpu().numpy()


def _half_correlations(x: Tensor, y: Tensor, halves: NDArray[np.bool_]) -> NDArray[np.float64]:
    chosen = torch.from_numpy(halves).to(x.device).double().T
    pairs = chosen.sum(0) * (chosen.sum(0) - 1)

    def mean(matrix: Tensor) -> Tensor:
        return (chosen * (matrix @ chosen)).sum(0) / pairs

    x_mean, y_mean = mean(x), mean(y)
    spreads = (mean(x * x) - x_mean**2) * (mean(y * y) - y_mean**2)
    return ((mean(x * y) - x_mean * y_mean) / spreads.clamp(min=0).sqrt()).cpu().numpy()


def _root(value: float) -> float:
    return value**0.5 if value > 0 else float("nan")
