"""The page of one run: how it went, what it measured, what looks broken, what it was made from."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from trialbook.analysis.compare.metrics import trained_by_part
from trialbook.contracts.findings import Finding
from trialbook.registry.run_directory import RunDirectory
from trialbook.reports.comparison_tables import show_large
from trialbook.reports.document.blocks import (
    Block,
    Code,
    CodeBlock,
    Collapsible,
    Gallery,
    Items,
    KeyValues,
    Link,
    Page,
    Paragraph,
    Picture,
    Section,
    Strong,
    TableBlock,
    Text,
)  # fmt: skip
from trialbook.reports.pages.predictions import answer_blocks
from trialbook.reports.pages.run_pictures import run_pictures
from trialbook.reports.pages.sections import (
    component_grid,
    config_text,
    data_facts,
    environment_facts,
    finding_notice,
    session_sentence,
    setup_facts,
)  # fmt: skip
from trialbook.reports.pages.stage_costs import stage_blocks
from trialbook.reports.tables import NOTHING, Column, show_duration, show_value

#: Metrics that the first sentence tells.
_MOST_TOLD = 3


def run_page(run: RunDirectory, results: Mapping[str, Any] | None, pictures: Sequence[Picture] = ()) -> Page:
    """The page of a run, from its directory.

    Args:
        run: where it lies.
        results: what ``results.json`` says, or will say; None where the run is not finished.
        pictures: its plots.
    """
    spec, data = run.read("run") or {}, run.read("data") or {}
    error = (run.read_error() or "") if results is None else ""
    metrics = results.get("metrics") or {} if results else _recorded(run)
    findings = [Finding.from_dict(one) for one in run.read("findings") or []]
    head = [
        *_question(spec),
        Paragraph(_outcome(spec, results, error, metrics), lead=True),
        *_warnings(findings, metrics),
    ]
    return Page(run.path.name, "run", head, [
        Section("Error", [CodeBlock(error)] if error else []),
        Section("Findings", [finding_notice(finding) for finding in findings]),
        Section("Plots", [Gallery(pictures)] if pictures else []),
        Section("Pictures", [*run_pictures(run)]),
        Section("Metrics", [metric_table(metrics) if metrics else Paragraph("Nothing was recorded.")]),
        Section("Answers", answer_blocks(run)),
        Section("Setup", _setup(run, spec, data)),
        Section("Cost", _cost(run, results, data)),
        Section("Provenance", _provenance(run, data)),
        Section("Events", _events(run)),
    ], {"run": spec, "data": data, "results": results or {}, "metrics": metrics})  # fmt: skip


def _recorded(run: RunDirectory) -> dict[str, Any]:
    from trialbook.registry.summary import summarise

    return {name: summary.as_dict() for name, summary in summarise(run.read_lines("metrics")).items()}


def _question(spec: Mapping[str, Any]) -> list[Block]:
    question = str(spec.get("question") or "").strip()
    return [Paragraph(text) for text in question.split("\n\n") if text.strip()]


def _outcome(
    spec: Mapping[str, Any], results: Mapping[str, Any] | None, error: str, metrics: Mapping[str, Any]
) -> Text:
    """Say how it ended and what it measured, in a sentence."""
    who: list[Any] = [
        "Arm ", Strong(str(spec.get("arm", ""))), f", seed {spec.get('seed')}, of ",
        Link(str(spec.get("experiment", "")), "../report.html"), ". ",
    ]  # fmt: skip
    if results is None:
        last = max((int(one["last_step"]) for one in metrics.values()), default=0)
        if error:
            return [
                *who,
                Strong("It failed"),
                f" after step {last}: {error.strip().splitlines()[-1] if error.strip() else error}",
            ]
        return [*who, Strong("It is not finished"), f": the last record is of step {last}."]
    headline = [name for name in spec.get("headline") or () if name in metrics] or [
        n for n in metrics if "/" in n and "@" in n
    ]
    told = [f"{name} {show_value(metrics[name]['last'])}" for name in headline[:_MOST_TOLD]]
    ended = f"It finished in {show_duration(results.get('seconds'))}"
    return [*who, ended, f" with {', '.join(told)}." if told else "."]


def _warnings(findings: Sequence[Finding], metrics: Mapping[str, Mapping[str, Any]]) -> list[Block]:
    """Show what a reader must know before the metrics: errors of the doctor, values that are no numbers."""
    said: list[Text] = []
    counts = {kind: sum(one.severity == kind for one in findings) for kind in ("error", "warning")}
    if counts["error"]:
        said.append(
            [
                Strong("The doctor found what breaks it"),
                ": its metrics say nothing, or not what they seem to; see Findings.",
            ]
        )
    elif counts["warning"]:
        said.append(f"The doctor has {counts['warning']} warning{'s' if counts['warning'] > 1 else ''}; see Findings.")
    bad = [name for name, one in metrics.items() if one.get("not_finite")]
    if bad:
        listed = ", ".join(f"{name} ({metrics[name]['not_finite']} of {metrics[name]['count']})" for name in bad[:6])
        said.append([Strong("Not finite"), f": {listed}{' and more' if len(bad) > 6 else ''}."])
    return [Items(said)] if said else []


def metric_table(metrics: Mapping[str, Mapping[str, Any]]) -> TableBlock:
    """Summaries of metrics, as ``results.json`` has them: first, last, extremes, number of values."""
    keys = ("first", "last", "min", "max", "count")
    columns = [Column("metric"), *(Column(key, "values" if key == "count" else key, right=True) for key in keys)]
    rows = [[name, *(_figure(one, key) for key in keys)] for name, one in metrics.items()]
    return TableBlock("All metrics over the course of the run", columns, rows)


def _figure(summary: Mapping[str, Any], key: str) -> str:
    value = summary.get(key)
    if value is None and key in ("first", "last") and summary.get("not_finite"):
        return "not finite"
    return NOTHING if isinstance(value, float) and math.isnan(value) else show_value(value)


def _setup(run: RunDirectory, spec: Mapping[str, Any], data: Mapping[str, Any]) -> list[Block]:
    parameters = data.get("parameters") or {}
    facts: dict[str, Text] = {**setup_facts(spec.get("config") or {}), **data_facts(data)}
    if parameters:
        facts["parameters"] = ", ".join(f"{part} {count:,}" for part, count in parameters.items())
    config = config_text(run)
    return [
        KeyValues(facts),
        *([Collapsible("The whole resolved configuration", [CodeBlock(config)])] if config else []),
    ]


def _cost(run: RunDirectory, results: Mapping[str, Any] | None, data: Mapping[str, Any]) -> list[Block]:
    timing: dict[str, float] = {}
    for line in run.read_lines("timing"):
        timing |= line["values"]
    sizes, flops = data.get("parameters") or {}, data.get("flops") or {}
    facts: dict[str, Text] = {}
    if results and results.get("seconds") is not None:
        facts["time"] = show_duration(results["seconds"])
    shown = {
        "train_seconds": ("training", show_duration), "samples_per_second": ("samples per second", lambda v: f"{v:,.0f}"),
        "device_seconds": ("training, over all processes", show_duration),
        "peak_memory": ("peak memory", lambda v: f"{v / 2**20:,.0f} MiB"),
    }  # fmt: skip
    facts |= {name: show(timing[key]) for key, (name, show) in shown.items() if key in timing}
    if each := [value for name, value in timing.items() if name.startswith("peak_memory/")]:
        facts["peak memory of each process"] = ", ".join(f"{value / 2**20:,.0f} MiB" for value in each)
    if sizes:
        trained = sum(trained_by_part(data, _config(run)).values())
        facts["parameters in all"] = f"{sum(sizes.values()):,}, of which {trained:,} are trained"
    named = {"training": "FLOPs of training", "forward_backward_per_sample": "FLOPs a sample, forward and backward"}
    facts |= {name: show_large(flops[key]) for key, name in named.items() if isinstance(flops.get(key), int | float)}
    stages = stage_blocks({str((run.read("run") or {}).get("arm", "")): [run]})
    return [*([KeyValues(facts)] if facts else []), *stages]


def _config(run: RunDirectory) -> Mapping[str, Any]:
    return (run.read("run") or {}).get("config") or {}


def _provenance(run: RunDirectory, data: Mapping[str, Any]) -> list[Block]:
    around, components = run.read("env") or {}, run.read("components") or {}
    sessions = run.read("sessions") or []
    facts: dict[str, Text] = {
        "to repeat it": Code(f"mlrun reproduce {run.path.name}"), **environment_facts(around),
        "worked at": session_sentence(sessions),
    }  # fmt: skip
    told = "The resolved configuration is in config.toml, every record in metrics.jsonl, beside this page."
    return [KeyValues(facts), *component_grid(components, data, _config(run)), Paragraph(told)]


def _events(run: RunDirectory) -> list[Block]:
    lines: list[Text] = [f"step {one['step']}: {one['message']}" for one in run.read_lines("events")]
    return [Items(lines)] if lines else []
