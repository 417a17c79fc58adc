"""The metrics of a comparison: which metrics, at which step, in which direction, at what cost."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from trialbook.analysis import statistics as stats
from trialbook.analysis.compare.groups import Groups
from trialbook.errors import TrialbookError, suggest
from trialbook.registry.query import Registry, Run

#: Last parts of metric names of which less is better; a gate's bound goes before them.
LOWER_IS_BETTER = frozenset((
    "loss", "time", "seconds", "error", "mse", "rmse", "mae", "nll", "perplexity", "wer", "cer", "fid", "lpips",
    "hallucination",
))  # fmt: skip
#: Values of training that are no answer.
_COURSE = ("loss", "lr", "grad_norm")


@dataclass(frozen=True)
class At:
    """The point along a run at which a metric is taken.

    Args:
        kind: ``last``, ``best`` or ``step``.
        metric: for ``best``: the metric whose best step is taken.
        step: for ``step``.
    """

    kind: str
    metric: str = ""
    step: int = 0

    @classmethod
    def parse(cls, text: str) -> At:
        """Read ``last``, ``best:METRIC`` or ``step:N``.

        Raises:
            TrialbookError: it is none of these.
        """
        kind, _, rest = text.partition(":")
        if kind == "last" and not rest:
            return cls("last")
        if kind == "best" and rest:
            return cls("best", metric=rest)
        if kind == "step" and rest.isdigit():
            return cls("step", step=int(rest))
        raise TrialbookError(f"--at takes last, best:METRIC or step:N, not '{text}'")


def higher_is_better(metric: str, lower_is_better: Iterable[str] = (), gates: Iterable[Mapping[str, Any]] = ()) -> bool:
    """Return whether higher is better: as its component declares, as a gate on it says, else by the last part of its name.

    Args:
        metric: name of the metric.
        lower_is_better: names and patterns of metrics that are declared to be better when lower.
        gates: of the experiment.
    """
    if any(metric == name or fnmatchcase(metric, name) for name in lower_is_better):
        return False
    for gate in gates:
        if gate["metric"] == metric and (gate.get("at_least") is None) != (gate.get("at_most") is None):
            return gate.get("at_most") is None
    parts = metric.split("/")
    return not (parts[-1].partition("@")[0] in LOWER_IS_BETTER or parts[0] == "loss")


def choose_metrics(registry: Registry, groups: Groups, wanted: Sequence[str], at: At) -> list[str]:
    """The metrics of the table: those asked for, else the experiment's headline, else all final metrics but ends of intervals.

    Raises:
        TrialbookError: a metric was recorded by none of the runs.
    """
    runs = [run for group in groups.used.values() for run in group]
    recorded = registry.metric_names(runs)
    for name in [*wanted, *([at.metric] if at.metric else [])]:
        if name not in recorded:
            hint = suggest(name, recorded)
            raise TrialbookError(f"no run recorded '{name}'" + (f"; did you mean '{hint}'?" if hint else ""))
    if wanted:
        return list(dict.fromkeys(wanted))
    config = registry.document(runs[-1].config)
    split = f"{config.get('evaluate', {}).get('split', 'val')}/"
    if at.metric.startswith(split):
        return [at.metric, *(name for name in recorded if name.startswith(split) and name != at.metric)]
    if headline := [name for name in groups.info.headline if name in recorded]:
        return headline
    bare = [name for name in recorded if not name.startswith(split) and not _is_end(name, recorded)]
    own = [str(table.get("name") or table["use"].rpartition(":")[2]) for table in config.get("metric") or ()]
    final = [name for name in bare if name.partition("/")[0] in own]
    other = [name for name in bare if not (name.partition("/")[0] in _COURSE or name.startswith("loss."))]
    found = final or other or bare or recorded
    if not found:
        raise TrialbookError("these runs recorded no metric")
    return found


def _is_end(name: str, recorded: Collection[str]) -> bool:
    """Return whether it is an end of the interval that was recorded of another metric."""
    stem, _, end = name.rpartition("/")
    return end in ("low", "high") and stem in recorded


def read_values(registry: Registry, groups: Groups, metrics: Sequence[str], at: At) -> dict[str, dict[int, float]]:
    """Metric to run (by number) to value; what was not recorded there is left out, NaN is NaN."""
    flat = [run for group in groups.used.values() for run in group]
    if at.kind == "last":
        rows = registry.summaries(flat, metrics, "last")
    else:
        rows = registry.values_at(_steps(registry, groups, flat, at), metrics)
    found: dict[str, dict[int, float]] = {}
    for run, metric, value in rows:
        found.setdefault(metric, {})[run] = float("nan") if value is None else value
    return found


def _steps(registry: Registry, groups: Groups, runs: Sequence[Run], at: At) -> dict[int, int]:
    if at.kind == "step":
        return {run.id: at.step for run in runs}
    higher = higher_is_better(at.metric, groups.info.lower_is_better, groups.info.gates)
    column = "max_step" if higher else "min_step"
    return {run: step for run, _, step in registry.summaries(runs, [at.metric], column) if step is not None}


def read_costs(registry: Registry, groups: Groups) -> dict[str, dict[str, float]]:
    """Group to the means of what its runs cost: seconds, recorded timings, parameters trained and in all, operations."""
    flat = [run for group in groups.used.values() for run in group]
    timings: dict[int, dict[str, float]] = {}
    for run, name, value in registry.summaries(flat, registry.metric_names(flat, "timing"), "last", "timing"):
        if value is not None:
            timings.setdefault(run, {})[name] = value
    costs = {}
    for label, group in groups.used.items():
        single = [_cost(registry, run, timings.get(run.id, {})) for run in group]
        names = dict.fromkeys(name for cost in single for name in cost)
        costs[label] = {name: stats.mean([cost[name] for cost in single if name in cost]) for name in names}
    return costs


def _cost(registry: Registry, run: Run, timings: Mapping[str, float]) -> dict[str, float]:
    data = registry.document(run.data)
    cost = {} if run.seconds is None else {"seconds": run.seconds}
    cost |= timings
    if parameters := data.get("parameters"):
        cost["trained_parameters"] = sum(trained_by_part(data, registry.document(run.config)).values())
        cost["parameters"] = sum(parameters.values())
    for name, key in (("training_flops", "training"), ("flops_per_sample", "forward_backward_per_sample")):
        if (operations := (data.get("flops") or {}).get(key)) is not None:
            cost[name] = operations
    return cost


def trained_by_part(data: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, int]:
    """Part to the number of its parameters that any stage trains; parts without any are left out.

    Args:
        data: content of ``data.json``. Where no numbers are recorded, as older versions and runs without training do, all that is
            not frozen is trained, or nothing.
        config: the run's configuration; a run without ``[train]`` and ``[[stage]]`` trains nothing.
    """
    if (trained := data.get("trained")) is not None:
        return dict(trained)
    if not config.get("train") and not config.get("stage"):
        return {}
    frozen = set(data.get("frozen") or ())
    return {part: count for part, count in (data.get("parameters") or {}).items() if part not in frozen}


def pareto_costs(costs: Mapping[str, Mapping[str, float]]) -> tuple[str, str]:
    """The two costs that arms are held against: operations of training where every arm has them, else its seconds."""
    counted = all("training_flops" in cost for cost in costs.values())
    return "training_flops" if counted else "train_seconds", "trained_parameters"


def find_pareto(quality: Mapping[str, float], costs: Mapping[str, Mapping[str, float]]) -> tuple[str, ...]:
    """Arms that no other arm beats, by their means: none is at least as good and no more expensive, and better in one.

    Args:
        quality: arm to a metric that is better when higher; what is not finite counts as none.
        costs: arm to its costs.
    Returns:
        nothing where fewer than two arms can be compared.
    """
    names = pareto_costs(costs)
    points = {
        arm: (value, *(-costs[arm][name] for name in names))
        for arm, value in quality.items()
        if math.isfinite(value) and all(name in costs.get(arm, {}) for name in names)
    }
    if len(points) < 2:
        return ()
    return tuple(arm for arm, own in points.items() if not any(_beats(other, own) for other in points.values()))


def _beats(one: Sequence[float], other: Sequence[float]) -> bool:
    """At least as good in everything, and better in something; what differs by rounding alone is equal."""
    gaps = [stats.without_rounding(a - b, abs(a) + abs(b)) for a, b in zip(one, other, strict=True)]
    return min(gaps) >= 0 and max(gaps) > 0
