"""The analysis of an experiment's factors: effects, answers to claims, and what they rest on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from trialbook.analysis.compare.claims import ClaimResult, answer_claims
from trialbook.analysis.compare.effects import Design, Effect, find_effects, make_design
from trialbook.analysis.compare.groups import Groups

#: Metric to run (by number) to value, as ``trialbook.analysis.compare.metrics.read_values`` gives them.
Figures = Mapping[str, Mapping[int, float]]


@dataclass(frozen=True)
class Factorial:
    """Effects, claims, and what a reader must know of either."""

    effects: tuple[Effect, ...] = ()
    claims: tuple[ClaimResult, ...] = ()
    notes: tuple[str, ...] = ()


def read_factorial(groups: Groups, values: Figures, metrics: Sequence[str], *, whole: bool) -> Factorial:
    """Effects on the metrics, and answers to the claims that the experiment makes.

    Args:
        groups: runs of one experiment.
        values: of these metrics and of those of the claims.
        metrics: those to give effects on. There are effects where a key of the grid is a factor; what arms alone do
            is in the table of arms already.
        whole: the groups hold all runs of the experiment.
    """
    info = groups.info
    if not info.claims and not info.factors:
        return Factorial()
    design = make_design(groups, whole=whole)
    factorial = metrics and set(design.factors) - {"arm"}
    effects = find_effects(design, {name: values.get(name, {}) for name in metrics}) if factorial else []
    claims, reservations = answer_claims(info.claims, design, values, info.baseline)
    return Factorial(tuple(effects), tuple(claims), (*_notes(design, effects), *reservations))


def _notes(design: Design, effects: Sequence[Effect]) -> list[str]:
    if not effects:
        return []
    notes, seeds = [], len(design.seeds())
    used = [effect.estimate.n if effect.estimate else 0 for effect in effects]
    if min(used) < seeds:
        counts = f"{min(used)} to {max(used)}" if min(used) < max(used) else str(min(used))
        notes.append(
            f"effects rest on {counts} of {seeds} seeds: a seed that lacks a run of an effect is left out of it"
        )
    if design.strangers:
        notes.append(f"arms that are not in the newest plan are left out of the effects: {', '.join(design.strangers)}")
    return notes
