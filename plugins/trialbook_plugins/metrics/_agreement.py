"""Measures of how well two partitions of the same rows agree: matched accuracy, NMI, ARI."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[np.int64]


def contingency(classes: Labels, clusters: Labels) -> NDArray[np.int64]:
    """Count how many rows are of each class (down) and in each cluster (across)."""
    _, down = np.unique(classes, return_inverse=True)
    _, across = np.unique(clusters, return_inverse=True)
    table = np.zeros((down.max() + 1, across.max() + 1), dtype=np.int64)
    np.add.at(table, (down, across), 1)
    return table


def matched_accuracy(classes: Labels, clusters: Labels) -> float:
    """Share of rows that are right when each cluster stands for at most one class and each class for one cluster, at best.

    Source: the Hungarian method (Kuhn 1955), as clustering is usually scored; where there are more clusters than classes,
    rows of those without a class are wrong.
    """
    from scipy.optimize import linear_sum_assignment

    table = contingency(classes, clusters)
    rows, columns = linear_sum_assignment(table, maximize=True)
    return float(table[rows, columns].sum() / table.sum())


def normalized_mutual_information(classes: Labels, clusters: Labels) -> float:
    """Mutual information over the mean of both entropies; 1 where both are one part.

    Source: Vinh et al. 2010, table 2 (NMI_sum), as scikit-learn's ``normalized_mutual_info_score`` by default.
    """
    table = contingency(classes, clusters)
    if table.shape == (1, 1):
        return 1.0
    joint = table / table.sum()
    down, across = joint.sum(axis=1), joint.sum(axis=0)
    there = joint > 0
    information = (joint[there] * np.log(joint[there] / np.outer(down, across)[there])).sum()
    entropies = -(down * np.log(down)).sum() - (across * np.log(across)).sum()
    return float(max(information, 0.0) / (entropies / 2))


def adjusted_rand_index(classes: Labels, clusters: Labels) -> float:
    """Share of pairs of rows on which both agree, adjusted so that chance gives 0; 1 where they are equal.

    Source: Hubert and Arabie 1985; counted in whole numbers as scikit-learn's ``adjusted_rand_score`` is.
    """
    table = contingency(classes, clusters)

    def pairs(counts: Any) -> int:
        return sum(int(count) * (int(count) - 1) // 2 for count in np.ravel(counts))

    both, of_class, of_cluster, of_all = pairs(table), pairs(table.sum(1)), pairs(table.sum(0)), pairs(table.sum())
    if both == of_class == of_cluster:
        return 1.0
    expected = of_class * of_cluster / of_all
    return float((both - expected) / ((of_class + of_cluster) / 2 - expected))
