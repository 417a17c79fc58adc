"""A linear classifier on columns of numbers, as the probes use it."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from trialbook import TrialbookError
from trialbook_plugins.metrics._classes import accuracy_and_f1, majority

Array = NDArray[Any]

#: Inverse strengths of the penalty that are tried.
GRID = (0.01, 0.1, 1.0, 10.0)
_MOST_ITERATIONS = 1000
#: The metrics that ``classify`` gives.
FIGURES = ("accuracy", "macro_f1", "majority")


def check_options(c: float | None, folds: int) -> None:
    """Refuse options of a probe.

    Raises:
        ValueError: ``c`` is not above 0 and finite, or ``folds`` is below 2.
    """
    if c is not None and not 0 < c < math.inf:
        raise ValueError(f"c ({c}) must be above 0 and finite")
    if folds < 2:
        raise ValueError(f"folds ({folds}) must be at least 2")


def classify(
    who: str, train: tuple[Array, Array, Array], test: tuple[Array, Array], *, c: float | None, folds: int
) -> dict[str, float]:
    """Fit on one split and score on another: accuracy, macro-F1, and the share of the most frequent class.

    Columns are standardised by the train rows. Rows of the test split take no part in any choice.

    Args:
        who: who asks, for messages.
        train: columns [R, F], classes [R] and groups [R] of the train rows; rows of a group stay in one fold.
        test: columns and classes of the rows that are scored. Rows with a negative class have none and are left out.
        c: inverse strength of the L2 penalty; that of ``GRID`` with the best accuracy over folds of the train rows if None.
        folds: their number.
    Raises:
        TrialbookError: the train rows are of one class, or no row that is scored has one.
    """
    columns, classes, groups = (one[train[1] >= 0] for one in (train[0].astype(np.float64), train[1], train[2]))
    scored, wanted = test[0][test[1] >= 0].astype(np.float64), test[1][test[1] >= 0]
    if not len(wanted):
        raise TrialbookError(f"{who}: no row that is scored has a class")
    if len(np.unique(classes)) < 2:
        raise TrialbookError(f"{who}: the train split has one class only; there is nothing to tell apart")
    with warnings.catch_warnings():
        from sklearn.exceptions import ConvergenceWarning

        warnings.simplefilter("ignore", ConvergenceWarning)  # a budget that is used up counts as it stands
        model = _model(_choose(columns, classes, groups, folds) if c is None else c).fit(columns, classes)
        predicted = model.predict(scored)
    truth = torch.from_numpy(np.ascontiguousarray(wanted))
    known = int(max(classes.max(), wanted.max())) + 1
    votes = torch.nn.functional.one_hot(torch.from_numpy(predicted), known).double()
    accuracy, f1 = accuracy_and_f1(truth, votes)
    return dict(zip(FIGURES, (accuracy, f1, majority(truth)), strict=True))


def _model(c: float) -> Any:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), LogisticRegression(C=c, max_iter=_MOST_ITERATIONS))


def _choose(columns: Array, classes: Array, groups: Array, folds: int) -> float:
    """The strength with the best accuracy over folds; the strongest penalty of equals, and 1 where there are no folds."""
    from sklearn.model_selection import StratifiedKFold

    own, first = np.unique(groups, return_index=True)
    _, counts = np.unique(classes[first], return_counts=True)
    parts = min(folds, int(counts.min()))
    if parts < 2:
        return 1.0
    right = dict.fromkeys(GRID, 0.0)
    for fit, held in StratifiedKFold(parts, shuffle=True, random_state=0).split(own, classes[first]):
        inside, outside = np.isin(groups, own[fit]), np.isin(groups, own[held])
        for c in GRID:
            model = _model(c).fit(columns[inside], classes[inside])
            right[c] += float((model.predict(columns[outside]) == classes[outside]).sum())
    return max(GRID, key=lambda c: (right[c], -c))
