from __future__ import annotations

import math
import random
from typing import Any

import numpy as np
import pytest

from trialbook.contracts.predictions import UNANSWERABLE, Prediction
from trialbook.errors import TrialbookError
from trialbook_plugins.metrics.risk_coverage import RiskCoverage


def asked(confidence: float | None, text: str = "lion", *answers: str) -> Prediction:
    return Prediction(
        "q9", "What?", text, answers, bool(answers), abstained=text == UNANSWERABLE, confidence=confidence
    )


def right(confidence: float | None) -> Prediction:
    return asked(confidence, "lion", "lion")


def wrong(confidence: float | None) -> Prediction:
    return asked(confidence, "tiger", "lion")


def of(predictions: list[Prediction], **options: Any) -> dict[str, float]:
    return RiskCoverage(**options).compute(predictions=predictions)


def test_known_values():
    got = of([wrong(0.3), right(0.9), right(0.5), wrong(0.1)], coverage=[0.5, 0.75], risk=[0.0, 0.4])
    assert got == pytest.approx({
        "aurc": (0 + 0 + 1 / 3 + 1 / 2) / 4, "risk@0.5": 0, "risk@0.75": 1 / 3, "coverage@0": 0.5, "threshold@0": 0.5,
        "coverage@0.4": 0.75, "threshold@0.4": 0.3,
    })  # fmt: skip


@pytest.mark.parametrize("seed", range(5))
def test_without_ties_it_agrees_with_cumulative_means(seed: int):
    draw = random.Random(seed)
    some = [(right if draw.random() < 0.7 else wrong)(draw.random()) for _ in range(100)]
    ranked = sorted(some, key=lambda one: -(one.confidence or 0))
    risks = np.cumsum([one.prediction != "lion" for one in ranked]) / np.arange(1, 101)
    got = of(some, coverage=[0.3, 1.0], risk=[0.2])
    assert got["aurc"] == pytest.approx(risks.mean())
    assert (got["risk@0.3"], got["risk@1"]) == pytest.approx((risks[29], risks[99]))
    kept = np.flatnonzero(risks <= 0.2)
    assert got["coverage@0.2"] == pytest.approx((kept[-1] + 1) / 100 if len(kept) else 0)
    if len(kept):
        assert got["threshold@0.2"] == ranked[kept[-1]].confidence


def test_ties_count_the_same_in_every_order():
    some = [right(0.5), wrong(0.5), wrong(0.5), right(0.2), right(0.5)]
    assert of(some) == of(some[::-1]) == of(sorted(some, key=lambda one: one.prediction))


def test_a_threshold_keeps_all_of_the_tied_or_none():
    """Two of the three at 0.5 are right, but no threshold keeps just these."""
    got = of([right(0.9), right(0.5), right(0.5), wrong(0.5)], risk=[0.0, 0.25])
    assert (got["coverage@0"], got["threshold@0"]) == (0.25, 0.9)
    assert (got["coverage@0.25"], got["threshold@0.25"]) == (1.0, 0.5)


def test_abstaining_is_an_answer_that_may_be_right():
    some = [asked(0.9, UNANSWERABLE), right(0.8), asked(0.7, UNANSWERABLE, "lion"), asked(0.6, "lion")]
    got = of(some, coverage=[0.5, 1.0], risk=[])
    assert (got["risk@0.5"], got["risk@1"]) == (0, 0.5)


def test_what_abstained_may_be_held_back_whatever_its_confidence():
    some = [asked(0.9, UNANSWERABLE), right(0.8), asked(0.7, UNANSWERABLE, "lion"), asked(0.6, "lion")]
    got = of(some, coverage=[0.25, 0.5, 0.75], risk=[0.0], answered_only=True)
    assert (got["risk@0.25"], got["risk@0.5"]) == (0, 0.5)
    assert math.isnan(got["risk@0.75"])
    assert got["coverage@0"] == 0.25
    assert got["aurc"] == pytest.approx(0.25)


def test_a_risk_out_of_reach_has_no_coverage_and_the_highest_threshold():
    got = of([wrong(0.9), right(0.1)], risk=[0.1])
    assert got["coverage@0.1"] == 0
    assert got["threshold@0.1"] == 1


def test_confidence_that_is_not_a_number_or_nothing_to_rank_gives_nan():
    for some in ([right(0.5), right(math.nan)], []):
        assert all(map(math.isnan, of(some).values()))
    assert all(map(math.isnan, of([asked(0.9, UNANSWERABLE)], answered_only=True).values()))


def test_a_missing_confidence_is_named():
    with pytest.raises(TrialbookError, match="that to question 'q9' has none"):
        of([right(0.5), right(None)])


@pytest.mark.parametrize(
    "options", [{"coverage": [0.0]}, {"coverage": [1.2]}, {"coverage": [0.5, 0.5]}, {"risk": [1.0]}]
)
def test_shares_out_of_range_are_refused(options: dict[str, list[float]]):
    with pytest.raises(ValueError, match="must name shares"):
        RiskCoverage(**options)
