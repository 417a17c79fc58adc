"""Answering an experiment's question from the registry: arms over seeds, against the baseline, with what speaks against it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trialbook.analysis import statistics as stats
from trialbook.analysis.compare.averages import Values, average, average_notes, difference
from trialbook.analysis.compare.claims import ClaimResult
from trialbook.analysis.compare.differences import Difference, Sheets, find_differences
from trialbook.analysis.compare.effects import Effect
from trialbook.analysis.compare.factorial import Factorial, read_factorial
from trialbook.analysis.compare.findings import ArmFinding, arm_findings
from trialbook.analysis.compare.gates import GateResult, gate_metrics, judge_gates
from trialbook.analysis.compare.groups import Groups, make_groups
from trialbook.analysis.compare.metrics import (
    At,
    choose_metrics,
    find_pareto,
    higher_is_better,
    read_costs,
    read_values,
)
from trialbook.analysis.selection import Condition, Facts, never_run, of_plan, select_runs
from trialbook.analysis.statistics import Estimate
from trialbook.errors import TrialbookError
from trialbook.registry.changed_data import describe_changed
from trialbook.registry.data_files import DataFiles
from trialbook.registry.query import Registry, Run, open_index

if TYPE_CHECKING:
    from trialbook.config.runspec import Plan


@dataclass(frozen=True)
class Row:
    """One metric of one arm.

    Args:
        metric, arm: what.
        higher_is_better: how it is read.
        estimate: mean and 95% t interval over seeds; None where no run has a value.
        values: the single values, by seed; of several runs of a seed their mean.
        baseline: the arm that it is compared with; None for a baseline itself.
        difference: mean paired difference to the baseline and its 95% t interval.
        p: of the paired t-test; p_holm: corrected for all comparisons of the table.
        verdict: ``baseline``, ``better``, ``worse``, ``undecided``, or None where there is nothing to compare.
        seeds_to_decide: how many would, if mean and spread stayed as they are; for undecided rows.
    """

    metric: str
    arm: str
    higher_is_better: bool
    estimate: Estimate | None
    values: Mapping[str, float]
    baseline: str | None = None
    difference: Estimate | None = None
    p: float | None = None
    p_holm: float | None = None
    verdict: str | None = None
    seeds_to_decide: int | None = None


@dataclass(frozen=True)
class Comparison:
    """All that a comparison says, as data.

    ``effects`` are those of an experiment with a grid, ``pareto`` the arms that no other arm beats: none is at least as good in
    the first metric and no more expensive, and better in one. ``published`` are metrics from elsewhere, by name.
    """

    experiments: tuple[str, ...]
    question: str
    at: str
    by: str
    arms: tuple[str, ...]
    rows: tuple[Row, ...]
    gates: tuple[GateResult, ...]
    costs: Mapping[str, Mapping[str, float]]
    missing: tuple[str, ...]
    differences: tuple[Difference, ...]
    notes: tuple[str, ...]
    effects: tuple[Effect, ...] = ()
    claims: tuple[ClaimResult, ...] = ()
    findings: tuple[ArmFinding, ...] = ()
    pareto: tuple[str, ...] = ()
    external_baselines: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """The same as JSON-able data."""
        return asdict(self)


def compare(
    registry: Registry, names: Sequence[str] = (), *, metrics: Sequence[str] = (), by: str = "arm",
    where: Sequence[str] = (), at: str = "last", baseline: str | None = None, plan: Plan | None = None,
) -> Comparison:  # fmt: skip
    """Compare arms, reading summaries alone (and single points for ``at`` other than last).

    Args:
        registry: opened for reading.
        names: experiments, files or runs; none means the experiment with the newest run.
        metrics: names of metrics; the experiment's headline, or all final metrics, if none are given.
        by: the key whose values make the groups; what else differs in a group is averaged within each seed.
        where: conditions on runs, ``KEY=VALUE``.
        at: ``last``, ``best:METRIC`` or ``step:N``.
        baseline: the group to compare with, instead of the experiment's.
        plan: compare the runs of this plan alone, and as it says now; runs of other configurations are left out.
    Raises:
        TrialbookError: a name, key or metric means nothing here, or no run of the plan is recorded.
    """
    place, facts = At.parse(at), Facts(registry)
    if plan is not None:
        names = [plan.experiment.name]
        if not plan.runs:
            raise TrialbookError(f"{plan.experiment.file} has no runs to compare; 'mlrun decide' comes to its decision")
        if names[0] not in registry.experiments():
            raise never_run(names[0], plan.experiment.file)
    runs = select_runs(registry, names, [Condition.parse(text) for text in where], facts)
    runs = runs if plan is None else of_plan(runs, plan, registry.root)
    experiments = tuple(dict.fromkeys(run.experiment for run in runs))
    whole = not where and (plan is not None or len(runs) == sum(map(registry.count, experiments)))
    groups = make_groups(runs, by, baseline, facts, registry, whole=whole, asked=plan)
    chosen = choose_metrics(registry, groups, metrics, place)
    info = groups.info
    asked = gate_metrics(info.gates, registry.metric_names([run for group in groups.used.values() for run in group]))
    named = dict.fromkeys([*chosen, *(one["metric"] for one in info.claims), *asked])
    values = read_values(registry, groups, list(named), place)
    rows = _judge([_row(m, arm, groups, values.get(m, {})) for m in chosen for arm in groups.labels])
    by_seed = {name: _by_seed(groups, own) for name, own in values.items()}
    different = find_differences(groups.used, groups.baselines, Sheets(registry, facts), groups.named)
    factorial = Factorial()
    if len(experiments) == 1:
        whole = whole and (plan is None or {run.arm for run in plan.runs} >= set(info.arms))
        factorial = read_factorial(groups, values, chosen if by == "arm" else (), whole=whole)
    costs, findings = read_costs(registry, groups), arm_findings(registry, groups)
    return Comparison(
        experiments=experiments, question=info.question,
        at=at, by=by, arms=groups.labels, rows=rows, gates=tuple(judge_gates(info.gates, groups, by_seed)),
        costs=costs, missing=tuple(groups.missing), differences=tuple(different),
        notes=(
            *average_notes(groups, {m: values.get(m, {}) for m in chosen}), *_notes(groups, rows), *factorial.notes,
            *_edited(registry, runs, plan),
        ),
        effects=factorial.effects, claims=factorial.claims,
        findings=tuple(findings), pareto=_pareto(rows, costs, findings),
        external_baselines=info.external_baselines,
    )  # fmt: skip


def _by_seed(groups: Groups, values: Values) -> dict[str, dict[str, float]]:
    """Group to seed to value."""
    found = {label: average(groups, label, values).values for label in groups.labels}
    return {label: {f"seed {seed}": value for seed, value in own.items()} for label, own in found.items() if own}


def _row(metric: str, arm: str, groups: Groups, values: Values) -> tuple[Row, list[float]]:
    """A row before it is judged, and its differences to the baseline."""
    higher = higher_is_better(metric, groups.info.lower_is_better, groups.info.gates)
    own = {f"seed {seed}": value for seed, value in average(groups, arm, values).values.items()}
    estimate = stats.t_interval(list(own.values())) if own else None
    base = groups.baselines.get(arm)
    if base is None:
        verdict = "baseline" if arm in groups.baselines.values() else None
        return Row(metric, arm, higher, estimate, own, verdict=verdict), []
    pairs = difference(groups, arm, base, values)
    row = Row(
        metric, arm, higher, estimate, own, baseline=base,
        difference=stats.t_interval(pairs) if pairs else None, p=stats.paired_p(pairs),
    )  # fmt: skip
    return row, pairs


def _judge(found: Sequence[tuple[Row, Sequence[float]]]) -> tuple[Row, ...]:
    """Holm's correction over all comparisons of the table, and what follows from it."""
    corrected = stats.holm([row.p for row, _ in found])
    comparisons = sum(p is not None for p in corrected)
    judged = []
    for (row, pairs), p in zip(found, corrected, strict=True):
        if row.baseline is None:
            judged.append(row)
            continue
        verdict, needed = "undecided", None
        if row.difference is not None and stats.decides(p, row.difference.n):
            verdict = "better" if (row.difference.mean > 0) == row.higher_is_better else "worse"
        else:
            needed = stats.seeds_to_decide(pairs, max(1, comparisons))
        judged.append(replace(row, p_holm=p, verdict=verdict, seeds_to_decide=needed))
    return tuple(judged)


def _notes(groups: Groups, rows: Sequence[Row]) -> list[str]:
    notes = list(groups.notes)
    thin = [label for label in groups.labels if len({run.seed for run in groups.used[label]}) < stats.FEWEST_SEEDS]
    if thin:
        arms = "all arms" if len(thin) == len(groups.labels) > 2 else ", ".join(thin)
        notes.append(
            f"fewer than {stats.FEWEST_SEEDS} seeds: {arms}; intervals over so few say little and decide nothing"
        )
    notes += [
        f"{name} is an external baseline, not measured here: {table['source']}"
        for name, table in groups.info.external_baselines.items()
    ]
    for row in rows:
        if bad := [unit for unit, value in row.values.items() if not math.isfinite(value)]:
            notes.append(f"{row.metric} of {row.arm} is not finite: {', '.join(bad)}")
        gap = row.difference
        if gap is not None and gap.n > 1 and row.p is None and math.isfinite(gap.mean):
            notes.append(f"{row.metric} of {row.arm} differs by the same for every seed: the seeds decide nothing")
    return notes


def _edited(registry: Registry, runs: Sequence[Run], plan: Plan | None) -> list[str]:
    """Return what files the data of finished runs came from are others now."""
    if plan is not None:
        return [text for one in (*plan.before, plan) if (text := describe_changed(one, registry.root))]
    files, found = DataFiles(registry.root), dict[str, list[str]]()
    for run in runs:
        if run.status == "finished" and (changed := files.changed(run.directory)):
            found.setdefault(", ".join([*changed][:3]) + ", …" * (len(changed) > 3), []).append(run.name)
    return [
        f"the data of {len(names)} run{'s' * (len(names) > 1)} were edited since they were recorded ({listed}): {names[0]}"
        + ", …" * (len(names) > 1)
        for listed, names in found.items()
    ]


def _pareto(
    rows: Sequence[Row], costs: Mapping[str, Mapping[str, float]], findings: Sequence[ArmFinding]
) -> tuple[str, ...]:
    """Arms that no other beats in the first metric and in cost; an arm with an error finding has no result to compare."""
    broken = {finding.arm for finding in findings if finding.severity == "error"}
    quality = {
        row.arm: row.estimate.mean if row.higher_is_better else -row.estimate.mean
        for row in rows
        if row.metric == rows[0].metric and row.estimate is not None and row.arm not in broken
    }
    return find_pareto(quality, costs)


def compare_plan(plan: Plan, registry: Path) -> Comparison:
    """The comparison of a plan's runs, as ``mlrun compare FILE`` makes it."""
    with open_index(registry) as index:
        return compare(index, plan=plan)
