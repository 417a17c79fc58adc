"""Intervals and null distributions: over samples, or over clusters of samples that share a source."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trialbook import TrialbookError

Index = NDArray[np.int64]
_EXACT = 1e-9  # less than this from 1 or 0 is rounding


@dataclass(frozen=True)
class Interval:
    """A metric with its interval: ``low`` to ``high`` cover it with probability ``level``."""

    value: float
    low: float
    high: float
    level: float
    replicates: int


@dataclass(frozen=True)
class Null:
    """A metric beside what it is when the pairing is random.

    Args:
        value: the metric.
        mean: its mean when the pairing is random.
        deviation: its standard deviation then.
        upper: its 95% quantile then: a metric above it is not chance.
        p: share of random pairings that do as well, with the one that was observed: (1 + hits) / (1 + permutations).
        permutations: how many pairings were drawn.
    """

    value: float
    mean: float
    deviation: float
    upper: float
    p: float
    permutations: int


def cluster_members(clusters: Sequence[Any] | NDArray[Any] | None, count: int) -> list[Index]:
    """The samples of each cluster in the order of first appearance; a cluster each where there are none.

    Raises:
        TrialbookError: there is not one cluster for each sample.
    """
    if clusters is None:
        return [np.array([i]) for i in range(count)]
    if len(clusters) != count:
        raise TrialbookError(f"there are {len(clusters)} clusters for {count} samples; give one for each sample")
    members: dict[Any, list[int]] = {}
    for i, name in enumerate(np.asarray(clusters).tolist()):
        members.setdefault(name, []).append(i)
    return [np.array(found, dtype=np.int64) for found in members.values()]


def _owners(members: list[Index], count: int) -> Index:
    """Index of the cluster of each sample [n]."""
    owner = np.empty(count, dtype=np.int64)
    for i, found in enumerate(members):
        owner[found] = i
    return owner


def bootstrap_interval(
    values: NDArray[Any] | Sequence[float],
    clusters: Sequence[Any] | None = None,
    *,
    replicates: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """The mean of one value a sample, with the percentile bootstrap over samples or clusters.

    Args:
        values: one value a sample [n].
        clusters: cluster of each sample; clusters are drawn whole.
        replicates: number of draws.
        level: probability that the interval covers the mean.
        seed: of the draws.

    Source: Efron and Tibshirani 1993, chapter 13; clusters drawn whole as in Davison and Hinkley 1997, section 3.8.
    """
    values = np.asarray(values, dtype=np.float64)
    members = cluster_members(clusters, len(values))
    sums = np.array([values[m].sum() for m in members])
    sizes = np.array([len(m) for m in members], dtype=np.float64)
    rng = np.random.default_rng(seed)
    means = np.empty(replicates)
    for i in range(replicates):
        drawn = np.bincount(rng.integers(len(members), size=len(members)), minlength=len(members))
        means[i] = drawn @ sums / (drawn @ sizes)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(values.mean()), float(low), float(high), level, replicates)


def share_interval(
    values: NDArray[Any] | Sequence[float], clusters: Sequence[Any] | None = None, *, level: float = 0.95, seed: int = 0
) -> Interval:
    """As ``bootstrap_interval``, of values from 0 to 1: it has a width also where all are 0, or all 1 (``unseen``)."""
    found = bootstrap_interval(values, clusters, level=level, seed=seed)
    return within_shares(found, len(cluster_members(clusters, len(np.asarray(values)))))


def unseen(count: int) -> float:
    """Bound how often what was seen in none of ``count`` samples may happen: 3 of n + 3.

    Source: the rule of three, Hanley and Lippman-Hand 1983.
    """
    return 3 / (count + 3)


def within_shares(found: Interval, count: int) -> Interval:
    """An interval of a metric from 0 to 1 over ``count`` samples, kept in there; with a width also where it is 0 or 1 in each."""
    clipped = replace(found, low=float(np.clip(found.low, 0, 1)), high=float(np.clip(found.high, 0, 1)))
    return replace(clipped, **_widened(clipped, count))


def _widened(found: Interval, count: int) -> dict[str, float]:
    if found.low > 1 - _EXACT:
        return {"low": 1 - unseen(count)}
    return {"high": unseen(count)} if found.high < _EXACT else {}


def drawn_counts(count: int, replicates: int, seed: int = 0) -> NDArray[np.float64]:
    """Draw how often each sample is in each of ``replicates`` sets of ``count``, drawn with replacement [replicates, count]."""
    return np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=replicates).astype(np.float64)


def half_samples(
    count: int, clusters: Sequence[Any] | None = None, *, replicates: int = 500, seed: int = 0
) -> NDArray[np.bool_]:
    """Draw which samples are in each replicate [replicates, n]: a random half, of clusters as a whole, none of them twice.

    Drawing without replacement keeps pairs of samples what they are: a plain bootstrap would compare copies of one sample with
    each other, which are neighbours in every representation.

    Source: delete-d jackknife with d = n/2 (Shao and Wu 1989): a half without replacement varies as the whole does.
    """
    members = cluster_members(clusters, count)
    if len(members) < 8:
        raise TrialbookError(
            f"{len(members)} independent samples or clusters are too few for an interval; 8 are the least"
        )
    order = np.random.default_rng(seed).random((replicates, len(members))).argsort(axis=1)
    drawn = np.zeros((replicates, len(members)), dtype=bool)
    np.put_along_axis(drawn, order[:, : len(members) // 2], True, axis=1)
    return drawn[:, _owners(members, count)]


def centred_interval(value: float, replicates: NDArray[Any] | Sequence[float], level: float = 0.95) -> Interval:
    """The interval around ``value`` from the same metric of random halves (``half_samples``) or of sets drawn with replacement
    (``drawn_counts``): how far these spread about their own mean, which need not be ``value``.
    """
    found = np.asarray(replicates, dtype=np.float64)
    found = found[np.isfinite(found)]
    if not len(found):
        return Interval(value, float("nan"), float("nan"), level, 0)
    low, high = np.quantile(found - found.mean(), [(1 - level) / 2, (1 + level) / 2])
    return Interval(value, value + float(low), value + float(high), level, len(found))


def permutations_of(
    count: int, clusters: Sequence[Any] | None = None, *, permutations: int = 999, seed: int = 0
) -> NDArray[np.int64]:
    """Random new partners for every sample [permutations, n]; clusters change places whole, with others of their size.

    Raises:
        TrialbookError: most clusters are the only ones of their size, so that they cannot change places.
    """
    members = cluster_members(clusters, count)
    by_size: dict[int, list[Index]] = {}
    for found in members:
        by_size.setdefault(len(found), []).append(found)
    alone = sum(len(same) == 1 for same in by_size.values())
    if alone * 2 > len(members):
        raise TrialbookError(f"{alone} of {len(members)} clusters have a size of their own and cannot change places")
    rng = np.random.default_rng(seed)
    drawn = np.empty((permutations, count), dtype=np.int64)
    for same in map(np.stack, by_size.values()):  # [clusters of this size, samples in each]
        for row in drawn:
            row[same] = rng.permutation(same)
    return drawn


def permutation_null(
    statistic: Callable[[Index], float], value: float, pairings: NDArray[np.int64], *, higher: bool = True
) -> Null:
    """``value`` beside the statistic of random pairings.

    Args:
        statistic: the metric when sample i of the first set stands beside sample ``index[i]`` of the second.
        value: the metric of the true pairing.
        pairings: random ones [permutations, n] (``permutations_of``).
        higher: whether a higher metric means more alike.

    Source: Phipson and Smyth 2010, for counting the observed pairing among them.
    """
    found = np.array([statistic(index) for index in pairings])
    hits = int((found >= value).sum() if higher else (found <= value).sum())
    upper = float(np.quantile(found, 0.95 if higher else 0.05))
    return Null(value, float(found.mean()), float(found.std(ddof=1)), upper, (1 + hits) / (1 + len(found)), len(found))
