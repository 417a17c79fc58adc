"""The estimate that a gate is held against: a mean with its standard error, over seeds or as the metric recorded it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from trialbook.analysis import statistics as stats
from trialbook.analysis.statistics import FEWEST_SEEDS, Estimate
from trialbook.contracts.metric_names import references, with_ends

#: Half of a 95% interval of a normal distribution, in standard errors: how recorded intervals are read.
NORMAL_95 = 1.959963984540054


@dataclass(frozen=True)
class Value:
    """A recorded value, with the 95% interval and the references (ceilings and floors) that were recorded beside it, if any."""

    value: float
    low: float | None = None
    high: float | None = None
    references: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def read(cls, metric: str, recorded: Mapping[str, float]) -> Value:
        """The value of a metric with all that was recorded beside it.

        Args:
            metric: its name.
            recorded: all values of the run, by name; the metric is among them.
        """
        low, high = (recorded.get(name) for name in with_ends(metric)[1:])
        found = {one: recorded[name] for name, one in references(metric).items() if name in recorded}
        return cls(recorded[metric], low, high, {one: own for one, own in found.items() if math.isfinite(own)})

    @property
    def is_ranged(self) -> bool:
        """True if its interval can be used: it holds the value and has a width."""
        return self.low is not None and self.high is not None and self.low <= self.value <= self.high > self.low


@dataclass(frozen=True)
class Measured:
    """A mean and how sure it is.

    Args:
        n: values that it is the mean of, one for each seed.
        mean: their mean.
        below, above: standard error towards lower and towards higher values; 0 where nothing says how sure it is. An interval
            that ends at the value counts as if it reached as far as on its other side.
        low, high: interval that the metric recorded, mean over seeds; None where it is not used.
        df: degrees of freedom; infinite for an interval that was recorded.
        basis: ``seeds``, ``samples`` (the metric's own interval), ``published``, or ``none``.
        decides: whether verdicts may rest on it.
        where: arm or metric that it was taken from, where several were to be chosen from.
        references: ceilings and floors of the metric, means over seeds.
    """

    n: int
    mean: float
    below: float = 0.0
    above: float = 0.0
    low: float | None = None
    high: float | None = None
    df: float = math.inf
    basis: str = "none"
    decides: bool = False
    where: str = ""
    references: Mapping[str, float] = field(default_factory=dict)

    @property
    def estimate(self) -> Estimate:
        """Mean and 95% interval."""
        if self.low is not None and self.high is not None:
            return Estimate(self.n, self.mean, self.low, self.high)
        if not self.below:
            return Estimate(self.n, self.mean)
        wide = NORMAL_95 if math.isinf(self.df) else stats.t_quantile(0.975, self.df)
        return Estimate(self.n, self.mean, self.mean - wide * self.below, self.mean + wide * self.above)

    def p_above(self, edge: float) -> float | None:
        """That the mean is this far above ``edge`` by chance: one-sided."""
        return _tail((self.mean - edge) / self.below, self.df) if self.decides else None

    def p_below(self, edge: float) -> float | None:
        """The same below ``edge``."""
        return _tail((edge - self.mean) / self.above, self.df) if self.decides else None


def _tail(t: float, df: float) -> float:
    """Probability of more than ``t``."""
    upper = 0.5 * math.erfc(abs(t) / math.sqrt(2)) if math.isinf(df) else stats.t_tail(abs(t), df)
    return upper if t >= 0 else 1 - upper


def measure(values: Sequence[Value], where: str = "") -> Measured | None:
    """The mean of values over seeds; None where there is none, or one is not finite.

    From three seeds that differ, its error is that over seeds. Of fewer, or of seeds that all give the same, it is that of the
    intervals which the metric recorded, averaged: seeds on the same samples make it no smaller. Two seeds without such
    intervals have an interval, but decide nothing.
    """
    plain = [one.value for one in values]
    if not plain or not all(map(math.isfinite, plain)):
        return None
    n, mean = len(plain), stats.mean(plain)
    whole = Measured(n, mean, where=where, references=_references(values))
    differ = n > 1 and not stats.is_constant(plain)
    error = stats.deviation(plain) / math.sqrt(n) if differ else 0.0
    over_seeds = replace(whole, below=error, above=error, df=n - 1, basis="seeds", decides=n >= FEWEST_SEEDS)
    if differ and n >= FEWEST_SEEDS:
        return over_seeds
    if all(one.is_ranged for one in values):
        low, high = stats.mean([one.low or 0.0 for one in values]), stats.mean([one.high or 0.0 for one in values])
        below, above = (mean - low) / NORMAL_95, (high - mean) / NORMAL_95
        return replace(
            whole, below=below or above, above=above or below, low=low, high=high, basis="samples", decides=True
        )
    return over_seeds if differ else whole


def _references(values: Sequence[Value]) -> dict[str, float]:
    """Mean of every reference over the seeds that have it."""
    names = dict.fromkeys(name for one in values for name in one.references)
    return {name: stats.mean([one.references[name] for one in values if name in one.references]) for name in names}


def ratios(own: Mapping[str, Value], reference: Mapping[str, Value]) -> dict[str, Value]:
    """Each value over that of the reference with the same seed; over the reference's mean where they share none.

    Recorded intervals are carried over to first order: squares of relative widths add up.

    Raises:
        ValueError: the reference is not above 0.
    """
    shared = {unit for unit in own if unit in reference}
    common = _average(list(reference.values()))
    return {
        unit: _ratio(one, reference[unit] if shared else common)
        for unit, one in own.items()
        if unit in shared or not shared
    }


def _average(values: Sequence[Value]) -> Value:
    mean = stats.mean([one.value for one in values])
    if not all(one.is_ranged for one in values):
        return Value(mean)
    return Value(mean, stats.mean([one.low or 0.0 for one in values]), stats.mean([one.high or 0.0 for one in values]))


def _ratio(one: Value, other: Value) -> Value:
    if not other.value > 0:
        raise ValueError(f"there is no ratio to {other.value:g}")
    ratio = one.value / other.value
    if not one.is_ranged or one.low is None or one.high is None or one.value == 0:
        return Value(ratio)
    down, up = (one.value - one.low) / abs(one.value), (one.high - one.value) / abs(one.value)
    if other.is_ranged and other.low is not None and other.high is not None:
        down = math.hypot(down, (other.high - other.value) / other.value)
        up = math.hypot(up, (other.value - other.low) / other.value)
    return Value(ratio, ratio - abs(ratio) * down, ratio + abs(ratio) * up)
