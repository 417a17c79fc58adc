"""Statistics of comparisons over seeds, in plain Python: a scientific library would cost more to import than to avoid.

Intervals and tests rest on Student's t distribution; several comparisons in one table are corrected after Holm.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

#: A corrected p below this decides. It is not 0.05, because the t-test finds a difference between equal arms up to a quarter
#: too often where metrics take few values (recall of a handful of hits) or training fails now and then: the margin keeps
#: wrong winners at or about 5% of tables there, too.
ALPHA = 0.04
#: Fewer pairs than this decide nothing: with two, a pair of lucky runs is enough for any p.
FEWEST_SEEDS = 3
#: Largest count of seeds that ``seeds_to_decide`` looks at.
MOST_SEEDS = 1000


def incomplete_beta(a: float, b: float, x: float) -> float:
    """Regularised incomplete beta function I_x(a, b).

    Source: the continued fraction of Abramowitz and Stegun 26.5.8, evaluated with Lentz's method.

    Args:
        a, b: above 0.
        x: in [0, 1].
    """
    if x <= 0 or x >= 1:
        return 0.0 if x <= 0 else 1.0
    front = math.exp(math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x))
    if x < (a + 1) / (a + b + 2):
        return front * _beta_fraction(a, b, x) / a
    return 1 - front * _beta_fraction(b, a, 1 - x) / b


def _beta_fraction(a: float, b: float, x: float) -> float:
    tiny = 1e-300
    c, d = 1.0, 1 - (a + b) * x / (a + 1)
    d = 1 / (d if abs(d) > tiny else tiny)
    value = d
    for m in range(1, 1000):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        change = 1.0
        for term in (even, odd):
            d = 1 + term * d
            d = 1 / (d if abs(d) > tiny else tiny)
            c = 1 + term / c
            c = c if abs(c) > tiny else tiny
            change = c * d
            value *= change
        if abs(change - 1) < 1e-15:
            break
    return value


def t_tail(t: float, df: float) -> float:
    """Probability that Student's t is above ``t`` (at least 0), without the cancellation of 1 − cdf."""
    if math.isinf(t):
        return 0.0
    square = t * t
    if square <= df:  # the other argument would be near 1 and lose the digits of t
        return 0.5 - 0.5 * incomplete_beta(0.5, df / 2, square / (df + square))
    return 0.5 * incomplete_beta(df / 2, 0.5, df / (df + square))


@lru_cache(maxsize=256)
def t_quantile(p: float, df: float) -> float:
    """The t below which Student's t with ``df`` degrees of freedom stays with probability ``p`` in (0, 1).

    Newton's method on the tail, kept within a bracket that shrinks at every step.
    """
    if p == 0.5:
        return 0.0
    tail = min(p, 1 - p)
    low, high = 0.0, 1.0
    while t_tail(high, df) > tail:
        low, high = high, 2 * high
    t = (low + high) / 2
    while high - low > 4e-16 * high:
        excess = t_tail(t, df) - tail
        low, high = (t, high) if excess > 0 else (low, t)
        step = t + excess / _t_density(t, df)
        if not low < step < high:
            step = (low + high) / 2
        if abs(step - t) <= 1e-15 * t:
            break
        t = step
    return math.copysign(t, p - 0.5)


def _t_density(t: float, df: float) -> float:
    scale = math.lgamma((df + 1) / 2) - math.lgamma(df / 2) - 0.5 * math.log(df * math.pi)
    return math.exp(scale - (df + 1) / 2 * math.log1p(t * t / df))


def mean(values: Sequence[float]) -> float:
    """Arithmetic mean of at least one value; 0 where values cancel but for the rounding of their last digits."""
    try:
        total = math.fsum(values)
    except (OverflowError, ValueError):  # their sum is no float, or they are infinities of both signs
        return sum(values) / len(values)
    return 0.0 if abs(total) < 1e-14 * max(map(abs, values)) else total / len(values)


def deviation(values: Sequence[float]) -> float:
    """Sample standard deviation (n − 1) of at least two values."""
    centre = mean(values)
    return math.sqrt(math.fsum((value - centre) ** 2 for value in values) / (len(values) - 1))


@dataclass(frozen=True)
class Estimate:
    """A mean over ``n`` values with its interval; ``low`` and ``high`` are None where one value gives none."""

    n: int
    mean: float
    low: float | None = None
    high: float | None = None


def t_interval(values: Sequence[float], level: float = 0.95) -> Estimate:
    """Mean and t interval of at least one value."""
    n, centre = len(values), mean(values)
    if n < 2 or not math.isfinite(centre):
        return Estimate(n, centre)
    half = t_quantile(0.5 + level / 2, n - 1) * deviation(values) / math.sqrt(n)
    return Estimate(n, centre, centre - half, centre + half)


def paired_p(differences: Sequence[float]) -> float | None:
    """Two-sided p of the paired t-test.

    None where the test says nothing: fewer than two differences, a value that is not finite, or differences that are all
    the same and not 0 (seeds that change nothing are one observation, however many there are).
    """
    n = len(differences)
    if n < 2 or not all(map(math.isfinite, differences)):
        return None
    spread, centre = deviation(differences), mean(differences)
    if _is_rounding(spread, centre):
        return 1.0 if centre == 0 else None
    return 2 * t_tail(abs(centre) / (spread / math.sqrt(n)), n - 1)


def is_constant(values: Sequence[float]) -> bool:
    """Return whether at least two finite values are the same but for rounding."""
    return _is_rounding(deviation(values), mean(values))


def _is_rounding(spread: float, centre: float) -> bool:
    return spread <= 1e-12 * abs(centre)


def without_rounding(value: float, scale: float) -> float:
    """A difference of numbers of size ``scale``; 0 where it is no more than the rounding of their last digits."""
    return 0.0 if abs(value) < 1e-13 * scale else value


def decides(p: float | None, n: int) -> bool:
    """Return whether a corrected p, from ``n`` pairs, is enough to say that there is a difference."""
    return p is not None and p < ALPHA and n >= FEWEST_SEEDS


def holm(values: Sequence[float | None]) -> list[float | None]:
    """Holm's step-down correction of the p values of one table; None stays None and does not count."""
    order = sorted((p, i) for i, p in enumerate(values) if p is not None)
    corrected: list[float | None] = [None] * len(values)
    highest = 0.0
    for rank, (p, i) in enumerate(order):
        highest = max(highest, min(1.0, (len(order) - rank) * p))
        corrected[i] = highest
    return corrected


def seeds_to_decide(differences: Sequence[float], comparisons: int = 1, alpha: float = ALPHA) -> int | None:
    """Estimate how many seeds would decide, if mean and spread of the paired differences stayed as they are.

    Args:
        differences: paired differences so far, at least two.
        comparisons: comparisons in the table; the strictest of Holm's thresholds, alpha / comparisons, is taken.
        alpha: share of false decisions that is accepted.
    Returns:
        a count of seeds, or None where no count up to ``MOST_SEEDS`` would do.
    """
    if len(differences) < 2 or not all(map(math.isfinite, differences)):
        return None
    spread, centre = deviation(differences), abs(mean(differences))
    if _is_rounding(spread, centre) or centre == 0:
        return None

    def enough(n: int) -> bool:
        return 2 * t_tail(centre / (spread / math.sqrt(n)), n - 1) < alpha / comparisons

    low, high = FEWEST_SEEDS, MOST_SEEDS
    if not enough(high):
        return None
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle + 1, high)
    return low
