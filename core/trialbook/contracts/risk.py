"""Risk against coverage: how wrong the answers are that stay if those of low confidence are left out."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby


@dataclass(frozen=True)
class RiskPoint:
    """A point of the curve: the answers that stay if all below a confidence are left out.

    Args:
        threshold: the least confidence that stays.
        kept: how many answers stay.
        coverage: they as a share of all questions.
        risk: their mean loss.
    """

    threshold: float
    kept: int
    coverage: float
    risk: float


@dataclass(frozen=True)
class RiskCurve:
    """A point for every confidence that there is, the highest first; answers of equal confidence stay or go together.

    Between two points lie the places of answers that are tied. There the risk is that of a random order of the tied, in
    the mean, so that no value depends on the order in which the answers were given.

    Args:
        points: with growing coverage.
        total: number of all questions.
    """

    points: tuple[RiskPoint, ...]
    total: int

    @property
    def area(self) -> float:
        """Area under the curve: the mean, over k from 1 to all answers, of the risk of the k most confident; NaN for none."""
        risks = [self._risk(lower, upper, kept) for lower, upper in self._steps() for kept in _between(lower, upper)]
        return math.fsum(risks) / len(risks) if risks else math.nan

    def risk_at(self, coverage: float) -> float:
        """Risk of the most confident answers that make up at least ``coverage`` of the questions; NaN if they are too few."""
        kept = max(1, math.ceil(coverage * self.total - 1e-9))
        for lower, upper in self._steps():
            if kept <= upper.kept:
                return self._risk(lower, upper, kept)
        return math.nan

    def widest(self, risk: float) -> RiskPoint | None:
        """The point of largest coverage whose risk is at most ``risk``; None where even the most confident have more."""
        return next((point for point in reversed(self.points) if point.risk <= risk + 1e-12), None)

    def _steps(self) -> Iterator[tuple[RiskPoint, RiskPoint]]:
        """Every point with the one before it."""
        return zip((RiskPoint(math.inf, 0, 0.0, 0.0), *self.points), self.points, strict=False)

    @staticmethod
    def _risk(lower: RiskPoint, upper: RiskPoint, kept: int) -> float:
        """Mean risk where ``kept`` answers stay, those of ``lower`` and some of the tied ones that ``upper`` adds."""
        before, after = lower.risk * lower.kept, upper.risk * upper.kept
        return (before + (after - before) * (kept - lower.kept) / (upper.kept - lower.kept)) / kept


def risk_curve(confidences: Sequence[float], losses: Sequence[float], total: int | None = None) -> RiskCurve:
    """The curve of answers, each with a confidence and a loss.

    Args:
        confidences: of the answers; higher is surer.
        losses: of the answers, in the same order: 0 where it is right, 1 where it is wrong.
        total: number of all questions, if some were not answered at all.
    Raises:
        ValueError: they differ in number, a confidence is NaN, or there are more answers than questions.
    """
    if len(confidences) != len(losses):
        raise ValueError(f"{len(confidences)} confidences do not go with {len(losses)} losses")
    if any(map(math.isnan, confidences)):
        raise ValueError("a confidence is NaN")
    total = len(losses) if total is None else total
    if total < len(losses):
        raise ValueError(f"there are {len(losses)} answers, but only {total} questions")
    points: list[RiskPoint] = []
    kept, lost = 0, 0.0
    ranked = sorted(zip(confidences, losses, strict=True), key=lambda pair: -pair[0])
    for confidence, tied in groupby(ranked, key=lambda pair: pair[0]):
        own = [loss for _, loss in tied]
        kept, lost = kept + len(own), lost + math.fsum(own)
        points.append(RiskPoint(confidence, kept, kept / total, lost / kept))
    return RiskCurve(tuple(points), total)


def _between(lower: RiskPoint, upper: RiskPoint) -> range:
    return range(lower.kept + 1, upper.kept + 1)
