from __future__ import annotations

import itertools
import math
import random
import statistics

import pytest

from trialbook.contracts.risk import RiskPoint, risk_curve


def area_by_hand(confidences: list[float], losses: list[float]) -> float:
    """Mean over all orders that fit the confidences, of the mean risk of the first k."""
    areas = []
    for order in itertools.permutations(range(len(losses))):
        if all(confidences[a] >= confidences[b] for a, b in itertools.pairwise(order)):
            ranked = [losses[i] for i in order]
            areas.append(statistics.fmean(statistics.fmean(ranked[:k]) for k in range(1, len(ranked) + 1)))
    return statistics.fmean(areas)


def test_the_points_of_a_curve():
    """Right, wrong, right, wrong from the surest on; the second and third are equally sure."""
    curve = risk_curve([0.5, 0.9, 0.2, 0.5], [1, 0, 1, 0])
    assert curve.points == (
        RiskPoint(0.9, 1, 0.25, 0.0), RiskPoint(0.5, 3, 0.75, pytest.approx(1 / 3)), RiskPoint(0.2, 4, 1.0, 0.5),
    )  # fmt: skip
    assert curve.risk_at(0.25) == 0
    assert curve.risk_at(0.3) == curve.risk_at(0.5) == pytest.approx(0.25)  # one of the tied, right or wrong
    assert curve.risk_at(1) == 0.5
    assert curve.widest(0.4) == curve.points[1]
    assert curve.widest(0) == curve.points[0]
    assert curve.widest(0.5) == curve.points[2]
    assert curve.area == pytest.approx((0 + 0.25 + 1 / 3 + 0.5) / 4)


@pytest.mark.parametrize("seed", range(20))
def test_the_area_is_the_mean_over_all_orders_of_the_tied(seed: int):
    draw = random.Random(seed)
    confidences = [draw.choice([0.1, 0.4, 0.4, 0.9]) for _ in range(6)]
    losses = [draw.choice([0.0, 0.3, 1.0]) for _ in range(6)]
    assert risk_curve(confidences, losses).area == pytest.approx(area_by_hand(confidences, losses), abs=1e-12)


def test_no_figure_depends_on_the_order_of_the_answers():
    """To the bit, with losses that no binary fraction holds."""
    draw = random.Random(0)
    answers = [(draw.choice([0.1, 0.2, 0.3]), draw.choice([0.1, 0.7, 1 / 3])) for _ in range(200)]
    curves = []
    for _ in range(10):
        draw.shuffle(answers)
        curves.append(risk_curve(*zip(*answers, strict=True)))
    assert len({(curve.points, curve.area, curve.risk_at(0.37)) for curve in curves}) == 1


def test_confidence_that_says_nothing_has_the_overall_risk_as_its_area():
    losses = [1, 0, 0, 1, 0]
    assert risk_curve([0.5] * 5, losses).area == pytest.approx(0.4)
    perfect, worst = risk_curve([1 - loss for loss in losses], losses), risk_curve(losses, losses)
    assert perfect.area < 0.4 < worst.area


def test_questions_without_an_answer_count_in_coverage_only():
    curve = risk_curve([0.9, 0.4], [0, 1], total=8)
    assert [point.coverage for point in curve.points] == [0.125, 0.25]
    assert curve.risk_at(0.25) == 0.5
    assert math.isnan(curve.risk_at(0.26))
    assert curve.area == pytest.approx(0.25)


def test_a_risk_that_even_the_surest_exceed_is_reached_nowhere():
    curve = risk_curve([0.9, 0.4], [1, 0])
    assert curve.widest(0.4) is None
    assert curve.widest(0.5) == curve.points[1]


def test_a_curve_of_nothing():
    curve = risk_curve([], [])
    assert curve.points == ()
    assert math.isnan(curve.area)
    assert math.isnan(curve.risk_at(1.0))
    assert curve.widest(1.0) is None


@pytest.mark.parametrize(
    ("confidences", "losses", "total", "what"),
    [
        ([0.1], [1, 0], None, "do not go with"),
        ([math.nan], [1], None, "NaN"),
        ([0.1, 0.2], [1, 0], 1, "only 1 questions"),
    ],
)
def test_what_makes_no_curve_is_refused(confidences: list[float], losses: list[float], total: int | None, what: str):
    with pytest.raises(ValueError, match=what):
        risk_curve(confidences, losses, total)
