"""The tables of a comparison, as people read them: metrics of arms, cost, effects, claims, and all of it for a spreadsheet."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from trialbook.analysis.compare.claims import claim_text
from trialbook.analysis.compare.effects import last_part, show_level
from trialbook.analysis.compare.findings import across_arms
from trialbook.reports.tables import NOTHING, Column, Table, show_duration, show_evidence, show_number

if TYPE_CHECKING:
    from trialbook.analysis.compare.claims import ClaimResult
    from trialbook.analysis.compare.compare import Comparison, Row
    from trialbook.analysis.compare.effects import Effect
    from trialbook.analysis.compare.findings import ArmFinding
    from trialbook.analysis.statistics import Estimate

#: Stands at the verdict of an arm with an error finding.
BROKEN = "†"
#: Where a table of effects has more interactions than this, those that are undecided are only counted.
MOST_INTERACTIONS = 12

_COSTS = {
    "seconds": ("time", show_duration), "train_seconds": ("training", show_duration),
    "device_seconds": ("over all processes", show_duration),
    "samples_per_second": ("samples/s", lambda value: f"{value:,.0f}"),
    "training_flops": ("FLOPs", lambda value: show_large(value)),
    "peak_memory": ("peak memory", lambda value: f"{value / 2**20:,.0f} MiB"),
    "parameters": ("parameters", lambda value: f"{value:,.0f}"),
    "trained_parameters": ("trained", lambda value: f"{value:,.0f}"),
}  # fmt: skip
_COLOURS = {"better": "green", "worse": "red", "supported": "green", "not supported": "red"}


def broken_arms(comparison: Comparison) -> set[str]:
    """Arms with an error finding."""
    return {finding.arm for finding in comparison.findings if finding.severity == "error"}


def figure_table(comparison: Comparison) -> Table:
    """Every metric of every arm, and against its baseline."""
    rows, broken = comparison.rows, broken_arms(comparison)
    compared = any(row.baseline for row in rows)
    columns = [Column("metric"), Column("arm"), *_numbers("n", "mean"), Column("interval", "95%")]
    if compared:
        columns += [*_numbers("difference"), Column("difference_interval", "95%"), *_numbers("p"), Column("verdict")]
    cells, styles, before = [], {}, None
    external_baselines = _external_lines(comparison, len(columns))
    for row in rows:
        if row.metric != before and before is not None:
            cells += external_baselines.pop(before, [])
        metric = f"{row.metric} {_arrow(row)}" if row.metric != before else ""
        mark = f" {BROKEN}" if {row.arm, row.baseline} & broken else ""
        line = [metric, row.arm, row.estimate.n if row.estimate else 0, *_shown(row.estimate)]
        if compared:
            line += [*_shown(row.difference, signed=True), show_p(row.p_holm), _verdict(row) + mark]
        else:
            line[1] = row.arm + mark
        cells.append(line)
        before = row.metric
        if colour := _COLOURS.get(row.verdict or ""):
            styles[len(cells) - 1] = colour
    cells += external_baselines.pop(before or "", [])
    return Table(columns, cells, styles=styles)


def _external_lines(comparison: Comparison, width: int) -> dict[str, list[list[Any]]]:
    """Metric to the lines of metrics that were reported elsewhere: they have no interval, and no verdict."""
    found: dict[str, list[list[Any]]] = {}
    for name, table in comparison.external_baselines.items():
        for metric, value in table["values"].items():
            line = ["", f"{name} (external)", NOTHING, show_number(value), *[NOTHING] * (width - 4)]
            found.setdefault(metric, []).append(line)
    return found


def cost_table(comparison: Comparison) -> Table:
    """Tabulate what a run of every arm costs, and which arms no other beats."""
    present = [name for name in _COSTS if any(name in cost for cost in comparison.costs.values())]
    sizes = [(cost.get("trained_parameters"), cost.get("parameters")) for cost in comparison.costs.values()]
    if all(trained == whole for trained, whole in sizes) or not any(trained for trained, _ in sizes):
        present = [name for name in present if name != "trained_parameters"]
    columns = [Column("arm"), *(Column(name, _COSTS[name][0], right=True) for name in present)]
    columns += [Column("pareto", "Pareto")] if comparison.pareto else []
    rows = []
    for arm in comparison.arms:
        cost = comparison.costs.get(arm, {})
        cells = [arm, *(_COSTS[name][1](cost[name]) if name in cost else NOTHING for name in present)]
        rows.append([*cells, *(["yes" if arm in comparison.pareto else ""] if comparison.pareto else [])])
    return Table(columns, rows, title="Cost of a run, mean")


def effect_tables(comparison: Comparison) -> list[Table]:
    """A table of effects for every metric."""
    arrows = {row.metric: _arrow(row) for row in comparison.rows}
    columns = [
        Column("effect"),
        *_numbers("n", "difference"),
        Column("interval", "95%"),
        *_numbers("p"),
        Column("verdict"),
    ]
    names = short_names(comparison.effects)
    tables = []
    for metric in dict.fromkeys(effect.metric for effect in comparison.effects):
        own = [effect for effect in comparison.effects if effect.metric == metric]
        crowded = sum(len(effect.factors) > 1 for effect in own) > MOST_INTERACTIONS
        kept = [one for one in own if not crowded or len(one.factors) == 1 or one.verdict != "undecided"]
        rows = [
            [effect_text(effect, names), *_tested(effect.estimate, effect.p_holm), effect.verdict] for effect in kept
        ]
        if len(kept) < len(own):
            rows.append([f"{len(own) - len(kept)} more interactions", "", "", "", "", "undecided"])
        tables.append(Table(columns, rows, title=f"Effects on {metric} {arrows.get(metric, '')}".rstrip()))
    return tables


def claim_tables(comparison: Comparison) -> list[Table]:
    """A table for every claim: its answer, and the difference at each level of the other factors."""
    columns = [
        Column("claim"),
        *_numbers("n", "difference"),
        Column("interval", "95%"),
        *_numbers("p"),
        Column("verdict"),
    ]
    tables = []
    for number, claim in enumerate(comparison.claims, start=1):
        rows = [[claim_text(claim), *_tested(claim.estimate, claim.p_holm), _verdict(claim)]]
        for effect in claim.conditional:
            where = f"· at {last_part(effect.factors[1])} = {show_level(effect.levels[1])}"
            rows.append([where, *_tested(effect.estimate, effect.p_holm), effect.verdict])
        styles = {0: _COLOURS[claim.verdict]} if claim.verdict in _COLOURS else {}
        title = " ".join(["Claim", *([str(number)] if len(comparison.claims) > 1 else [])])
        title += f": {' '.join(claim.text.split())}" if claim.text else ""
        tables.append(Table(columns, rows, title=title, styles=styles))
    return tables


def finding_lines(comparison: Comparison) -> list[str]:
    """Return what looks broken, a line for each check and part, errors first; notes are counted where there is anything worse."""
    shared = across_arms(comparison.findings)
    alarms = [pair for pair in shared if pair[0].severity != "note"]
    lines = [_finding_line(*pair, comparison) for pair in alarms or shared]
    if alarms and (hidden := sorted({merged.check for merged, _ in shared if merged.severity == "note"})):
        lines.append(f"and notes, which are no alarm: {', '.join(hidden)}")
    return lines


def _finding_line(merged: ArmFinding, found: Sequence[ArmFinding], comparison: Comparison) -> str:
    """``error, loss-at-chance (loss.info-nce): …`` with where it was found, the numbers, and what to try."""
    unit = "seeds" if comparison.by == "arm" else "runs"
    places = [f"{one.arm}, in {len(one.runs)} of {one.of} {unit}" for one in found]
    if len(found) > 3:
        runs, of = sum(len(one.runs) for one in found), sum(one.of for one in found)
        arms = "all arms" if len(found) == len(comparison.arms) else ", ".join(one.arm for one in found)
        places = [f"{runs} of {of} runs of {arms}"]
    part = f" ({merged.component})" if merged.component else ""
    evidence = ", ".join(f"{name} {show_evidence(value)}" for name, value in merged.evidence.items())
    numbers = f" ({evidence})" if evidence else ""
    advice = f" Try: {merged.advice}" if merged.advice else ""
    what = merged.sentence.rstrip(".")
    return f"{merged.severity}, {merged.check}{part}: {what}. In {'; '.join(places)}{numbers}.{advice}"


def full_table(comparison: Comparison) -> Table:
    """All metrics, effects and claims as one table with full values, a row each."""
    own = (
        "metric", "arm", "higher_is_better", "n", "mean", "low", "high", "baseline", "difference", "difference_low",
        "difference_high", "p", "p_holm", "verdict", "seeds_to_decide",
    )  # fmt: skip
    cells, broken = [], broken_arms(comparison)
    for row in comparison.rows:
        figure = (row.estimate.n, *_ends(row.estimate)) if row.estimate else (0, None, None, None)
        tested = (*_ends(row.difference), row.p, row.p_holm, row.verdict, row.seeds_to_decide)
        line = [row.metric, row.arm, row.higher_is_better, *figure, row.baseline, *tested]
        cells.append(["arm", *line, None, row.arm in comparison.pareto, row.arm in broken])
    cells += [_contrast_line("effect", effect_text(effect), effect) for effect in comparison.effects]
    for claim in comparison.claims:
        cells.append(_contrast_line("claim", claim_text(claim), claim, claim.seeds_to_decide))
        for effect in claim.conditional:
            where = f"{claim_text(claim)}, at {effect.factors[1]} = {show_level(effect.levels[1])}"
            cells.append(_contrast_line("claim at a level", where, effect))
    return Table([Column(name) for name in ("kind", *own, "contrast", "pareto", "error_finding")], cells)


def _contrast_line(kind: str, text: str, one: Effect | ClaimResult, seeds: int | None = None) -> list[Any]:
    """An effect or a claim under the columns of ``full_table``."""
    count = one.estimate.n if one.estimate else 0
    tested = (*_ends(one.estimate), one.p, one.p_holm, one.verdict, seeds)
    return [kind, one.metric, None, None, count, None, None, None, None, *tested, text, None, None]


def effect_text(effect: Effect, names: dict[str, str] | None = None) -> str:
    """``lr: 0.0002 → 0.002 × init_std: 0.02 → 1``; with whole keys, unless shorter names are given."""
    changes = zip(effect.factors, effect.references, effect.levels, strict=True)
    return " × ".join(
        f"{(names or {}).get(factor, factor)}: {show_level(before)} → {show_level(now)}"
        for factor, before, now in changes
    )


def short_names(effects: Iterable[Effect]) -> dict[str, str]:
    """Key of a factor to its last part, or to as much as tells it from the others."""
    factors = dict.fromkeys(factor for effect in effects for factor in effect.factors)
    last = [last_part(factor) for factor in factors]
    return {factor: last_part(factor) if last.count(last_part(factor)) == 1 else factor for factor in factors}


def show_large(value: float) -> str:
    """A count with a unit: ``1.23 T`` for 1.23e12."""
    for size, unit in ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value:.3g}"


def show_p(value: float | None) -> str:
    """Four decimals."""
    return NOTHING if value is None else "<0.0001" if value < 1e-4 else f"{value:.4f}"


def _tested(estimate: Estimate | None, p: float | None) -> tuple[Any, ...]:
    return (estimate.n if estimate else 0, *_shown(estimate, signed=True), show_p(p))


def _shown(estimate: Estimate | None, *, signed: bool = False) -> tuple[str, str]:
    if estimate is None:
        return NOTHING, NOTHING
    mean = show_number(estimate.mean)
    mean = f"+{mean}" if signed and estimate.mean > 0 else mean
    if estimate.low is None or estimate.high is None:
        return mean, NOTHING
    return mean, f"[{show_number(estimate.low)}, {show_number(estimate.high)}]"


def _ends(estimate: Estimate | None) -> tuple[float | None, float | None, float | None]:
    return (estimate.mean, estimate.low, estimate.high) if estimate else (None, None, None)


def _verdict(one: Row | ClaimResult) -> str:
    if one.verdict == "undecided" and one.seeds_to_decide:
        return f"undecided (~{one.seeds_to_decide} seeds)"
    return one.verdict or NOTHING


def _arrow(row: Row) -> str:
    return "↑" if row.higher_is_better else "↓"


def _numbers(*names: str) -> Sequence[Column]:
    return [Column(name, right=True) for name in names]
