"""Answering an experiment's claims: does a level of a factor do to a metric what the claim says?

A claim is one contrast, held against the smallest difference that counts. Where the difference is shown to be larger, in the
direction of the claim, the claim is supported; where it is shown to be smaller, or to go the other way, it is not; else the
seeds do not decide.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from trialbook.analysis import statistics as stats
from trialbook.analysis.compare.effects import Design, Effect, Values, change, estimate_of, judge, last_part, show_level
from trialbook.analysis.statistics import Estimate
from trialbook.config.kinds import place_of


@dataclass(frozen=True)
class ClaimResult:
    """A claim and its answer.

    Args:
        factor, level: what is said to act; against: the levels that it is compared with.
        metric, direction, text, at_least: as in the file.
        estimate: mean at the level less the mean over ``against``, over all combinations of the other factors and then over
            seeds, with its 95% t interval.
        p: that the difference in the claimed direction is ``at_least``, by the paired t-test, two-sided; p_holm: corrected for
            all claims.
        verdict: ``supported``, ``not supported`` or ``undecided``.
        seeds_to_decide: how many would, if mean and spread stayed as they are; for claims that are undecided.
        conditional: the difference at each level of each other factor, corrected among themselves.
    """

    factor: str
    level: Any
    against: tuple[Any, ...]
    metric: str
    direction: str
    text: str
    at_least: float
    estimate: Estimate | None = None
    p: float | None = None
    p_holm: float | None = None
    verdict: str = "undecided"
    seeds_to_decide: int | None = None
    conditional: tuple[Effect, ...] = ()


@dataclass(frozen=True)
class _Measured:
    """A claim's contrast: by seed, and in the claimed direction less what is the least."""

    result: ClaimResult
    contrast: Mapping[int, float]

    @property
    def surplus(self) -> list[float]:
        least, sign = self.result.at_least, 1 if self.result.direction == "higher" else -1
        return [stats.without_rounding(sign * one - least, abs(one) + least) for one in self.contrast.values()]


def answer_claims(
    claims: Sequence[Mapping[str, Any]], design: Design, values: Mapping[str, Values], baseline: str | None = None
) -> tuple[list[ClaimResult], list[str]]:
    """Answer claims, corrected together after Holm.

    Args:
        claims: the tables as written.
        design: factors and runs.
        values: metric -> run -> value.
        baseline: the arm that arms are compared with where a claim does not say.
    Returns:
        the answers, and what a reader must know of those that nothing was measured for.
    """
    measured = [_measure(claim, design, values.get(claim["metric"], {}), baseline) for claim in claims]
    p_values = [stats.paired_p(one.surplus) for one in measured]
    asked = sum(p is not None for p in p_values)
    answers = [
        _answer(one, p, corrected, asked)
        for one, p, corrected in zip(measured, p_values, stats.holm(p_values), strict=True)
    ]
    conditional = iter(judge([effect for answer in answers for effect in answer.conditional]))
    answers = [replace(answer, conditional=tuple(next(conditional) for _ in answer.conditional)) for answer in answers]
    notes = [note for one in measured if (note := _reservation(one, design, values))]
    return answers, notes


def claim_text(claim: ClaimResult) -> str:
    """The claim, short: ``init_std = 0.02 (against 1) lowers retrieval/i2t@1 by at least 0.05``."""
    verb = "raises" if claim.direction == "higher" else "lowers"
    against = f" (against {', '.join(map(show_level, claim.against))})" if claim.against else ""
    least = f" by at least {claim.at_least:g}" if claim.at_least else ""
    return f"{last_part(claim.factor)} = {show_level(claim.level)}{against} {verb} {claim.metric}{least}"


def _measure(claim: Mapping[str, Any], design: Design, values: Values, baseline: str | None) -> _Measured:
    factor, levels = claim["factor"], design.factors.get(claim["factor"], ())
    level = place_of(claim["level"], levels)
    against = [place for place in _against(claim, levels, baseline) if place != level]
    result = ClaimResult(
        factor, claim["level"], tuple(levels[place] for place in against), claim["metric"], claim["direction"],
        claim.get("text", ""), claim.get("at_least", 0.0),
    )  # fmt: skip
    if level is None or not against:
        return _Measured(result, {})
    weights = {factor: change(level, against)}
    conditional = [
        _at_level(result, other, own, *estimate_of(design.contrast(values, {**weights, other: {place: 1.0}})))
        for other, others in design.factors.items()
        if other != factor
        for place, own in enumerate(others)
    ]
    return _Measured(replace(result, conditional=tuple(conditional)), design.contrast(values, weights))


def _against(claim: Mapping[str, Any], levels: Sequence[Any], baseline: str | None) -> list[int]:
    """Places of the levels that a claim compares with; none where one of them is not there."""
    wanted = claim.get("against")
    if wanted is None:
        usual = place_of(baseline, levels) if claim["factor"] == "arm" and baseline != claim["level"] else None
        return list(range(len(levels))) if usual is None else [usual]
    one = place_of(wanted, levels)
    several = wanted if one is None and isinstance(wanted, list) else [wanted]
    places = [place for each in several if (place := place_of(each, levels)) is not None]
    return places if len(places) == len(several) else []


def _at_level(claim: ClaimResult, other: str, own: Any, estimate: Estimate | None, p: float | None) -> Effect:
    return Effect(claim.metric, (claim.factor, other), (claim.level, own), claim.against, estimate, p)


def _answer(measured: _Measured, p: float | None, corrected: float | None, asked: int) -> ClaimResult:
    estimate, _ = estimate_of(measured.contrast)
    result, surplus = replace(measured.result, estimate=estimate, p=p, p_holm=corrected), measured.surplus
    if stats.decides(corrected, len(surplus)):
        return replace(result, verdict="supported" if stats.mean(surplus) > 0 else "not supported")
    return replace(result, seeds_to_decide=stats.seeds_to_decide(surplus, max(1, asked)))


def _reservation(measured: _Measured, design: Design, values: Mapping[str, Values]) -> str | None:
    """Say why a claim is undecided for another reason than too few seeds, or rests on fewer than there are."""
    claim, surplus, seeds = measured.result, measured.surplus, len(design.seeds())
    name = f"the claim that {claim_text(claim)}"
    if claim.factor not in design.factors:
        return f"{name} is not answered: {claim.factor} is the same in all runs shown"
    if not claim.against or place_of(claim.level, design.factors[claim.factor]) is None:
        return f"{name} is not answered: it takes levels of {claim.factor} that no run shown has"
    if claim.metric not in values:
        return f"{name} is not answered: no run recorded {claim.metric}"
    if not surplus:
        return f"{name} is not answered: no seed has a value of {claim.metric} in every run that it takes"
    if not all(map(math.isfinite, surplus)):
        return f"{name} is not answered: {claim.metric} is not finite in every run that it takes"
    if len(surplus) > 1 and stats.is_constant(surplus):
        return f"{name} is not answered: all seeds show the same difference, so they are no repetition"
    return f"{name} rests on {len(surplus)} of {seeds} seeds: others lack a run" if len(surplus) < seeds else None
