"""Metric ``clustering``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trialbook import TrialbookError
from trialbook_plugins.metrics._agreement import (
    adjusted_rand_index,
    matched_accuracy,
    normalized_mutual_information,
)
from trialbook_plugins.metrics._classes import labelled
from trialbook_plugins.metrics._rows import full_precision
from trialbook_plugins.metrics._scan import scan_clusters

_FIGURES = {
    "accuracy": matched_accuracy, "nmi": normalized_mutual_information, "ari": adjusted_rand_index,
}  # fmt: skip


class Clustering:
    """The agreement of clusters of each modality's embeddings, found without the classes, with these.

    Embeddings are normalised first. ``k-means`` is Lloyd's algorithm from several k-means++ beginnings, of which the tightest
    counts. ``scan`` mines each row's nearest neighbours and trains a linear head so that neighbours get the same cluster while
    all clusters stay in use; of several heads the one with the lowest loss counts. Neither sees a class, and both give the same
    every time. Metrics: accuracy under the best assignment of clusters to classes (Hungarian method), normalised mutual
    information, adjusted Rand index.

    Args:
        method: the methods.
        clusters: number of clusters; 0 for as many as there are classes in the split.
        restarts: beginnings of k-means.
        neighbours: of each row, for SCAN.
        entropy: weight of SCAN's entropy term.
        steps: optimiser steps of SCAN's heads.
        heads: number of SCAN's heads.

    Raises:
        ValueError: ``method`` is empty or repeats one, ``clusters`` is 1 or below 0, or another number is out of its range.

    Source: k-means++ (Arthur and Vassilvitskii 2007), of scikit-learn; SCAN (Van Gansbeke et al. 2020), on embeddings that stay
    as they are and without self-labelling.
    """

    needs: ClassVar[tuple[str, ...]] = ("embeddings", "groups", "classes")
    produces: ClassVar[tuple[str, ...]] = tuple(f"{{modality}}/{{method}}/{name}" for name in _FIGURES)

    def __init__(
        self, *, method: list[Literal["k-means", "scan"]] = ["k-means", "scan"],  # noqa: B006 (copied below)
        clusters: int = 0, restarts: int = 10, neighbours: int = 20, entropy: float = 5.0, steps: int = 200, heads: int = 5,
    ) -> None:  # fmt: skip
        if not method or len(set(method)) < len(method):
            raise ValueError(f"method ({method}) must name at least one, each once")
        if clusters == 1 or clusters < 0:
            raise ValueError(f"clusters ({clusters}) must be at least 2, or 0 for the number of classes")
        for key, value in (("restarts", restarts), ("neighbours", neighbours), ("steps", steps), ("heads", heads)):
            if value < 1:
                raise ValueError(f"{key} ({value}) must be at least 1")
        if entropy < 0:
            raise ValueError(f"entropy ({entropy}) must not be below 0")
        self.method, self.clusters, self.restarts = tuple(method), clusters, restarts
        self.neighbours, self.entropy, self.steps, self.heads = neighbours, entropy, steps, heads

    @torch.no_grad()
    def compute(
        self, *, embeddings: Mapping[str, Tensor], groups: Mapping[str, Tensor], classes: Tensor
    ) -> dict[str, float]:
        """Metrics of a split; NaN for a modality with an embedding that is not finite.

        Args:
            embeddings: modality name to all rows [R, D], not normalised.
            groups: modality name to the group of every row, int64 [R].
            classes: class of every group, int64 [G].
        Raises:
            TrialbookError: there are fewer rows than clusters.
        """
        values = {}
        for name, side in labelled(embeddings, groups, classes).items():
            wanted = self.clusters or len(side.classes.unique())
            if len(side.rows) <= wanted:
                raise TrialbookError(f"clustering: '{name}' has {len(side.rows)} rows, too few for {wanted} clusters")
            truth = side.classes.cpu().numpy()
            for method in self.method:
                found = self._found(method, side.rows.cpu().float(), wanted) if side.finite else None
                for figure, function in _FIGURES.items():
                    value = float("nan") if found is None else function(truth, found)
                    values[f"{name}/{method}/{figure}"] = value
        return values

    def _found(self, method: str, rows: Tensor, clusters: int) -> NDArray[np.int64]:
        """Cluster of every row."""
        if method == "k-means":
            return k_means(rows.numpy(), clusters, self.restarts)
        with full_precision(rows.device):
            return scan_clusters(
                rows, clusters, neighbours=self.neighbours, entropy=self.entropy, steps=self.steps, heads=self.heads
            )


def k_means(rows: NDArray[np.float32], clusters: int, restarts: int) -> NDArray[np.int64]:
    """Cluster of every row [R, D]; the same every time, as one thread adds up in one order."""
    import warnings

    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning
    from threadpoolctl import threadpool_limits

    with threadpool_limits(limits=1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer distinct rows than clusters: a collapsed model
        made = KMeans(clusters, n_init=restarts, random_state=0).fit(rows.astype(np.float64))
    found: NDArray[np.int64] = made.labels_.astype(np.int64)
    return found
