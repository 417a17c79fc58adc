"""Pages and tables for people: a comparison in any format, a run's ``report.md``."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from trialbook.formats import NOTHING, Column, Table, render, show_duration, show_number, show_value
from trialbook.rundir import RunDirectory, read_json, to_json

if TYPE_CHECKING:
    from trialbook.compare import Comparison, Row
    from trialbook.stats import Estimate

_COSTS = {
    "seconds": ("time", show_duration), "train_seconds": ("training", show_duration),
    "samples_per_second": ("samples/s", lambda value: f"{value:,.0f}"),
    "peak_memory": ("peak memory", lambda value: f"{value / 2**20:,.0f} MiB"),
    "trained_parameters": ("parameters trained", lambda value: f"{value:,.0f}"),
    "parameters": ("parameters", lambda value: f"{value:,.0f}"),
}  # fmt: skip


def print_report(comparison: Comparison, style: str = "table") -> None:
    """Print a comparison; colours and lines only in a terminal."""
    print(comparison_text(comparison, style, terminal=sys.stdout.isatty()))  # noqa: T201 - a report prints


def comparison_text(comparison: Comparison, style: str = "table", *, terminal: bool = False) -> str:
    """A comparison as text.

    Args:
        comparison: what to show.
        style: one of ``trialbook.formats.FORMATS``; JSON and CSV carry full values, CSV the figures alone.
        terminal: allow colours.
    """
    if style == "json":
        return to_json(comparison.as_dict())
    if style == "csv":
        return render(_figures_in_full(comparison.rows), "csv")
    blocks = [_heading(comparison), render(_figures(comparison.rows), style, terminal=terminal)]
    if comparison.costs:
        blocks.append(render(_cost_table(comparison), style, terminal=terminal))
    blocks += [_section(title, lines, style) for title, lines in _sections(comparison) if lines]
    if style == "latex":
        blocks = [block if block.startswith("\\begin") else _commented(block) for block in blocks]
    return "\n\n".join(blocks)


def _heading(comparison: Comparison) -> str:
    question = comparison.question.strip().split("\n")[0]
    name = ", ".join(comparison.experiments)
    place = {"last": "the last value of every run"}.get(comparison.at, comparison.at)
    said = f"Shown is {place} (--at {comparison.at}): mean and 95% t interval over seeds."
    if count := sum(row.p_holm is not None for row in comparison.rows):
        said += f" Differences are paired by seed; p after Holm over {count} comparison{'s' if count > 1 else ''}."
    return f"{name}: {question}\n{said}" if question else f"{name}\n{said}"


def _figures(rows: Sequence[Row]) -> Table:
    compared = any(row.baseline for row in rows)
    columns = [Column("metric"), Column("arm"), _number("n"), _number("mean"), Column("interval", "95%")]
    if compared:
        columns += [_number("difference"), Column("difference_interval", "95%"), _number("p"), Column("verdict")]
    cells, styles, before = [], {}, None
    for index, row in enumerate(rows):
        arrow = "↑" if row.higher_is_better else "↓"
        metric = f"{row.metric} {arrow}" if row.metric != before else ""
        line = [metric, row.arm, row.estimate.n if row.estimate else 0, *_shown(row.estimate)]
        if compared:
            line += [*_shown(row.difference, signed=True), _p(row.p_holm), _verdict(row)]
        cells.append(line)
        before = row.metric
        if colour := {"better": "green", "worse": "red"}.get(row.verdict or ""):
            styles[index] = colour
    return Table(columns, cells, styles=styles)


def _shown(estimate: Estimate | None, *, signed: bool = False) -> tuple[str, str]:
    if estimate is None:
        return NOTHING, NOTHING
    mean = show_number(estimate.mean)
    mean = f"+{mean}" if signed and estimate.mean > 0 else mean
    if estimate.low is None or estimate.high is None:
        return mean, NOTHING
    return mean, f"[{show_number(estimate.low)}, {show_number(estimate.high)}]"


def _number(name: str) -> Column:
    return Column(name, right=True)


def _p(value: float | None) -> str:
    return NOTHING if value is None else "<0.0001" if value < 1e-4 else f"{value:.4f}"


def _verdict(row: Row) -> str:
    if row.verdict == "undecided" and row.seeds_to_decide:
        return f"undecided (about {row.seeds_to_decide} seeds would do)"
    return row.verdict or NOTHING


def _figures_in_full(rows: Sequence[Row]) -> Table:
    names = (
        "metric", "arm", "higher_is_better", "n", "mean", "low", "high", "baseline",
        "difference", "difference_low", "difference_high", "p", "p_holm", "verdict", "seeds_to_decide",
    )  # fmt: skip
    cells = []
    for row in rows:
        own, difference = row.estimate, row.difference
        cells.append([
            row.metric, row.arm, row.higher_is_better, *((own.n, own.mean, own.low, own.high) if own else (0, None, None, None)),
            row.baseline, *((difference.mean, difference.low, difference.high) if difference else (None,) * 3),
            row.p, row.p_holm, row.verdict, row.seeds_to_decide,
        ])  # fmt: skip
    return Table([Column(name) for name in names], cells)


def _cost_table(comparison: Comparison) -> Table:
    present = [name for name in _COSTS if any(name in cost for cost in comparison.costs.values())]
    columns = [Column("arm"), *(Column(name, _COSTS[name][0], right=True) for name in present)]
    rows = []
    for arm in comparison.arms:
        cost = comparison.costs.get(arm, {})
        rows.append([arm, *(_COSTS[name][1](cost[name]) if name in cost else NOTHING for name in present)])
    return Table(columns, rows, title="Cost of a run, mean")


def _sections(comparison: Comparison) -> list[tuple[str, list[str]]]:
    words = {True: "passes", False: "FAILS", None: "has no value"}
    gates = [
        f"{gate.metric} {gate.bound}: {gate.arm} {words[gate.passed]}"
        + ("" if gate.mean is None else f" ({show_number(gate.mean)})")
        for gate in comparison.gates
    ]
    different = [str(difference) for difference in comparison.differences]
    if any(row.baseline for row in comparison.rows):
        different = different or ["nothing that was recorded"]
    return [
        ("Gates", gates),
        ("Missing", list(comparison.missing)),
        ("What else differed", different),
        ("Notes", list(comparison.notes)),
    ]


def _section(title: str, lines: Sequence[str], style: str) -> str:
    if style == "markdown":
        return "\n".join([f"**{title}**", "", *(f"- {line}" for line in lines)])
    return "\n".join([title, *(f"  {line}" for line in lines)])


def _commented(block: str) -> str:
    return "\n".join(f"% {line}" for line in block.splitlines())


def run_report(run: RunDirectory, results: Mapping[str, Any]) -> str:
    """A run's ``report.md``: setup, figures, provenance."""
    spec, around = read_json(run.json("run")), read_json(run.json("env")) or {}
    components, data = read_json(run.json("components")) or {}, read_json(run.json("data")) or {}
    title = f"# {run.path.name}"
    blocks = [title, *_setup(spec, results, data), _metric_table(results["metrics"])]
    blocks += ["## Components", _component_table(components), "## Environment", _environment_lines(around)]
    blocks.append("The resolved configuration is in `config.toml`, every record in `metrics.jsonl`.")
    return "\n\n".join(block for block in blocks if block) + "\n"


def _setup(spec: Mapping[str, Any], results: Mapping[str, Any], data: Mapping[str, Any]) -> list[str]:
    experiment = spec["experiment"]
    dataset, parameters = data.get("dataset") or {}, data.get("parameters") or {}
    facts = {
        "experiment": experiment["name"] if isinstance(experiment, Mapping) else experiment,
        "arm": spec["arm"], "seed": spec["seed"], "id": spec["id"],
        "time": show_duration(results.get("seconds")),
        "data": f"`{dataset['fingerprint']}`" if "fingerprint" in dataset else None,
        "in two splits": ", ".join(data.get("overlaps") or ()),
        "splits": ", ".join(f"{name} {size:,}" for name, size in (dataset.get("splits") or {}).items()),
        "parameters": ", ".join(f"{part} {count:,}" for part, count in parameters.items()),
    }  # fmt: skip
    lines = [f"- {name}: {value}" for name, value in facts.items() if value not in (None, "", NOTHING)]
    question = spec.get("question") or (experiment.get("question") if isinstance(experiment, Mapping) else "")
    return [*([question.strip()] if question else []), "\n".join(lines), "## Figures"]


def _metric_table(metrics: Mapping[str, Mapping[str, Any]]) -> str:
    columns = [Column("metric"), *map(_number, ("first", "last", "min", "max", "values"))]
    rows = [[name, *(m[key] for key in ("first", "last", "min", "max", "count"))] for name, m in metrics.items()]
    return render(Table(columns, rows), "markdown") if rows else "Nothing was recorded."


def _component_table(components: Mapping[str, Mapping[str, Any]]) -> str:
    columns = [Column(name) for name in ("part", "component", "plugin", "version", "commit", "source")]
    rows = [
        [part, c.get("target"), c.get("plugin"), c.get("version"), _short(c.get("commit")), _short(c.get("source"))]
        for part, c in components.items()
    ]
    return render(Table(columns, rows), "markdown") if rows else "None."


def _environment_lines(around: Mapping[str, Any]) -> str:
    hardware, git = around.get("hardware") or {}, around.get("git") or {}
    state = "" if not git.get("dirty") else ", with changes (`dirty.patch`)"
    facts = {
        "commit": f"{git['commit']}{state}" if git.get("commit") else None,
        "processor": f"{hardware['cpu']}, {hardware.get('threads')} threads" if hardware.get("cpu") else None,
        "GPUs": ", ".join(hardware.get("gpus") or ()),
        "system": (around.get("platform") or {}).get("os"),
        "Python": (around.get("platform") or {}).get("python"),
        "versions": ", ".join(f"{name} {version}" for name, version in (around.get("versions") or {}).items()),
    }
    return "\n".join(f"- {name}: {show_value(value)}" for name, value in facts.items() if value)


def _short(value: Any) -> Any:
    return value[:12] if isinstance(value, str) else value
