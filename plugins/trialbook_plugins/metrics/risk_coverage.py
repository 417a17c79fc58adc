"""Metric ``risk-coverage``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

from trialbook import TrialbookError
from trialbook.contracts.predictions import Prediction
from trialbook.contracts.predictions import score as score_of
from trialbook.contracts.risk import RiskCurve, risk_curve
from trialbook_plugins.metrics._answers import chosen
from trialbook_plugins.metrics._scorers import SCORERS, Score


class RiskCoverage:
    """Confidence as a sign of right and wrong: the risk of the answers that stay if less confident ones are abstained on.

    Risk is 1 − the mean score of what stays, coverage its share of all questions. ``aurc`` is the area under the curve of
    risk against coverage: the mean, over all k, of the risk of the k most confident answers. A confidence that says nothing
    has the overall risk as its area. Answers that are equally confident count as if their order were random, in the mean;
    a threshold keeps all of them or none.

    A text that abstains is an answer like any other, right where the images do not hold the answer; with
    ``answered_only`` it counts as abstained whatever its confidence, so that coverage ends below 1.

    Args:
        coverage: shares of the questions to give the risk at, above 0 and at most 1.
        risk: risks to give the largest coverage for, and the confidence from which on answers stay; from 0 to below 1.
        score: what an answer scores: ``judged`` as ``mlrun failures`` judges, numbers by their value; ``exact``, ``normalized``,
            ``anls@paper``, ``anls@script``, ``vqa@official``, ``vqa@evalai``, ``relaxed`` or ``token-f1``, each as the metric of
            that name.
        answered_only: count every text that abstains as abstained.
        sources: sets whose questions count, by name; all if left out.

    Raises:
        ValueError: ``coverage`` or ``risk`` repeats a number or has one out of its range.

    Source: El-Yaniv & Wiener 2010 (On the Foundations of Noise-free Selective Classification) for risk and coverage;
    Geifman et al. 2019 (Bias-Reduced Uncertainty Estimation for Deep Neural Classifiers) for the area.
    """

    needs: ClassVar[tuple[str, ...]] = ("predictions",)
    produces: ClassVar[tuple[str, ...]] = ("aurc", "risk@{coverage}", "coverage@{risk}", "threshold@{risk}")
    lower_is_better: ClassVar[tuple[str, ...]] = ("aurc", "risk@{coverage}")

    def __init__(
        self, *, coverage: list[float] = [0.5, 0.8, 1.0], risk: list[float] = [0.1], score: Score = "normalized",  # noqa: B006 (copied)
        answered_only: bool = False, sources: list[str] | None = None,
    ) -> None:  # fmt: skip
        if len(set(coverage)) < len(coverage) or not all(0 < share <= 1 for share in coverage):
            raise ValueError(f"coverage ({coverage}) must name shares above 0 and at most 1, each once")
        if len(set(risk)) < len(risk) or not all(0 <= share < 1 for share in risk):
            raise ValueError(f"risk ({risk}) must name shares from 0 to below 1, each once")
        self.coverage, self.risk = tuple(coverage), tuple(risk)
        self.scorer = SCORERS[score]
        self.answered_only = answered_only
        self.sources = sources

    def compute(self, *, predictions: Sequence[Prediction]) -> dict[str, float]:
        """Metrics of a split; NaN where no answer stays, for a coverage that is not reached, and for NaN confidence.

        A risk that no threshold keeps to has the coverage 0 and the threshold 1.

        Raises:
            TrialbookError: an answer has no confidence, a source has no question, or the score cannot be taken.
        """
        curve = self._curve(chosen(predictions, self.sources))
        values = {"aurc": curve.area if curve else math.nan}
        for share in self.coverage:
            values[f"risk@{share:g}"] = curve.risk_at(share) if curve else math.nan
        for share in self.risk:
            point = curve.widest(share) if curve else None
            values[f"coverage@{share:g}"] = point.coverage if point else 0.0 if curve else math.nan
            values[f"threshold@{share:g}"] = point.threshold if point else 1.0 if curve else math.nan
        return values

    def _curve(self, asked: Sequence[Prediction]) -> RiskCurve | None:
        """None where there is nothing to rank, or a broken model gives confidences that are not numbers."""
        ranked = [one for one in asked if not (self.answered_only and one.abstained)]
        confidences = [_confidence(one) for one in ranked]
        if not ranked or any(map(math.isnan, confidences)):
            return None
        return risk_curve(confidences, [1 - score_of(one, self.scorer) for one in ranked], len(asked))


def _confidence(prediction: Prediction) -> float:
    if prediction.confidence is None:
        raise TrialbookError(
            f"risk-coverage needs the confidence of every answer, but that to question '{prediction.id}' has none"
        )
    return prediction.confidence
