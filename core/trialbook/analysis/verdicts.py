"""Verdicts on gates: one-sided tests, corrected together, so that a gate is passed by mistake in less than 1% of decisions.

Two families are tested, each corrected after Holm: that gates are passed, and that they are failed. A gate is *passed* where
the first says so, *failed* where the second does, and *undecided* else. It *cannot be told* where the threshold lies beyond
what can be reached at all (the ceiling that was recorded with the metric), or what knows nothing (its floor) passes as well.
Holm's correction holds whatever the metrics have to do with one another.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from trialbook.analysis import statistics as stats
from trialbook.analysis.estimates import Measured
from trialbook.config.scale import Scale
from trialbook.contracts.metric_names import is_ceiling

#: A corrected p below this decides. Half of the 1% that is promised: the t-test errs more often than it says where metrics take
#: few values, as shares of a handful of samples do.
GATE_ALPHA = 0.005
#: The verdict where a threshold lies beyond the ceiling or the floor of its metric.
UNTOLD = "cannot be told"


@dataclass(frozen=True)
class Question:
    """The question whether a gate is passed.

    Args:
        scale: its thresholds.
        found: what was measured: of several, as of layers or arms, the best one is to pass.
    """

    scale: Scale
    found: Sequence[Measured]

    @property
    def told(self) -> list[Measured]:
        """The values that the gate can be told from."""
        return [one for one in self.found if not doubt(self.scale, one)]

    @property
    def doubt(self) -> str:
        """The reason why the gate cannot be told; empty where it can."""
        best = self.best
        return "" if best is None or self.told else doubt(self.scale, best)

    @property
    def best(self) -> Measured | None:
        """The best by its mean; of a band, the first that lies in it. What the gate cannot be told from comes last."""
        ranked = sorted(self.told or self.found, key=lambda one: one.mean, reverse=self.scale.higher)
        if self.scale.low is not None and self.scale.high is not None:
            ranked.sort(key=lambda one: not self.scale.passes(one.mean))
        return ranked[0] if ranked else None

    def p_pass(self) -> float | None:
        """That one of what was found passes by chance: the smallest p times their number."""
        single = [_largest(self._sides(one, inside=True)) if not doubt(self.scale, one) else None for one in self.found]
        known = [p for p in single if p is not None]
        return min(1.0, len(single) * min(known)) if known else None

    def p_fail(self) -> float | None:
        """That all of what was found fail by chance: the largest p; None where one of them decides nothing."""
        if len(self.told) < len(self.found):
            return None
        single = []
        for one in self.found:
            sides = [p for p in self._sides(one, inside=False) if p is not None]
            single.append(min(1.0, len(sides) * min(sides)) if sides else None)
        return _largest(single)

    def _sides(self, one: Measured, *, inside: bool) -> list[float | None]:
        """The p of each bound: that it is kept, or that it is not."""
        low, high = self.scale.low, self.scale.high
        found = [] if low is None else [one.p_above(low) if inside else one.p_below(low)]
        return found if high is None else [*found, one.p_below(high) if inside else one.p_above(high)]


def doubt(scale: Scale, one: Measured) -> str:
    """Return why a metric cannot say whether a threshold is passed: its ceiling lies before it, or its floor passes as well."""
    for name, value in one.references.items():
        if is_ceiling(name) is not scale.passes(value):
            if is_ceiling(name):
                return f"the threshold lies beyond '{name}', the best that can be reached"
            return f"'{name}', which knows nothing, passes as well"
    return ""


@dataclass(frozen=True)
class Verdict:
    """``pass``, ``fail``, ``undecided`` or ``cannot be told``; the p of passing, as it is and corrected, and that of failing."""

    verdict: str = "undecided"
    p: float | None = None
    p_holm: float | None = None
    p_fail_holm: float | None = None

    @property
    def passed(self) -> bool | None:
        """True if the gate is passed, False if it is failed; None where that is undecided."""
        return {"pass": True, "fail": False}.get(self.verdict)


def judge(questions: Sequence[Question]) -> list[Verdict]:
    """The verdicts on all gates of one decision."""
    passes, fails = [one.p_pass() for one in questions], [one.p_fail() for one in questions]
    return [
        Verdict(UNTOLD if one.doubt else _verdict(sure, wrong), p, sure, wrong)
        for one, p, sure, wrong in zip(questions, passes, stats.holm(passes), stats.holm(fails), strict=True)
    ]


def _verdict(p_pass: float | None, p_fail: float | None) -> str:
    if p_pass is not None and p_pass < GATE_ALPHA:
        return "pass"
    return "fail" if p_fail is not None and p_fail < GATE_ALPHA else "undecided"


def _largest(values: Sequence[float | None]) -> float | None:
    """The largest; None where there is none or one is not known."""
    known = [value for value in values if value is not None]
    return max(known) if known and len(known) == len(values) else None
