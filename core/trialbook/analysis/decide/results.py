"""All that is to be said of a decision, as data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from trialbook.analysis.decide.ranking import Criterion, Standing
from trialbook.analysis.decide.recommendation import Advice
from trialbook.analysis.statistics import Estimate


@dataclass(frozen=True)
class Held:
    """A gate, held against a candidate.

    Args:
        gate, candidate, metric, level, bound: which, and what passes it.
        measured_in: the runs; where: arm and metric that were best, of ``best_of``.
        estimate: the value (or ratio) with its 95% interval, and from how many seeds; None where nothing was measured.
        basis: what the interval rests on: ``seeds``, ``samples`` (the metric's own), ``itself`` or ``none``.
        reached: ``target``, ``acceptable``, ``between`` or ``fail``, by the value; score: from 0 to 1, by the value.
        verdict: by the interval: ``pass``, ``fail`` or ``undecided``; p, p_holm: of passing by chance.
        missing: runs and metrics that are not there; note: what else is in the way of a verdict.
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
class ExternalValue:
    """A metric from elsewhere: without interval, and never judged; a ratio where the gate asks for one."""

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
        criteria: gates and manual scores; relative: gate to what its ratio is taken to.
        manual_scores: the ``[[manual_score]]`` tables; external_baselines: metrics from elsewhere.
        held: every gate for every candidate; tests: how many tests were corrected together.
        outcomes: as written; ranking: candidates, best first; advice: what follows.
        random_weights: parts of models with random weights that the values are of.
    """

    name: str
    question: str
    candidates: Mapping[str, str]
    criteria: tuple[Criterion, ...]
    relative: Mapping[str, str]
    manual_scores: tuple[Mapping[str, Any], ...]
    external_baselines: tuple[ExternalValue, ...]
    held: tuple[Held, ...]
    tests: int
    outcomes: tuple[Mapping[str, Any], ...]
    ranking: tuple[Standing, ...]
    advice: Advice
    random_weights: tuple[str, ...] = ()

    def of(self, gate: str, candidate: str) -> Held:
        """Return what came of a gate for a candidate."""
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


def decision_record(decisions: Sequence[Decision]) -> list[dict[str, Any]]:
    """Decisions as JSON-able data, without anything that depends on when they were made."""
    return [_record(one) for one in decisions]


def _record(decision: Decision) -> dict[str, Any]:
    advice = decision.advice
    return {
        "name": decision.name, "question": decision.question,
        "recommendation": advice.text or None,
        "outcome": None if advice.outcome is None else decision.outcome_name(advice.outcome),
        "confidence": advice.confidence, "share": advice.share,
        "open": [decision.outcome_name(one) for one in advice.open],
        "possible": [decision.outcome_name(one) for one in advice.possible],
        "shares": {decision.outcome_name(number): share for number, share in advice.shares.items()},
        "candidates": [
            {"rank": place, "runs": decision.candidates[one.candidate], **asdict(one), "first": advice.first[one.candidate]}
            for place, one in enumerate(decision.ranking, start=1)
        ],
        "criteria": [
            {
                "name": one.name, "level": one.level, "weight": one.weight, "relative_to": decision.relative.get(one.name),
                **(
                    {"manual_score": dict(one.manual_scores)}
                    if one.scale is None
                    else {"bound": one.scale.bound, **one.scale.knots}
                ),
            }
            for one in decision.criteria
        ],
        "gates": [asdict(one) for one in decision.held],
        "tests": decision.tests,
        "manual_score": [dict(one) for one in decision.manual_scores],
        "external_baseline": [asdict(one) for one in decision.external_baselines],
        "outcomes": [dict(one) for one in decision.outcomes],
        "missing": list(decision.missing),
        "random_weights": list(decision.random_weights),
    }  # fmt: skip


def metrics_record(decision: Decision) -> dict[str, Any]:
    """Candidate to its metrics by gate; then manual scores, and those that were reported elsewhere."""
    found: dict[str, Any] = {
        candidate: {one.gate: _figure(one) for one in decision.held if one.candidate == candidate}
        for candidate in decision.candidates
    }
    manual_scores = {one["name"]: {"by": one["by"], "scores": dict(one["scores"])} for one in decision.manual_scores}
    external_baselines: dict[str, Any] = {}
    for one in decision.external_baselines:
        external_baselines.setdefault(one.name, {"source": one.source})[one.gate] = one.value
    return {
        "measured": found,
        **({"manual_score": manual_scores} if manual_scores else {}),
        **({"external_baseline": external_baselines} if external_baselines else {}),
    }


def _figure(held: Held) -> dict[str, Any]:
    estimate = held.estimate
    if estimate is None:
        return {"metric": held.metric, "value": None, "verdict": held.verdict, "missing": list(held.missing)}
    return {
        "metric": held.metric, "value": estimate.mean, "low": estimate.low, "high": estimate.high, "n": estimate.n,
        "measured_in": held.measured_in, "verdict": held.verdict,
    }  # fmt: skip


def to_yaml(value: Any) -> str:
    """Data as YAML, keys in their order."""
    import yaml  # type: ignore[import-untyped, unused-ignore]  # late: only this needs it

    text: str = yaml.safe_dump(value, sort_keys=False, allow_unicode=True, default_flow_style=False)
    return text
