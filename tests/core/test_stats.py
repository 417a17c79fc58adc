"""Statistics against scipy's."""

from __future__ import annotations

import math
import random

import pytest

from trialbook.analysis import statistics as stats

scipy_stats = pytest.importorskip("scipy.stats", reason="scipy is the oracle")


@pytest.mark.parametrize("df", [1, 2, 3, 5, 9, 29, 99, 999])
def test_the_t_distribution_agrees_with_scipy(df: int) -> None:
    for t in (-40.0, -3.2, -1.0, -1e-3, 0.0, 0.5, 2.1, 7.0, 120.0):
        assert stats.t_tail(abs(t), df) == pytest.approx(scipy_stats.t.sf(abs(t), df), rel=1e-9)
    for p in (1e-6, 0.005, 0.025, 0.3, 0.5, 0.8, 0.975, 0.9999):
        assert stats.t_quantile(p, df) == pytest.approx(scipy_stats.t.ppf(p, df), rel=1e-9, abs=1e-9)


def test_the_interval_agrees_with_scipy() -> None:
    draw = random.Random(0)
    for n in (2, 3, 5, 20):
        values = [draw.gauss(0.5, 0.1) for _ in range(n)]
        ours = stats.t_interval(values)
        low, high = scipy_stats.t.interval(0.95, n - 1, loc=stats.mean(values), scale=scipy_stats.sem(values))
        assert (ours.low, ours.high) == pytest.approx((low, high), rel=1e-9)


def test_the_paired_test_agrees_with_scipy() -> None:
    draw = random.Random(1)
    for n in (2, 3, 7, 30):
        first = [draw.random() for _ in range(n)]
        second = [value + draw.gauss(0.1, 0.1) for value in first]
        ours = stats.paired_p([b - a for a, b in zip(first, second, strict=True)])
        assert ours == pytest.approx(scipy_stats.ttest_rel(second, first).pvalue, rel=1e-9)


def test_one_value_has_no_interval() -> None:
    assert stats.t_interval([0.3]) == stats.Estimate(1, 0.3, None, None)


@pytest.mark.parametrize("differences", [[], [0.1], [0.1, 0.1, 0.1], [0.1, math.nan], [math.inf, 0.1]])
def test_differences_that_prove_nothing_have_no_p(differences: list[float]) -> None:
    assert stats.paired_p(differences) is None


def test_differences_that_cancel_have_the_mean_zero_and_not_rounding() -> None:
    differences = [1 / 60 - 0 / 60, 3 / 60 - 4 / 60]
    assert sum(differences) != 0
    assert stats.mean(differences) == 0
    assert stats.paired_p(differences) == 1.0
    assert stats.mean([1e-20, 3e-20]) == pytest.approx(2e-20, rel=1e-9)


def test_infinities_of_both_signs_have_no_mean_and_no_interval() -> None:
    assert stats.mean([math.inf, 1.0]) == stats.mean([1e308] * 3) == math.inf
    estimate = stats.t_interval([math.inf, -math.inf, 0.0])
    assert math.isnan(estimate.mean)
    assert (estimate.n, estimate.low) == (3, None)
    assert stats.seeds_to_decide([math.inf, -math.inf]) is None


def test_equal_arms_are_not_different() -> None:
    assert stats.paired_p([0.0, 0.0, 0.0]) == 1.0


def test_holm_is_the_textbook_procedure() -> None:
    # Smallest p times the count, the next times one less, never falling, never above 1.
    assert stats.holm([0.01, 0.04, 0.03, None]) == pytest.approx([0.03, 0.06, 0.06, None])
    assert stats.holm([0.6, 0.9]) == [1.0, 1.0]
    assert stats.holm([]) == []


def test_between_identical_arms_a_winner_is_declared_in_at_most_5_percent() -> None:
    draw = random.Random(2)
    tables, false = 2000, 0
    for _ in range(tables):
        ps = [stats.paired_p([draw.gauss(0, 1) for _ in range(3)]) for _ in range(4)]
        false += any(p is not None and p < 0.05 for p in stats.holm(ps))
    assert false / tables <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / tables)


def test_seeds_to_decide_is_the_first_count_that_decides() -> None:
    differences = [0.01, 0.05, -0.02]
    n = stats.seeds_to_decide(differences, comparisons=2)
    assert n is not None

    def p(count: int) -> float:
        t = stats.mean(differences) / (stats.deviation(differences) / math.sqrt(count))
        return float(2 * scipy_stats.t.sf(t, count - 1))

    assert p(n) < stats.ALPHA / 2 <= p(n - 1)


def test_no_count_of_seeds_decides_where_the_mean_is_zero() -> None:
    assert stats.seeds_to_decide([0.1, -0.1]) is None
    assert stats.seeds_to_decide([1e-9, 1.0, -1.0]) is None
