"""Metric ``token-f1``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import ClassVar

from trialbook.contracts.metric_values import MetricValues
from trialbook.contracts.predictions import Prediction, normalize
from trialbook_plugins.metrics._answers import mean_scores


def token_f1(text: str, answers: Sequence[str]) -> float:
    """F1 of the words of the text against those of the accepted answer that fits best, words after ``normalize``."""
    words = Counter(normalize(text).split())
    return max(_f1(words, Counter(normalize(answer).split())) for answer in answers)


class TokenF1:
    """Overlap of the words of answer and accepted answer: harmonic mean of precision and recall, as SQuAD takes it.

    Words are those that normalising leaves (lower case, no punctuation, no articles), each as often as it occurs; the
    accepted answer that fits best counts. Abstaining is right where the images do not hold the answer, and wrong where
    they do.

    Args:
        sources: sets whose questions count, by name; all if left out.
        answerable_only: leave questions without an answer out.

    Source: Rajpurkar et al. 2016 (SQuAD), section 6.1, and its evaluation script. Deviation: texts of which the script
    leaves no word (``A``, ``%``) are compared as they are, instead of being equal.
    """

    needs: ClassVar[tuple[str, ...]] = ("predictions",)
    produces: ClassVar[tuple[str, ...]] = ("f1",)

    def __init__(self, *, sources: list[str] | None = None, answerable_only: bool = False) -> None:
        self.sources = sources
        self.answerable_only = answerable_only

    def compute(self, *, predictions: Sequence[Prediction]) -> MetricValues:
        """Figures of a split; NaN where no question counts.

        Raises:
            TrialbookError: a source has no question, or a question that is answerable has no accepted answer.
        """
        return mean_scores(predictions, {"f1": token_f1}, self.sources, answerable_only=self.answerable_only)


def _f1(given: Counter[str], wanted: Counter[str]) -> float:
    common = (given & wanted).total()
    return 2 * common / (given.total() + wanted.total()) if common else 0.0
