"""A decision as files for programs: ``decision.json`` with all of it, ``metrics.yaml`` with the figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from trialbook.decision.results import Decision, Held


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
                **({"stated": dict(one.stated)} if one.scale is None else {"bound": one.scale.bound, **one.scale.knots}),
            }
            for one in decision.criteria
        ],
        "gates": [asdict(one) for one in decision.held],
        "tests": decision.tests,
        "stated": [dict(one) for one in decision.stated],
        "published": [asdict(one) for one in decision.published],
        "outcomes": [dict(one) for one in decision.outcomes],
        "missing": list(decision.missing),
    }  # fmt: skip


def metrics_record(decision: Decision) -> dict[str, Any]:
    """Candidate to its figures by gate; then those that were stated, and those that were published elsewhere."""
    found: dict[str, Any] = {
        candidate: {one.gate: _figure(one) for one in decision.held if one.candidate == candidate}
        for candidate in decision.candidates
    }
    stated = {one["name"]: {"by": one["by"], "scores": dict(one["scores"])} for one in decision.stated}
    published: dict[str, Any] = {}
    for one in decision.published:
        published.setdefault(one.name, {"source": one.source})[one.gate] = one.value
    return {
        "measured": found,
        **({"stated": stated} if stated else {}),
        **({"published": published} if published else {}),
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
