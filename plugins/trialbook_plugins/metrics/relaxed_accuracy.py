"""Metric ``relaxed-accuracy``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import ClassVar

from trialbook.contracts.metric_values import MetricValues
from trialbook.contracts.predictions import Prediction
from trialbook_plugins.metrics._answers import mean_scores


def relaxed_match(text: str, answers: Sequence[str], tolerance: float = 0.05) -> float:
    """1 if the text is an accepted answer but for case, or both are numbers and differ by at most ``tolerance`` of it.

    A number is what ``float`` reads, or that with a percent sign, which divides by 100. A number with thousands separators
    or a unit is a text, and so is an accepted answer of 0, which has no relative error. The difference is taken in floats,
    as the source takes it, so that exactly 5% is within for 105 of 100, but not for 1.05 of 1.
    """
    return float(any(_near(text, answer, tolerance) for answer in answers))


class RelaxedAccuracy:
    """Share of questions whose answer is within 5% of an accepted number, or is an accepted text but for case.

    ``5%`` is 0.05, so that it matches ``0.05`` and not ``5``. ``1,000`` is a text, as is an accepted answer of ``0``: both
    must be met as they are written. Exactly 5% is decided by the rounding of floats, as in the source: 105 for 100, 10.5
    for 10 and 0.105 for 0.1 are right, 1.05 for 1, 2.1 for 2, 4.2 for 4, 1.9 for 2 and 0.315 for 0.3 are wrong. Abstaining
    is right where the images do not hold the answer, and wrong where they do.

    Args:
        tolerance: largest difference of two numbers, as a share of the accepted one.
        sources: sets whose questions count, by name; all if left out.
        answerable_only: leave questions without an answer out.

    Raises:
        ValueError: ``tolerance`` is not from 0 to 1.

    Source: Masry et al. 2022 (ChartQA), section 5.1, as pix2struct's ``relaxed_correctness`` reads numbers; Qwen-VL and
    lmms-eval take theirs from it. Deviation: equal texts are right even if they read as infinity or NaN.
    """

    needs: ClassVar[tuple[str, ...]] = ("predictions",)
    produces: ClassVar[tuple[str, ...]] = ("accuracy",)

    def __init__(
        self, *, tolerance: float = 0.05, sources: list[str] | None = None, answerable_only: bool = False
    ) -> None:
        if not 0 <= tolerance <= 1:
            raise ValueError(f"tolerance ({tolerance}) must be from 0 to 1")
        self.scorer = partial(relaxed_match, tolerance=tolerance)
        self.sources = sources
        self.answerable_only = answerable_only

    def compute(self, *, predictions: Sequence[Prediction]) -> MetricValues:
        """Metrics of a split; NaN where no question counts.

        Raises:
            TrialbookError: a source has no question, or a question that is answerable has no accepted answer.
        """
        scorers = {"accuracy": self.scorer}
        return mean_scores(predictions, scorers, self.sources, answerable_only=self.answerable_only)


def _near(text: str, answer: str, tolerance: float) -> bool:
    given, wanted = _number(text), _number(answer)
    if given is None or not wanted:
        return text.lower() == answer.lower()
    return abs(given - wanted) / abs(wanted) <= tolerance


def _number(text: str) -> float | None:
    try:
        number = float(text.rstrip("%")) / 100 if text.endswith("%") else float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
