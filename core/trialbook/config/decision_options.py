"""The tables of a file for coming to a decision: gates, manual scores, external values, candidates, outcomes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from typing_extensions import NotRequired, Required, TypedDict

from trialbook.errors import TrialbookError

#: Names that stand for several gates.
GROUPS = ("must", "should", "all")


#: What a recommendation may mention: the first and second of the ranking, those that meet every must, the whole ranking.
PLACEHOLDERS = ("best", "second", "passing", "ranking")


Priority = Literal["must", "should", "tie-break"]

#: Thresholds of a gate, the best one first.
THRESHOLDS = ("target", "acceptable", "fail")


@dataclass(frozen=True, kw_only=True)
class GateOptions:
    """A threshold that a conclusion must pass, judged by the interval of what was measured.

    Args:
        metric: name of a recorded metric, e.g. ``"retrieval/i2t@1"``; with ``*`` in it, the best of all that fit.
        at_least: smallest value that passes.
        at_most: largest value that passes.
        target: value that is aimed at; scores 1.
        acceptable: value that passes; scores 0.5. The target has to be reached if left out.
        fail: value that is no use; scores 0.
        direction: which values are good; by the order of the thresholds, else as the metric declares, if left out.
        level: what it is to a decision: ``must`` and ``should`` are weighed, ``tie-break`` decides between equal scores.
        weight: of its score among those of a decision.
        arm: the arm that must pass; every arm if left out.
        name: what outcomes and tables call it; the metric if left out.
        measured_in: where a decision measures it: an experiment (its arm with the candidate's name) or ``EXPERIMENT/ARM``,
            in which ``{candidate}`` stands for the candidate's name; or such a place for each candidate. The candidate's own
            runs if left out.
        relative_to: hold the ratio to this against the thresholds: a name from ``[external_baseline]``, a candidate, an arm, or
            ``EXPERIMENT/ARM``.
    Raises:
        TrialbookError: there is no threshold, or they contradict one another.
    """

    metric: str
    at_least: float | None = None
    at_most: float | None = None
    target: float | None = None
    acceptable: float | None = None
    fail: float | None = None
    direction: Literal["higher", "lower"] | None = None
    level: Priority = "must"
    weight: float = 1.0
    arm: str | None = None
    name: str = ""
    measured_in: str | dict[str, str] | None = None
    relative_to: str | None = None

    def __post_init__(self) -> None:
        given = {name: getattr(self, name) for name in THRESHOLDS if getattr(self, name) is not None}
        plain = [name for name in ("at_least", "at_most") if getattr(self, name) is not None]
        if not plain and not {"target", "acceptable"} & given.keys():
            raise TrialbookError("a gate needs 'at_least' or 'at_most', or 'target' or 'acceptable'")
        if plain and given:
            raise TrialbookError(f"'{plain[0]}' cannot stand beside '{next(iter(given))}': 'acceptable' is the same")
        for name, value in ((name, getattr(self, name)) for name in (*plain, *given)):
            if not math.isfinite(value):
                raise TrialbookError(f"'{name}' ({value}) must be finite")
        _check_weight(self.weight)
        _check_order(given, plain, self.direction)


def _check_order(given: dict[str, float], plain: list[str], direction: str | None) -> None:
    """Thresholds that do not descend from target to fail, the way that the direction says."""
    names, values = list(given), list(given.values())
    for index in range(1, len(values)):
        rises, first = values[index - 1] > values[index], values[0] > values[1]
        if values[index - 1] == values[index] or rises != first:
            raise TrialbookError(
                f"'{names[index]}' ({values[index]:g}) and '{names[index - 1]}' ({values[index - 1]:g}) are out of order: "
                "from 'target' over 'acceptable' to 'fail' values get worse"
            )
    if direction and len(values) > 1 and (values[0] > values[1]) != (direction == "higher"):
        raise TrialbookError(
            f"'direction' ({direction}) contradicts '{names[0]}' and '{names[1]}', which say the other"
        )
    if direction and plain and plain != [{"higher": "at_least", "lower": "at_most"}[direction]]:
        raise TrialbookError(f"'direction' ({direction}) contradicts '{plain[-1]}'; leave it out")


def _check_weight(weight: float) -> None:
    if not 0 <= weight < math.inf:
        raise TrialbookError(f"'weight' ({weight}) must be finite and not below 0")


@dataclass(frozen=True, kw_only=True)
class ManualScoreOptions:
    """A criterion that nobody measures: a score for each candidate, marked wherever it is shown as manual, not measured.

    Args:
        name: of the criterion, e.g. ``"integration complexity"``.
        scores: candidate to score, from 0 (worst) to 1 (best).
        by: who says so.
        why: on what grounds.
        level: as of a gate; a manual score is never passed or failed.
        weight: as of a gate.
    Raises:
        TrialbookError: a score or the weight is out of its range.
    """

    name: str
    scores: dict[str, float]
    by: str
    why: str
    level: Literal["should", "tie-break"] = "tie-break"
    weight: float = 1.0

    def __post_init__(self) -> None:
        for candidate, score in self.scores.items():
            if not 0 <= score <= 1:
                raise TrialbookError(f"'scores' gives '{candidate}' {score:g}: a score is from 0 to 1")
        _check_weight(self.weight)


@dataclass(frozen=True, kw_only=True)
class ExternalBaselineOptions:
    """Metrics that were reported elsewhere: they stand in tables, marked as such, and never have an interval.

    Args:
        source: where they were published.
        values: metric, or name of a gate, to its value.
    """

    source: str
    values: dict[str, float]


#: A condition on the candidates: each key that is there must hold for so many of them (``for``, ``at_least``, ``at_most``).
Condition = TypedDict("Condition", {
    "passes": str | list[str], "fails": str | list[str], "gate": str, "above": float, "below": float,
    "at_least": int, "at_most": int, "for": Literal["any", "all", "none"],
}, total=False)  # fmt: skip
Condition.__pydantic_config__ = {"extra": "forbid"}  # type: ignore[attr-defined]


class Outcome(TypedDict):
    """An outcome of a decision and what follows from it."""

    __pydantic_config__ = {"extra": "forbid"}  # type: ignore[misc]
    recommend: Required[str]
    name: NotRequired[str]
    when: NotRequired[Condition | list[Condition]]


@dataclass(frozen=True, kw_only=True)
class DecisionOptions:
    """The choice among several candidates of the one to continue with: criteria, and what to do in which case.

    Args:
        candidates: name of a candidate to its runs: an arm of this file, a needed experiment, or ``EXPERIMENT/ARM``, in which
            the arm may be a pattern. Of several arms the best one counts, gate by gate.
        gates: names of the gates and manual scores that it rests on; all of the file if left out.
        outcome: what may come out, the first whose condition holds applies.
        name: of the decision, where a file has several.
        tie: candidates whose weighted scores differ by no more are ranked by their tie-breaks.
    Raises:
        TrialbookError: there is no candidate, or a value is out of its range.
    """

    candidates: dict[str, str]
    gates: list[str] | None = None
    outcome: list[Outcome] | None = None
    name: str = ""
    tie: float = 0.02

    def __post_init__(self) -> None:
        if not self.candidates:
            raise TrialbookError("'candidates' is empty: name at least one")
        if not 0 <= self.tie < 1:
            raise TrialbookError(f"'tie' ({self.tie}) is a difference of scores, from 0 and below 1")


def conditions_of(outcome: Any) -> list[dict[str, Any]]:
    """The conditions of an outcome, all of which must hold; none where it applies to all that is left."""
    when = outcome.get("when", [])
    return [when] if isinstance(when, dict) else list(when)


def gates_named(condition: Mapping[str, Any], key: str, gates: Mapping[str, str]) -> list[str]:
    """The gates that ``passes`` or ``fails`` of a condition means."""
    said = condition.get(key)
    if said is None:
        return []
    if said in GROUPS:
        return [name for name, level in gates.items() if said in ("all", level)]
    return [said] if isinstance(said, str) else list(said)


def gate_name(gate: Mapping[str, Any]) -> str:
    """Return what a gate is called: its name, or its metric."""
    return str(gate.get("name") or gate.get("metric", ""))
