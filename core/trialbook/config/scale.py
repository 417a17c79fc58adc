"""The thresholds of a gate: what passes it, which level a value reaches, what it scores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from trialbook.config.decision_options import THRESHOLDS

#: Score at each threshold; straight lines run between them.
SCORES = {"target": 1.0, "acceptable": 0.5, "fail": 0.0}


@dataclass(frozen=True)
class Scale:
    """Thresholds with their direction.

    Args:
        low, high: what passes lies between them; None where there is no such bound.
        knots: threshold to value, as far as they were given; none where there is only a bound.
    """

    low: float | None
    high: float | None
    knots: Mapping[str, float]

    @classmethod
    def of(cls, gate: Mapping[str, Any], *, higher: bool) -> Scale:
        """The scale of a gate as written; ``higher`` holds where the gate itself does not say which values are good."""
        knots = {name: float(gate[name]) for name in THRESHOLDS if gate.get(name) is not None}
        if not knots:
            return cls(gate.get("at_least"), gate.get("at_most"), {})
        edge = knots.get("acceptable", knots.get("target"))
        good_is_high = higher if (own := own_direction(gate)) is None else own
        return cls(edge if good_is_high else None, None if good_is_high else edge, knots)

    @property
    def higher(self) -> bool:
        """True if higher values are better; a band is read as such by its lower bound."""
        return self.low is not None

    @property
    def bound(self) -> str:
        """The bound that passes: ``≥ 0.6``."""
        return " and ".join(
            f"{sign} {edge:g}" for sign, edge in (("≥", self.low), ("≤", self.high)) if edge is not None
        )

    @property
    def words(self) -> str:
        """All thresholds: ``target ≥ 0.65, acceptable ≥ 0.6, fail ≤ 0.55``; the bound where there is nothing else."""
        good, bad = ("≥", "≤") if self.higher else ("≤", "≥")
        told = [f"{name} {bad if name == 'fail' else good} {edge:g}" for name, edge in self.knots.items()]
        return ", ".join(told) or self.bound

    def passes(self, value: float) -> bool:
        """Return whether a value is on the good side."""
        return (self.low is None or value >= self.low) and (self.high is None or value <= self.high)

    def reached(self, value: float) -> str:
        """``target``, ``acceptable``, ``between`` (acceptable and fail) or ``fail``."""
        if "target" in self.knots and self._as_good(value, self.knots["target"]):
            return "target"
        if self.passes(value):
            return "acceptable"
        fail = self.knots.get("fail")
        return "between" if fail is not None and value != fail and self._as_good(value, fail) else "fail"

    def score(self, value: float) -> float:
        """From 0 to 1: on straight lines between the thresholds; with a single one 1 where it is passed, else 0."""
        points = self._points()
        if len(points) < 2:
            return float(self.passes(value))
        for (worse, low), (better, high) in pairwise(points):
            if not self._as_good(value, worse):
                return low
            if not self._as_good(value, better):
                return low + (high - low) * (value - worse) / (better - worse)
        return 1.0

    def _points(self) -> list[tuple[float, float]]:
        """Values and scores from worst to best; an end that was not given lies as far from the middle as the other."""
        knots = dict(self.knots)
        if "acceptable" in knots and len(knots) == 2:
            (given,) = knots.keys() - {"acceptable"}
            other = "fail" if given == "target" else "target"
            knots[other] = 2 * knots["acceptable"] - knots[given]
        return [(knots[name], SCORES[name]) for name in reversed(THRESHOLDS) if name in knots]

    def _as_good(self, value: float, edge: float) -> bool:
        return value >= edge if self.higher else value <= edge


def own_direction(gate: Mapping[str, Any]) -> bool | None:
    """Return whether higher values are better, as far as a gate itself says so: by ``direction``, its bound, or their order."""
    if gate.get("direction") is not None:
        return bool(gate["direction"] == "higher")
    low, high = gate.get("at_least") is not None, gate.get("at_most") is not None
    if low != high:
        return low
    knots = [gate[name] for name in THRESHOLDS if gate.get(name) is not None]
    return bool(knots[0] > knots[-1]) if len(knots) > 1 and knots[0] != knots[-1] else None
