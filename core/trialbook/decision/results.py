"""All that is to be said of a decision, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from trialbook.comparison.stats import Estimate
from trialbook.decision.advice import Advice
from trialbook.decision.ranking import Criterion, Standing


@dataclass(frozen=True)
class Held:
    """A gate, held against a candidate.

    Args:
        gate, candidate, metric, level, bound: which, and what passes it.
        measured_in: the runs; where: arm and figure that were best, of ``best_of``.
        estimate: the value (or ratio) with its 95% interval, and from how many seeds; None where nothing was measured.
        basis: what the interval rests on: ``seeds``, ``samples`` (the metric's own), ``itself`` or ``none``.
        reached: ``target``, ``acceptable``, ``between`` or ``fail``, by the value; score: from 0 to 1, by the value.
        verdict: by the interval: ``pass``, ``fail`` or ``undecided``; p, p_holm: of passing by chance.
        missing: runs and figures that are not there; note: what else is in the way of a verdict.
    """

    gate: str
    candidate: str
    metric: str
    level: str
    bound: str
    measured_in: str
    where: str
    best_of: int
    estimate: Estimate | None
    basis: str
    reached: str | None
    score: float | None
    verdict: str
    p: float | None
    p_holm: float | None
    missing: tuple[str, ...] = ()
    note: str = ""


@dataclass(frozen=True)
class PublishedFigure:
    """A figure from elsewhere: without interval, and never judged; a ratio where the gate asks for one."""

    gate: str
    name: str
    value: float
    reached: str
    source: str


@dataclass(frozen=True)
class Decision:
    """A decision: what was measured, how candidates stand, what is recommended.

    Args:
        name, question: as in the file.
        candidates: name to its own runs.
        criteria: gates and stated criteria; relative: gate to what its ratio is taken to.
        stated: the ``[[stated]]`` tables; published: figures from elsewhere.
        held: every gate for every candidate; tests: how many tests were corrected together.
        outcomes: as written; ranking: candidates, best first; advice: what follows.
    """

    name: str
    question: str
    candidates: Mapping[str, str]
    criteria: tuple[Criterion, ...]
    relative: Mapping[str, str]
    stated: tuple[Mapping[str, Any], ...]
    published: tuple[PublishedFigure, ...]
    held: tuple[Held, ...]
    tests: int
    outcomes: tuple[Mapping[str, Any], ...]
    ranking: tuple[Standing, ...]
    advice: Advice

    def of(self, gate: str, candidate: str) -> Held:
        """What came of a gate for a candidate."""
        return next(one for one in self.held if (one.gate, one.candidate) == (gate, candidate))

    @property
    def missing(self) -> tuple[str, ...]:
        """All that is missing, each once."""
        return tuple(dict.fromkeys(what for one in self.held for what in one.missing))

    def outcome_name(self, number: int | None) -> str:
        """An outcome in a few words: its name, or its place in the file."""
        if number is None:
            return "no outcome of the file" if self.outcomes else "the ranking"
        return str(self.outcomes[number].get("name") or f"outcome {number + 1}")
