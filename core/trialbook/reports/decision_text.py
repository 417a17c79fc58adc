"""A decision in words and tables, the same for a terminal and for pages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from trialbook.analysis.decide.recommendation import DRAWS, HIGH, MEDIUM
from trialbook.analysis.decide.results import Decision, Held
from trialbook.analysis.statistics import FEWEST_SEEDS
from trialbook.analysis.verdicts import GATE_ALPHA, UNTOLD
from trialbook.config.decision_options import conditions_of
from trialbook.reports.comparison_tables import show_p
from trialbook.reports.tables import NOTHING, Column, Table, show_number

_MEETS = {True: "all", False: "not all", None: "not known"}
_COLOURS = {"pass": "green", "fail": "red"}


def answer(decision: Decision) -> list[tuple[str, str]]:
    """Say what is recommended and how sure that is: what a line is about, and what it says."""
    advice, lines = decision.advice, list[tuple[str, str]]()
    if decision.random_weights:
        count, first = len(decision.random_weights), decision.random_weights[0]
        others = f" and {count - 1} more" if count > 1 else ""
        lines.append(
            ("RANDOM WEIGHTS", f"this is a rehearsal and no evidence: {first}{others} never learned anything.")
        )
    if advice.open:
        named = "; ".join(decision.outcome_name(one) for one in advice.open)
        lines.append(("No recommendation yet", f"what is missing or cannot be told leaves open: {named}."))
    elif not advice.text:
        lines.append(("No recommendation", "no outcome of the file applies."))
    else:
        lines.append(("Recommendation", advice.text))
        why = "; a value without an interval can change the outcome" if advice.without else ""
        why += "; models have random weights" if decision.random_weights else ""
        share = f"the same is recommended in {advice.share or 0:.0%} of draws from the intervals{why}"
        lines.append(("Confidence", f"{advice.confidence} ({share})."))
    if len(advice.possible) > 1:
        named = "; ".join(decision.outcome_name(one) for one in advice.possible)
        lines.append(("Still possible", f"as gates are undecided: {named}."))
    if untold := [one for one in decision.held if one.verdict == UNTOLD]:
        named = "; ".join(f"{one.gate} of {one.candidate}: {one.note}" for one in untold)
        lines.append(("Cannot be told", f"{named}."))
    lines.append(("Ranking", ", ".join(f"{one.candidate} ({one.score:.2f})" for one in decision.ranking) + "."))
    if decision.missing:
        count = len(decision.missing)
        lines.append(
            ("Missing", f"{count} run{'s or metrics are' if count > 1 else ' or metric is'} not there; see below.")
        )
    return lines


def ranking_table(decision: Decision) -> Table:
    """Candidates, best first."""
    columns = [Column("rank", right=True), Column("candidate"), Column("score", "weighted score", right=True)]
    columns += [Column("tie_break", "tie-break", right=True), Column("musts", "passes every must"),
                Column("first", "first in draws", right=True)]  # fmt: skip
    rows = []
    for place, one in enumerate(decision.ranking, start=1):
        score = f"{one.score:.3f}" + (f" to {one.most:.3f}" if one.most > one.score + 1e-9 else "")
        tie = NOTHING if one.tie_break is None else f"{one.tie_break:.2f}"
        rows.append(
            [place, one.candidate, score, tie, _MEETS[one.meets], f"{decision.advice.first[one.candidate]:.0%}"]
        )
    return Table(columns, rows, title="Candidates, by what was measured")


def criteria_table(decision: Decision) -> Table:
    """Every criterion beside every candidate and every external value."""
    elsewhere = list(dict.fromkeys(one.name for one in decision.external_baselines))
    columns = [Column("criterion"), Column("level"), Column("weight", right=True), Column("thresholds")]
    columns += [Column(one) for one in decision.candidates] + [Column(one, f"{one} (external)") for one in elsewhere]
    figures = {(one.gate, one.name): show_number(one.value) for one in decision.external_baselines}
    rows = []
    for one in decision.criteria:
        if one.scale is None:
            told, cells = "manual, not measured", [f"{one.manual_scores[c]:.2f} (manual)" for c in decision.candidates]
        else:
            told = one.scale.words
            cells = [_cell(decision.of(one.name, candidate)) for candidate in decision.candidates]
        name = f"{one.name} relative to {decision.relative[one.name]}" if one.name in decision.relative else one.name
        outer = [figures.get((one.name, other), NOTHING) for other in elsewhere]
        rows.append([name, one.level, f"{one.weight:g}", told, *cells, *outer])
    return Table(columns, rows, title="All criteria")


def _cell(held: Held) -> str:
    return f"{NOTHING} {held.verdict}" if held.estimate is None else f"{show_number(held.estimate.mean)} {held.verdict}"


def gate_table(decision: Decision) -> Table:
    """Every gate for every candidate, with all that its verdict rests on."""
    columns = [Column("gate"), Column("candidate"), Column("n", right=True), Column("value", right=True),
               Column("interval", "95%"), Column("basis", "interval of"), Column("reached"), Column("score", right=True),
               Column("p", right=True), Column("measured_in", "measured in"), Column("verdict")]  # fmt: skip
    rows, styles, before = [], {}, None
    for one in decision.held:
        name, estimate = f"{one.gate} {one.bound}", one.estimate
        low = None if estimate is None else estimate.low
        ends = f"[{show_number(low)}, {show_number(estimate.high or 0.0)}]" if estimate and low is not None else NOTHING
        where = f"{one.measured_in}: {one.where}, best of {one.best_of}" if one.best_of > 1 else one.measured_in
        rows.append([
            "" if name == before else name, one.candidate, estimate.n if estimate else 0,
            show_number(estimate.mean) if estimate else NOTHING, ends, one.basis if low is not None else NOTHING,
            one.reached or NOTHING, NOTHING if one.score is None else f"{one.score:.2f}", show_p(one.p_holm), where,
            one.verdict,
        ])  # fmt: skip
        before = name
        if one.verdict in _COLOURS:
            styles[len(rows) - 1] = _COLOURS[one.verdict]
    return Table(columns, rows, title="Gates", styles=styles)


def outcome_table(decision: Decision) -> Table:
    """Tabulate what may come out, in the order of the file: the first that holds applies."""
    advice = decision.advice
    most = "≤ " if sum(advice.shares.values()) > 1 + 1e-9 else ""  # missing values leave several possible in one draw
    rows = []
    for number, one in enumerate(decision.outcomes):
        state = "applies" if number == advice.outcome else "possible" if number in advice.possible else ""
        when = " and ".join(condition_text(each) for each in conditions_of(one)) or "otherwise"
        share = f"{most}{advice.shares.get(number, 0.0):.0%}"
        rows.append([decision.outcome_name(number), when, one["recommend"], share, state or NOTHING])
    columns = [
        Column("outcome"),
        Column("when"),
        Column("recommendation"),
        Column("share", "share of draws", right=True),
    ]
    return Table([*columns, Column("state", "as measured")], rows, title="Outcomes")


def condition_text(condition: Mapping[str, Any]) -> str:
    """``at least 2 candidates pass every must``."""
    who, one = _how_many(condition)
    said = [f"{'passes' if one else 'pass'} {_gates(condition['passes'])}"] if "passes" in condition else []
    said += [f"{'does' if one else 'do'} not pass {_gates(condition['fails'])}"] if "fails" in condition else []
    for side in ("above", "below"):
        said += (
            [f"{'has' if one else 'have'} {condition['gate']} {side} {condition[side]:g}"] if side in condition else []
        )
    return f"{who} {' and '.join(said)}"


def _gates(named: str | Sequence[str]) -> str:
    if not isinstance(named, str):
        return ", ".join(named)
    return "every gate" if named == "all" else f"every {named}" if named in ("must", "should") else named


def _how_many(condition: Mapping[str, Any]) -> tuple[str, bool]:
    """Of how many candidates a condition must hold, and whether that is said of one."""
    low, high = condition.get("at_least"), condition.get("at_most")
    if low is None and high is None:
        words = {
            "any": ("at least one candidate", True),
            "all": ("all candidates", False),
            "none": ("no candidate", True),
        }
        return words[condition.get("for", "any")]
    count = f"exactly {low}" if low == high else f"{low} to {high}" if None not in (low, high) else ""
    count = count or (f"at least {low}" if high is None else f"at most {high}")
    one = (high if low is None else low if high in (None, low) else high) == 1
    return f"{count} candidate{'' if one else 's'}", one


def method(decision: Decision) -> list[str]:
    """Explain how all this comes about."""
    lines = [
        f"A gate is passed where its one-sided p, after Holm over the {decision.tests} tests of this decision, is below "
        f"{GATE_ALPHA:g}, failed where the same holds of the other side, and undecided else: less than 1 in 100 decisions "
        "passes any gate by mistake, or fails any. It cannot be told where the threshold lies beyond what can be reached at all "
        "(the ceiling recorded with the metric), or where what knows nothing (its floor or null) passes as well. What several "
        "layers or arms offer is corrected for their number.",
        f"Intervals are 95% t intervals over seeds, from {FEWEST_SEEDS} seeds that differ; else those that the metric recorded "
        "(“samples”). Nothing is decided without, or where a run is missing.",
        "Scores run on straight lines from 0 at fail over 0.5 at acceptable to 1 at target, and no further; a gate with one "
        "threshold scores 1 or 0. The weighted score is their mean by weight; what is not measured counts as 0, and the second "
        "number says what the score would be if it counted as 1. Candidates whose values pass every must stand first.",
        f"Confidence is the share of {DRAWS} draws in which the same is recommended, where every value is drawn again from its "
        f"interval: high from {HIGH:.0%}, medium from {MEDIUM:.0%}, low below, and low where a value without an interval can "
        "change the outcome, or models have random weights.",
    ]
    if decision.manual_scores:
        lines.append("Manual scores are somebody's judgement: nothing was measured, and they have no interval.")
    if decision.external_baselines:
        lines.append(
            "External baselines were not measured here: they have no interval, and no verdict rests on them alone."
        )
    return lines


def manual_score_table(decision: Decision) -> Table:
    """Manual scores: by whom and why."""
    columns = [
        Column("criterion"),
        *(Column(one, right=True) for one in decision.candidates),
        Column("by"),
        Column("why"),
    ]
    rows = [
        [one["name"], *(f"{one['scores'][c]:.2f}" for c in decision.candidates), one["by"], one["why"]]
        for one in decision.manual_scores
    ]
    return Table(columns, rows, title="Manual scores, not measured")


def external_baseline_table(decision: Decision) -> Table:
    """Metrics from elsewhere, with their sources."""
    columns = [Column("name"), Column("gate"), Column("value", right=True), Column("reached"), Column("source")]
    rows = [
        [one.name, one.gate, show_number(one.value), one.reached, one.source] for one in decision.external_baselines
    ]
    return Table(columns, rows, title="External baselines, not measured here")
