"""Metric ``anls``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from trialbook.contracts.metric_values import MetricValues
from trialbook.contracts.predictions import Prediction, Scorer
from trialbook_plugins.metrics._answers import mean_scores
from trialbook_plugins.metrics._edits import edit_distance


def anls_paper(text: str, answers: Sequence[str]) -> float:
    """``anls@paper``: 1 − NL of the closest answer if NL < 0.5, else 0; case and superfluous white space do not count.

    NL is the edit distance over the length of the longer string, both as compared.
    """
    plain = _plain(text)
    closest = min(_normalized(plain, other, plain, other) for other in map(_plain, answers))
    return 1 - closest if closest < 0.5 else 0.0


def anls_script(text: str, answers: Sequence[str]) -> float:
    """``anls@script``: 1 − NL of the closest answer if that is at least 0.5, else 0.

    The edit distance is that of ``anls@paper``, but it is divided by the length of the longer *raw* string, superfluous
    white space included.
    """
    plain = _plain(text)
    similarity = 1 - min(_normalized(plain, _plain(answer), text, answer) for answer in answers)
    return similarity if similarity >= 0.5 else 0.0


_SCORERS: dict[str, Scorer] = {"paper": anls_paper, "script": anls_script}


class ANLS:
    """Average normalised Levenshtein similarity, which forgives slips of reading, by its two definitions.

    NL is the edit distance of answer and accepted answer over the length of the longer, letters in lower case, outer and
    repeated white space removed; the closest accepted answer counts. ``paper`` scores 1 − NL where NL < 0.5 and 0
    elsewhere; ``script`` scores 0.5 where NL = 0.5, too, and takes the length of the raw strings. Abstaining is right
    where the images do not hold the answer, and wrong where they do.

    Args:
        sources: sets whose questions count, by name; all if left out.
        answerable_only: leave questions without an answer out.

    Source: Biten et al. 2019 (Scene Text Visual Question Answering), as the package anls 0.0.2 computes it
    (``paper``); the evaluation scripts of Qwen-VL, from which lmms-eval and VLMEvalKit take theirs (``script``).
    """

    needs: ClassVar[tuple[str, ...]] = ("predictions",)
    produces: ClassVar[tuple[str, ...]] = ("paper", "script")

    def __init__(self, *, sources: list[str] | None = None, answerable_only: bool = False) -> None:
        self.sources = sources
        self.answerable_only = answerable_only

    def compute(self, *, predictions: Sequence[Prediction]) -> MetricValues:
        """Figures of a split; NaN where no question counts.

        Raises:
            TrialbookError: a source has no question, or a question that is answerable has no accepted answer.
        """
        return mean_scores(predictions, _SCORERS, self.sources, answerable_only=self.answerable_only)


def _plain(text: str) -> str:
    return " ".join(text.lower().split())


def _normalized(one: str, other: str, *measured: str) -> float:
    """Edit distance over the length of the longest measured string, in capitals as both scripts take it (``ß`` is two)."""
    length = max(len(text.upper()) for text in measured)
    return edit_distance(one, other) / length if length else 0.0
