"""The prediction of one set from another: ridge R² of samples that the regression has not seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trialbook import TrialbookError
from trialbook.contracts import CPU
from trialbook_plugins.probes.resampling import Index, Interval, cluster_members
from trialbook_plugins.probes.ridge import SHARES, Ridge
from trialbook_plugins.probes.rows import Rows, check_paired, read_rows, roomy_device, width_of


@dataclass(frozen=True)
class FoldedR2:
    """R² of predictions for samples that were left out, under both names.

    Args:
        uniform: mean over outputs of their own R²; outputs that do not vary are left out.
        variance_weighted: R² of all outputs together, each counting by its variance.
        errors: squared errors [n, q], on the CPU.
        spreads: squared distances from the mean of all samples [n, q], on the CPU.
    """

    uniform: float
    variance_weighted: float
    errors: Tensor
    spreads: Tensor


def folds_of(count: int, folds: int, clusters: Sequence[Any] | None = None, seed: int = 0) -> list[Index]:
    """Samples of each fold; clusters stay whole.

    Raises:
        TrialbookError: there are fewer samples or clusters than folds.
    """
    members = cluster_members(clusters, count)
    if not 2 <= folds <= len(members):
        raise TrialbookError(f"folds ({folds}) must be from 2 to the number of independent samples ({len(members)})")
    order = np.random.default_rng(seed).permutation(len(members))
    return [np.sort(np.concatenate([members[i] for i in order[fold::folds]])) for fold in range(folds)]


def ridge_r2(
    x: Rows,
    y: Rows,
    *,
    alpha: float | None = None,
    shares: Sequence[float] = SHARES,
    folds: int = 5,
    clusters: Sequence[Any] | None = None,
    seed: int = 0,
    device: torch.device = CPU,
) -> FoldedR2:
    """R² of ridge regressions from x [n, …] to y [n, …], each sample predicted by the folds that it is not in.

    Args:
        x: features.
        y: targets.
        alpha: penalty; None chooses one in each fold by its training samples' leave-one-out errors.
        shares: what is chosen among, as shares of the mean eigenvalue of XᵀX.
        folds: number of folds.
        clusters: cluster of each sample; clusters are not cut by folds.
        seed: of the folds.
        device: where the regressions are computed, if there is room.
    """
    n = check_paired(x, y)
    everything, home = slice(0, n), roomy_device(n * max(width_of(x), width_of(y)), device)
    features, targets = read_rows(x, everything, home), read_rows(y, everything, home)
    errors, spreads = torch.empty_like(targets), (targets - targets.mean(0)).square()
    for fold in folds_of(n, folds, clusters, seed):
        held, kept = (torch.from_numpy(rows).to(home) for rows in (fold, np.setdiff1d(np.arange(n), fold)))
        ridge = Ridge(features[kept], targets[kept])
        fitted = ridge.fit(ridge.best(ridge.penalties(shares)) if alpha is None else alpha)
        errors[held] = (fitted(features[held]) - targets[held]).square()
    uniform, weighted = r2_of(errors.sum(0), spreads.sum(0))
    return FoldedR2(uniform, weighted, errors.cpu(), spreads.cpu())


def r2_of(errors: Tensor, spreads: Tensor) -> tuple[float, float]:
    """Uniform and variance-weighted R² from sums of squared errors and of squared deviations of each output [q]."""
    varies = spreads > 0
    if not varies.any():
        return float("nan"), float("nan")
    uniform = 1 - (errors[varies] / spreads[varies]).mean()
    return float(uniform), float(1 - errors.sum() / spreads.sum())


def r2_interval(
    found: FoldedR2,
    clusters: Sequence[Any] | None = None,
    *,
    replicates: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, Interval]:
    """Bootstrap intervals of ``uniform`` and ``variance_weighted`` over samples or clusters, the regressions kept as they are."""
    members = cluster_members(clusters, len(found.errors))
    owner = torch.empty(len(found.errors), dtype=torch.int64)
    for i, rows in enumerate(members):
        owner[torch.from_numpy(rows)] = i
    shape = (len(members), found.errors.shape[1])
    errors = torch.zeros(shape, dtype=torch.float64).index_add_(0, owner, found.errors)
    spreads = torch.zeros(shape, dtype=torch.float64).index_add_(0, owner, found.spreads)
    rng = np.random.default_rng(seed)
    drawn = np.stack([np.bincount(rng.integers(len(members), size=len(members)), minlength=len(members))
                      for _ in range(replicates)])  # fmt: skip
    weights = torch.from_numpy(drawn).double()
    scores = np.array([r2_of(e, s) for e, s in zip(weights @ errors, weights @ spreads, strict=True)])
    tails = [(1 - level) / 2, (1 + level) / 2]
    intervals = {}
    for column, name in enumerate(("uniform", "variance_weighted")):
        low, high = np.nanquantile(scores[:, column], tails)
        intervals[name] = Interval(getattr(found, name), float(low), float(high), level, replicates)
    return intervals
