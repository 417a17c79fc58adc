"""The common parts of metrics of answers: which questions count, and means of what they score."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import ClassVar

import numpy as np

from trialbook import TrialbookError, suggest
from trialbook.contracts.metric_values import MetricValues
from trialbook.contracts.predictions import Prediction, Scorer, score


def chosen(
    predictions: Sequence[Prediction], sources: Sequence[str] | None, *, answerable_only: bool = False
) -> list[Prediction]:
    """The predictions that count.

    Args:
        predictions: all of a split.
        sources: whose questions count; None for all.
        answerable_only: leave out those without an answer.
    Raises:
        TrialbookError: no question is of one of the sources.
    """
    known = {one.source for one in predictions}
    for source in sources or ():
        if known and source not in known:
            near = suggest(source, known)
            meant = f"; did you mean '{near}'?" if near else ""
            raise TrialbookError(
                f"no question of the split is of the source '{source}', which 'sources' of a metric names "
                f"(sources: {', '.join(sorted(known))}){meant}"
            )
    return [
        one
        for one in predictions
        if (sources is None or one.source in sources) and (one.answerable or not answerable_only)
    ]


def mean(values: Iterable[float]) -> float:
    """The mean; NaN of nothing."""
    listed = list(values)
    return math.fsum(listed) / len(listed) if listed else math.nan


def mean_scores(
    predictions: Sequence[Prediction],
    scorers: Mapping[str, Scorer],
    sources: Sequence[str] | None,
    *,
    answerable_only: bool = False,
) -> MetricValues:
    """Mean score by each scorer of the predictions that are ``chosen``, under the scorer's name, and the score of each."""
    counted = {id(one) for one in chosen(predictions, sources, answerable_only=answerable_only)}
    each = {
        name: [score(one, scorer) if id(one) in counted else math.nan for one in predictions]
        for name, scorer in scorers.items()
    }
    values = {name: mean(value for value in scores if not math.isnan(value)) for name, scores in each.items()}
    return MetricValues(values, {name: np.array(scores) for name, scores in each.items()})


class AnswerMetric:
    """Mean scores of the answers of a split; a metric names its scorers and describes the options.

    Args:
        sources: sets whose questions count, by name; all if left out.
        answerable_only: leave questions without an answer out.
    """

    needs: ClassVar[tuple[str, ...]] = ("predictions",)
    #: Name of a metric -> its scorer.
    scorers: ClassVar[Mapping[str, Scorer]]

    def __init__(self, *, sources: list[str] | None = None, answerable_only: bool = False) -> None:
        self.sources = sources
        self.answerable_only = answerable_only

    def compute(self, *, predictions: Sequence[Prediction]) -> MetricValues:
        """Metrics of a split; NaN where no question counts.

        Raises:
            TrialbookError: a source has no question, or a question that is answerable has too few accepted answers.
        """
        return mean_scores(predictions, self.scorers, self.sources, answerable_only=self.answerable_only)
