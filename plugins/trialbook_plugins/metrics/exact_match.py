"""Metric ``exact-match``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from trialbook.contracts.metric_values import MetricValues
from trialbook.contracts.predictions import Prediction, Scorer, exact_match, normalized_match
from trialbook_plugins.metrics._answers import mean_scores

_SCORERS: dict[str, Scorer] = {"exact": exact_match, "normalized": normalized_match}


class ExactMatch:
    """Share of questions whose answer is an accepted one: letter for letter (``exact``), and as SQuAD does (``normalized``).

    Normalised is lower case without punctuation, articles (a, an, the) and superfluous white space. Abstaining is right
    where the images do not hold the answer, and wrong where they do.

    Args:
        sources: sets whose questions count, by name; all if left out.
        answerable_only: leave questions without an answer out.

    Source: Rajpurkar et al. 2016 (SQuAD), section 6.1, and its evaluation script. Deviation: texts of which the script
    leaves nothing (``A``, ``%``) are compared but for case, instead of being equal.
    """

    needs: ClassVar[tuple[str, ...]] = ("predictions",)
    produces: ClassVar[tuple[str, ...]] = ("exact", "normalized")

    def __init__(self, *, sources: list[str] | None = None, answerable_only: bool = False) -> None:
        self.sources = sources
        self.answerable_only = answerable_only

    def compute(self, *, predictions: Sequence[Prediction]) -> MetricValues:
        """Figures of a split; NaN where no question counts.

        Raises:
            TrialbookError: a source has no question, or a question that is answerable has no accepted answer.
        """
        return mean_scores(predictions, _SCORERS, self.sources, answerable_only=self.answerable_only)
