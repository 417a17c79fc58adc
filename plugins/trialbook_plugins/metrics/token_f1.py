"""Metric ``token-f1``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import ClassVar

from trialbook.contracts.predictions import Scorer, normalize
from trialbook_plugins.metrics._answers import AnswerMetric


def token_f1(text: str, answers: Sequence[str]) -> float:
    """F1 of the words of the text against those of the accepted answer that fits best, words after ``normalize``."""
    words = Counter(normalize(text).split())
    return max(_f1(words, Counter(normalize(answer).split())) for answer in answers)


class TokenF1(AnswerMetric):
    """Overlap of the words of answer and accepted answer: harmonic mean of precision and recall, as SQuAD takes it.

    Words are those that normalising leaves (lower case, no punctuation, no articles), each as often as it occurs; the
    accepted answer that fits best counts. ``3.5`` is the word ``35``, and Unicode is not brought to one form, as in the
    script. Abstaining is right where the images do not hold the answer, and wrong where they do.

    Args:
        sources: sets whose questions count, by name; all if left out.
        answerable_only: leave questions without an answer out.

    Source: Rajpurkar et al. 2016 (SQuAD), section 6.1, and its evaluation script. Deviation: texts of which the script
    leaves no word (``A``, ``%``) are compared as they are, instead of being equal.
    """

    produces: ClassVar[tuple[str, ...]] = ("f1",)
    scorers: ClassVar[Mapping[str, Scorer]] = {"f1": token_f1}


def _f1(given: Counter[str], wanted: Counter[str]) -> float:
    common = (given & wanted).total()
    return 2 * common / (given.total() + wanted.total()) if common else 0.0
