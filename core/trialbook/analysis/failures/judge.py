"""A run's answers, judged and tagged, and what they come to: by tag, by kind, by confidence."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trialbook.analysis.failures.taxonomy import tag_of
from trialbook.contracts.predictions import Prediction, score
from trialbook.contracts.risk import risk_curve

#: Shares of all questions that the risk is told at.
_COVERAGES = (0.1, 0.25, 0.5, 0.75, 0.9, 1.0)
#: Bins of equal width that confidences are told in.
_BINS = 10


@dataclass(frozen=True)
class Answer:
    """An answer with a judgement.

    Args:
        prediction: what was asked, answered and accepted.
        right: whether it says what an accepted answer says, or abstains where there is nothing to answer; None where there is
            nothing to compare with.
        tag: why it is wrong; empty where it is not.
        by_hand: a person gave the tag; the rules said ``rule``.
    """

    prediction: Prediction
    right: bool | None
    tag: str = ""
    by_hand: bool = False
    rule: str = ""

    @property
    def wrong(self) -> bool:
        """True if it is known to be wrong."""
        return self.right is False

    def as_dict(self) -> dict[str, Any]:
        """The same as JSON-able data."""
        facts = {"right": self.right, "tag": self.tag, "by_hand": self.by_hand, "rule": self.rule}
        return {**self.prediction.as_dict(), **facts}


@dataclass(frozen=True)
class RiskRow:
    """A point of risk and coverage: what stays, and how wrong it is, if answers below a confidence are abstained on."""

    threshold: float
    kept: int
    coverage: float
    risk: float


@dataclass(frozen=True)
class Bin:
    """Answers of about one confidence: how many, their mean confidence, how many of them are right."""

    low: float
    high: float
    count: int
    confidence: float
    accuracy: float


@dataclass(frozen=True)
class Judged:
    """All answers of one evaluation, in their order."""

    answers: tuple[Answer, ...]

    @property
    def failures(self) -> list[Answer]:
        """Wrong answers, the most confident first: those that nothing but looking finds."""
        wrong = [one for one in self.answers if one.wrong]
        return sorted(wrong, key=lambda one: -(one.prediction.confidence or 0.0))

    @property
    def judged(self) -> int:
        """The number of answers that could be compared with something."""
        return sum(one.right is not None for one in self.answers)

    def tags(self) -> dict[str, int]:
        """Tag to number of failures, the most frequent first."""
        return dict(Counter(one.tag for one in self.failures).most_common())

    def by(self, key: str) -> dict[str, tuple[int, int]]:
        """``kind`` or ``source`` of the questions to how many there are and how many were answered wrongly."""
        found: dict[str, list[int]] = {}
        for one in self.answers:
            if one.right is not None:
                counts = found.setdefault(str(getattr(one.prediction, key)) or "none", [0, 0])
                counts[0] += 1
                counts[1] += one.wrong
        return {name: (asked, wrong) for name, (asked, wrong) in sorted(found.items())}

    def risks(self) -> list[RiskRow]:
        """Risk against coverage: the answers that stay at some shares of all questions; abstentions never stay."""
        known = [one for one in self.answers if one.right is not None]
        sure = [(c, one) for one in known if not one.prediction.abstained and (c := _confidence(one)) is not None]
        if not sure:
            return []
        curve = risk_curve([c for c, _ in sure], [float(one.wrong) for _, one in sure], len(known))
        rows = []
        for share in _COVERAGES:
            point = next((p for p in curve.points if p.coverage >= share - 1e-9), curve.points[-1])
            row = RiskRow(point.threshold, point.kept, point.coverage, point.risk)
            rows += [row] * (row not in rows)
        return rows

    def calibration(self) -> list[Bin]:
        """Confidence beside accuracy, in bins of equal width; empty ones are left out."""
        bins: dict[int, list[tuple[float, bool]]] = {}
        for one in self.answers:
            if one.right is not None and (confidence := _confidence(one)) is not None:
                place = min(_BINS - 1, max(0, int(confidence * _BINS)))
                bins.setdefault(place, []).append((confidence, one.right))
        return [
            Bin(at / _BINS, (at + 1) / _BINS, len(own), _mean(c for c, _ in own), _mean(float(r) for _, r in own))
            for at, own in sorted(bins.items())
        ]

    def calibration_error(self) -> float | None:
        """Mean distance of confidence and accuracy over the bins, weighted by their answers; None without confidences.

        Source: Naeini et al. 2015 (expected calibration error).
        """
        bins = self.calibration()
        total = sum(one.count for one in bins)
        return sum(one.count * abs(one.confidence - one.accuracy) for one in bins) / total if total else None


def judge(
    predictions: Iterable[Prediction], by_hand: Mapping[str, str] | None = None,
    texts: Mapping[str, Sequence[str]] | None = None,
) -> Judged:  # fmt: skip
    """Judge answers and tag those that are wrong.

    Args:
        predictions: of one evaluation.
        by_hand: id to the tag that a person gave, who has the last word: ``acceptable`` makes an answer right, any other
            wrong.
        texts: id to what stands in its images, where more is known than the predictions tell.
    """
    rows = list(predictions)
    beside: dict[tuple[str, ...], list[Prediction]] = {}
    for one in rows:
        if one.images:
            beside.setdefault(one.images, []).append(one)
    found = []
    for one in rows:
        right, rule, tag = is_right(one), "", (by_hand or {}).get(one.id)
        if right is False:
            others = [text for p in beside.get(one.images, ()) if p.id != one.id and p.answerable for text in p.answers]
            rule = tag_of(one, others, (texts or {}).get(one.id) or one.texts)
        if tag is not None:
            right = tag == "acceptable"
        found.append(Answer(one, right, tag or rule, tag is not None, rule))
    return Judged(tuple(found))


def is_right(prediction: Prediction) -> bool | None:
    """Return whether a prediction has the ``reading`` of an accepted answer, numbers by value; None without any to compare."""
    if prediction.answerable and not prediction.answers:
        return None
    return score(prediction) == 1.0


def _confidence(one: Answer) -> float | None:
    value = one.prediction.confidence
    return None if value is None or math.isnan(value) else value


def _mean(values: Iterable[float]) -> float:
    found = list(values)
    return math.fsum(found) / len(found)
