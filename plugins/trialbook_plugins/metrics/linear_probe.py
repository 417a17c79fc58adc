"""Metric ``linear-probe``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from trialbook_plugins.metrics._classifier import FIGURES, check_options, classify


class LinearProbe:
    """Multinomial logistic regression on each modality's embeddings: fitted on the train split, scored on the other.

    The embeddings are taken as they are and every column is standardised by the train rows. Metrics: accuracy, macro-F1, and
    ``majority``, the share of the most frequent class. ``series-statistics`` is the same classifier on hand-made statistics of
    the same windows, to stand beside it.

    Args:
        c: inverse strength of the L2 penalty; if left out, that of 0.01, 0.1, 1 and 10 with the best accuracy over folds of the
            train split (the strongest penalty of equals).
        folds: folds for that choice; fewer where a class has fewer groups, and ``c`` is 1 where one has a single group.

    Raises:
        ValueError: ``c`` is not above 0 and finite, or ``folds`` is below 2.

    Source: Alain and Bengio 2017 (linear probes); CLIP, section 3.2, for logistic regression on features (L-BFGS, of
    scikit-learn; here on standardised columns).
    """

    needs: ClassVar[tuple[str, ...]] = ("embeddings", "groups", "classes", "train")
    produces: ClassVar[tuple[str, ...]] = tuple(f"{{modality}}/{figure}" for figure in FIGURES)

    def __init__(self, *, c: float | None = None, folds: int = 3) -> None:
        check_options(c, folds)
        self.c, self.folds = c, folds

    @torch.no_grad()
    def compute(
        self,
        *,
        embeddings: Mapping[str, Tensor],
        groups: Mapping[str, Tensor],
        classes: Tensor,
        train: Mapping[str, Any],
    ) -> dict[str, float]:
        """Metrics of a split; NaN for a modality with an embedding that is not finite.

        Args:
            embeddings: modality name to all rows [R, D].
            groups: modality name to the group of every row, int64 [R].
            classes: class of every group, int64 [G].
            train: ``embeddings``, ``groups`` and ``classes`` of the train split.
        Raises:
            TrialbookError: the train split has one class only.
        """
        values = {}
        for name, rows in embeddings.items():
            learned = train["embeddings"][name]
            own, other = groups[name].cpu(), train["groups"][name].cpu()
            found = dict.fromkeys(FIGURES, float("nan"))
            if bool(rows.isfinite().all() and learned.isfinite().all()):
                fitted = (learned.cpu().numpy(), train["classes"][other].numpy(), other.numpy())
                scored = (rows.cpu().numpy(), classes[own].numpy())
                found = classify("linear-probe", fitted, scored, c=self.c, folds=self.folds)
            values |= {f"{name}/{figure}": value for figure, value in found.items()}
        return values
