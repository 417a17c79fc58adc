"""Comparisons that look at pairs of samples: RSA and neighbourhood overlap, on a stated number of samples."""

from __future__ import annotations

import torch
from torch import Tensor

from trialbook import TrialbookError
from trialbook.contracts import as_float64

_TIE = 1e-12  # share of the largest squared distance within which two are the same: rounding of the matrix product


def squared_distances(rows: Tensor) -> Tensor:
    """Squared Euclidean distances [n, n] of rows [n, D], float64, 0 on the diagonal."""
    rows = as_float64(rows)
    rows = rows - rows.mean(0)
    norms = rows.square().sum(1)
    found = (norms[:, None] + norms[None, :] - 2 * rows @ rows.T).clamp(min=0)
    found[found <= _TIE * norms.max()] = 0
    return found.fill_diagonal_(0)


def pair_ranks(distances: Tensor) -> Tensor:
    """Ranks of the distances between different samples as a symmetric matrix [n, n], ties at their mean, 0 on the diagonal.

    They are sorted on the CPU, and lie on the device of the distances.
    """
    from scipy.stats import rankdata

    upper = torch.triu_indices(len(distances), len(distances), 1)
    ranks = torch.from_numpy(rankdata(distances.cpu()[upper[0], upper[1]].numpy())).double()
    found = torch.zeros(len(distances), len(distances), dtype=torch.float64)
    found[upper[0], upper[1]] = ranks
    return (found + found.T).to(distances.device)


def rank_correlation(x_ranks: Tensor, y_ranks: Tensor) -> float:
    """Spearman's ρ over the pairs of two rank matrices [n, n]; NaN where one has no variation."""
    n = len(x_ranks)
    pairs = n * (n - 1)
    x_mean, y_mean = x_ranks.sum() / pairs, y_ranks.sum() / pairs
    covariance = (x_ranks * y_ranks).sum() / pairs - x_mean * y_mean
    x_spread = x_ranks.square().sum() / pairs - x_mean.square()
    y_spread = y_ranks.square().sum() / pairs - y_mean.square()
    product = float(x_spread * y_spread)
    return float(covariance) / product**0.5 if product > 0 else float("nan")


def neighbours(distances: Tensor, k: int) -> Tensor:
    """Return how much sample j belongs to the k nearest of sample i: [n, n], rows that sum to k, 0 on the diagonal.

    Where several are equally far at the edge they share the places that are left, so that a set whose samples are all alike
    has no neighbourhoods of its own: its overlap with any other is chance.

    Raises:
        TrialbookError: there are not more than ``k`` other samples.
    """
    n = len(distances)
    if not 1 <= k < n - 1:
        raise TrialbookError(f"k ({k}) must be at least 1 and below the number of other samples ({n - 1})")
    apart = distances.clone().fill_diagonal_(float("inf"))
    edge = apart.kthvalue(k, dim=1).values[:, None]
    slack = _TIE * distances.max()
    nearer, tied = apart < edge - slack, (apart - edge).abs() <= slack
    room = k - nearer.sum(1, keepdim=True)
    return nearer.double() + tied.double() * room / tied.sum(1, keepdim=True)


def overlaps(x_neighbours: Tensor, y_neighbours: Tensor) -> Tensor:
    """Share of each sample's neighbours that are neighbours in both sets: [n]."""
    return (x_neighbours * y_neighbours).sum(1) / x_neighbours.sum(1)


def overlap_chance(k: int, count: int) -> float:
    """Overlap of independent neighbourhoods of ``k`` among ``count`` samples: k / (n - 1)."""
    return k / (count - 1)
