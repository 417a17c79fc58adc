"""The decisions of a comparison, in sentences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from trialbook.analysis.compare.claims import claim_text
from trialbook.analysis.statistics import Estimate
from trialbook.reports.comparison_tables import effect_text, short_names, show_p
from trialbook.reports.document.blocks import Code, Piece, Strong, Text
from trialbook.reports.tables import show_number

if TYPE_CHECKING:
    from trialbook.analysis.compare.claims import ClaimResult
    from trialbook.analysis.compare.compare import Comparison, Row
    from trialbook.analysis.compare.effects import Effect

#: Metrics, arms and effects that are told one by one; arms where effects are told as well.
_MOST_FIGURES, _MOST_ARMS, _MOST_EFFECTS, _FEW_ARMS = 3, 6, 6, 2


def verdict_sentences(comparison: Comparison) -> list[Text]:
    """Claims first, then what changes of a grid do, then each arm against its baseline."""
    said: list[Text] = [_claim(claim) for claim in comparison.claims]
    said += _effects(comparison)
    compared = [arm for arm in comparison.arms if any(row.arm == arm and row.baseline for row in comparison.rows)]
    if len(compared) > (_FEW_ARMS if comparison.effects else _MOST_ARMS):
        said.append(_counted(comparison))
        decided = {row.arm for row in comparison.rows if row.verdict in ("better", "worse")}
        compared = [arm for arm in compared if arm in decided][:_MOST_ARMS]
    said += [_arm([row for row in comparison.rows if row.arm == arm]) for arm in compared]
    return said or [_nothing(comparison)]


def _arm(rows: Sequence[Row]) -> Text:
    """``perceiver is worse than mlp at r@1 by 0.2 [0.1, 0.3], p 0.01; undecided at r@5``."""
    parts: list[Piece] = [Strong(rows[0].arm), " "]
    baseline = rows[0].baseline or ""
    own = {name: [row for row in rows if row.verdict == name] for name in ("better", "worse", "undecided")}
    clauses: list[list[Piece]] = []
    for verdict in ("better", "worse"):
        if own[verdict]:
            clauses.append([f"is {verdict} than ", Strong(baseline), " at ", *_figures(own[verdict])])
    if own["undecided"]:
        among = " against " if not clauses else ""
        named = [Strong(baseline)] if not clauses else []
        verb = "undecided" if clauses else "is undecided"
        clauses.append(
            [verb, among, *named, " at ", *_names([row.metric for row in own["undecided"]]), _needed(own["undecided"])]
        )
    for number, clause in enumerate(clauses):
        parts += ["; "] if number else []
        parts += clause
    return [*parts, "."]


def _figures(rows: Sequence[Row]) -> list[Piece]:
    parts: list[Piece] = []
    for number, row in enumerate(rows[:_MOST_FIGURES]):
        parts += [", " if number else "", Code(row.metric), f" by {_size(row.difference)}, p {show_p(row.p_holm)}"]
    if len(rows) > _MOST_FIGURES:
        parts.append(f", and at {_count(len(rows) - _MOST_FIGURES, 'more metric')}")
    return [part for part in parts if part != ""]


def _names(names: Sequence[str]) -> list[Piece]:
    parts: list[Piece] = []
    for number, name in enumerate(names[:_MOST_FIGURES]):
        parts += [", "] if number else []
        parts.append(Code(name))
    return parts + ([f" and {_count(len(names) - _MOST_FIGURES, 'more metric')}"] if len(names) > _MOST_FIGURES else [])


def _needed(rows: Sequence[Row]) -> str:
    needed = [row.seeds_to_decide for row in rows if row.seeds_to_decide]
    if len(needed) < len(rows):
        return ""
    low, high = min(needed), max(needed)
    return f" (about {low} seeds would decide)" if low == high else f" (about {low} to {high} seeds would decide)"


def _counted(comparison: Comparison) -> Text:
    first = comparison.rows[0].metric
    rows = [row for row in comparison.rows if row.metric == first and row.baseline]
    counts = {name: sum(row.verdict == name for row in rows) for name in ("better", "worse", "undecided")}
    said = ", ".join(f"{count} {name}" for name, count in counts.items())
    return ["At ", Code(first), f", of {len(rows)} arms against their baselines: {said}."]


def _claim(claim: ClaimResult) -> Text:
    """``Supported: init_std = 0.02 lowers r@1 (difference …)``."""
    told = " ".join(claim.text.split())
    parts: list[Piece] = [Strong(claim.verdict.capitalize()), ": "]
    parts += [f"“{told}” (", Code(claim_text(claim)), ")"] if told else [Code(claim_text(claim))]
    if claim.estimate is None:
        return [*parts, ". Nothing was measured for it."]
    parts.append(f". Measured: {_signed(claim.estimate)}, p {show_p(claim.p_holm)}")
    if claim.verdict == "undecided" and claim.seeds_to_decide:
        parts.append(f"; about {claim.seeds_to_decide} seeds would decide")
    return [*parts, "."]


def _effects(comparison: Comparison) -> list[Text]:
    """Decided main effects on the first metric, and how many are not."""
    if not comparison.effects:
        return []
    metric, names = comparison.effects[0].metric, short_names(comparison.effects)
    main = [effect for effect in comparison.effects if effect.metric == metric and len(effect.factors) == 1]
    decided = [effect for effect in main if effect.verdict != "undecided"]
    said: list[Text] = [_effect(effect, names) for effect in decided[:_MOST_EFFECTS]]
    if rest := [effect for effect in main if effect.verdict == "undecided"]:
        listed = "; ".join(effect_text(effect, names) for effect in rest[:_MOST_EFFECTS])
        said.append(["Undecided is the effect on ", Code(metric), f" of {listed}."])
    return said


def _effect(effect: Effect, names: dict[str, str]) -> Text:
    return [
        Strong(effect_text(effect, names)), f" {effect.verdict} ", Code(effect.metric),
        f" by {_size(effect.estimate)}, p {show_p(effect.p_holm)}, over all combinations of the rest.",
    ]  # fmt: skip


def _nothing(comparison: Comparison) -> Text:
    if len(comparison.arms) == 1:
        return "There is one arm: nothing is compared."
    return "The experiment names no baseline: its arms stand beside one another, without a verdict."


def _size(estimate: Estimate | None) -> str:
    """A difference without its sign, which the sentence tells."""
    if estimate is None:
        return "an unknown difference"
    ends = [] if estimate.low is None or estimate.high is None else [estimate.low, estimate.high]
    if estimate.mean < 0:
        ends = [-end for end in reversed(ends)]
    said = f" [{show_number(ends[0], 3)}, {show_number(ends[1], 3)}]" if ends else ""
    return f"{show_number(abs(estimate.mean), 3)}{said}".replace("-", "−")


def _signed(estimate: Estimate) -> str:
    said = f"{'+' if estimate.mean > 0 else ''}{show_number(estimate.mean, 3)}"
    if estimate.low is not None and estimate.high is not None:
        said += f" [{show_number(estimate.low, 3)}, {show_number(estimate.high, 3)}]"
    return said.replace("-", "−")


def _count(number: int, name: str) -> str:
    return f"{number} {name}{'' if number == 1 else 's'}"
