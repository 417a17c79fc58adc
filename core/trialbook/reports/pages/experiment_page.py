"""The page of an experiment: its question, what the runs answer, and all that speaks for or against believing it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from trialbook.analysis.compare.compare import Comparison
from trialbook.analysis.compare.findings import ArmFinding, across_arms
from trialbook.analysis.verdicts import UNTOLD
from trialbook.registry.run_directory import RunDirectory
from trialbook.reports.comparison_tables import (
    BROKEN,
    broken_arms,
    claim_tables,
    cost_table,
    effect_tables,
    figure_table,
    show_p,
)
from trialbook.reports.document.blocks import (
    Block,
    Code,
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
from trialbook.reports.pages.architecture import architecture
from trialbook.reports.pages.experiment_page_setup import data_of, setup_blocks
from trialbook.reports.pages.failure_modes import failure_blocks
from trialbook.reports.pages.run_pictures import arm_pictures
from trialbook.reports.pages.sections import component_grid, environment_facts, finding_notice
from trialbook.reports.pages.stage_costs import stage_blocks
from trialbook.reports.pages.verdicts import verdict_sentences
from trialbook.reports.plots.arms import Arms
from trialbook.reports.tables import Column, show_duration, show_value
from trialbook.reports.terminal import claims_said, effects_said, gate_numbers, gates_said, pareto_said, shown_said

#: Runs that are listed unfolded; arms that are named at a finding.
_FEW_RUNS, _MOST_PLACES = 12, 3


def experiment_page(arms: Arms, pictures: Sequence[Picture] = (), profile: str | None = None) -> Page:
    """The page of an experiment.

    Args:
        arms: the comparison and the runs that it is made of.
        pictures: its plots.
        profile: under which its file was run.
    """
    comparison = arms.comparison

    def shown(*names: str) -> list[Block]:
        own = [one for one in pictures if one.name.rpartition("-")[0] in names or one.name in names]
        return [Gallery(own)] if own else []

    title = ", ".join(comparison.experiments) + (f", profile {profile}" if profile else "")
    return Page(title, "experiment", _head(comparison), [
        Section("Metrics", _figures(comparison, shown)),
        Section("Profiles and maps", shown("profile", "map")),
        Section("Pictures", arm_pictures(_directories(arms))),
        Section("Claims", _claims(comparison, shown)),
        Section("Effects", _effects(comparison, shown)),
        Section("Gates", _gates(comparison)),
        Section("Findings", _findings(comparison)),
        Section("Failure modes", failure_blocks(_directories(arms))),
        Section("Missing runs", [Items(comparison.missing)] if comparison.missing else []),
        Section("What else differed", _different(comparison)),
        Section("Notes", [Items(comparison.notes)] if comparison.notes else []),
        Section("Training curves", shown("loss", "loss-evaluated", "lr", "progress")),
        Section("Embeddings", shown("sizes", "similarity", "tsne")),
        Section("Architecture", architecture({arm: own[0] for arm, own in arms.runs.items() if own})),
        Section("Cost", [*_cost(comparison), *stage_blocks(_directories(arms))]),
        Section("Setup", setup_blocks(arms)),
        Section("Runs and provenance", _provenance(arms, profile)),
    ], comparison.as_dict())  # fmt: skip


def comparison_blocks(comparison: Comparison) -> list[Block]:
    """A comparison without its runs, to stand in another page: verdicts and metrics, and the rest folded."""

    def no_plots(*names: str) -> list[Block]:
        return []

    rest: dict[str, list[Block]] = {
        "Claims": _claims(comparison, no_plots),
        "Effects": _effects(comparison, no_plots),
        "Gates": _gates(comparison),
        "Findings": _findings(comparison),
        "Missing runs": [Items(comparison.missing)] if comparison.missing else [],
        "What else differed": _different(comparison),
        "Notes": [Items(comparison.notes)] if comparison.notes else [],
        "Cost": _cost(comparison),
    }
    folded = [Collapsible(title, blocks) for title, blocks in rest.items() if blocks]
    return [*_head(comparison), *_figures(comparison, no_plots), *folded]


def _directories(arms: Arms) -> dict[str, list[RunDirectory]]:
    return {arm: [run.directory for run in own] for arm, own in arms.runs.items()}


def _head(comparison: Comparison) -> list[Block]:
    """The question, the verdicts, and what a reader must know before the metrics."""
    blocks: list[Block] = [Paragraph(text, lead=True) for text in comparison.question.split("\n\n") if text.strip()]
    blocks.append(Items(verdict_sentences(comparison), lead=True))
    said: list[Text] = []
    if broken := [arm for arm in comparison.arms if arm in broken_arms(comparison)]:
        named = ", ".join(broken[:6]) + (" and more" if len(broken) > 6 else "")
        said.append(
            [Strong("Broken runs"), f" in {named}: the doctor has error findings, and a broken run is no result."]
        )
    if comparison.missing:
        count = len(comparison.missing)
        said.append([Strong("Missing"), f": {count} run{'s are' if count > 1 else ' is'} not finished."])
    failed = sorted({gate.arm for gate in comparison.gates if gate.passed is False})
    if failed:
        said.append(
            [Strong("Gates"), f" are failed by {', '.join(failed[:6])}{' and more' if len(failed) > 6 else ''}."]
        )
    return [*blocks, *([Items(said)] if said else [])]


Shown = Callable[..., list[Block]]


def _figures(comparison: Comparison, shown: Shown) -> list[Block]:
    grid = TableBlock.of(figure_table(comparison), "Every metric of every arm", grouped=True)
    mark = []
    if broken_arms(comparison) & set(comparison.arms):
        mark = [Paragraph(f"{BROKEN} error findings in this arm or its baseline: a broken run is no result.")]
    return [*shown("metric", "differences", "plots"), grid, *mark, Paragraph(shown_said(comparison))]


def _claims(comparison: Comparison, shown: Shown) -> list[Block]:
    if not comparison.claims:
        return []
    tables = [TableBlock.of(table) for table in claim_tables(comparison)]
    return [*shown("claims"), *tables, Paragraph(claims_said(comparison))]


def _effects(comparison: Comparison, shown: Shown) -> list[Block]:
    if not comparison.effects:
        return []
    tables = [TableBlock.of(table) for table in effect_tables(comparison)]
    return [*shown("effects"), *tables, Paragraph(effects_said(comparison))]


def _gates(comparison: Comparison) -> list[Block]:
    words = {"pass": "passes", "fail": "fails", "undecided": "undecided", UNTOLD: UNTOLD, None: "has no value"}
    columns = [Column("gate"), Column("arm"), Column("mean", "mean [95%]", right=True), Column("p", right=True)]
    columns += [Column("reached"), Column("verdict")]
    rows: list[Sequence[Text]] = []
    before = ""
    for gate in comparison.gates:
        numbers = (gate_numbers(gate) or "–", show_p(gate.p_holm), gate.reached or "–")
        rows.append(
            [
                "" if gate.title == before else gate.title,
                gate.arm,
                *numbers,
                words[gate.verdict] + (f": {gate.note}" if gate.note else ""),
            ]
        )
        before = gate.title
    tones = {i: "good" if gate.passed else "bad" for i, gate in enumerate(comparison.gates) if gate.passed is not None}
    if not rows:
        return []
    return [TableBlock("Thresholds of the file", columns, rows, tones, grouped=True), Paragraph(gates_said(comparison))]


def _findings(comparison: Comparison) -> list[Block]:
    """One notice for each check and part: findings that arms share stand together. Notes are folded behind alarms."""
    notices = [finding_notice(merged, _places(found)) for merged, found in across_arms(comparison.findings)]
    alarms: list[Block] = [notice for notice in notices if notice.severity != "note"]
    notes = [notice for notice in notices if notice.severity == "note"]
    if not alarms or not notes:
        return [*notices]
    return [*alarms, Collapsible(f"Notes, which are no alarm ({len(notes)})", notes)]


def _places(found: Sequence[ArmFinding]) -> str:
    """Name the arms that have it, in how many of their runs; many arms are counted."""
    listed = [f"{one.arm}, {len(one.runs)} of {one.of} runs" for one in found]
    if len(found) > _MOST_PLACES + 1:
        runs, of = sum(len(one.runs) for one in found), sum(one.of for one in found)
        more = len(found) - _MOST_PLACES
        return f"{runs} of {of} runs of {len(found)} arms: {'; '.join(listed[:_MOST_PLACES])}; and {more} more arms"
    return "; ".join(listed)


def _different(comparison: Comparison) -> list[Block]:
    if comparison.differences:
        return [Items([str(one) for one in comparison.differences])]
    compared = any(row.baseline for row in comparison.rows)
    return [Paragraph("Nothing that was recorded, beside what the question names.")] if compared else []


def _cost(comparison: Comparison) -> list[Block]:
    if not comparison.costs:
        return []
    return [TableBlock.of(cost_table(comparison)), *([Paragraph(pareto_said(comparison))] if comparison.pareto else [])]


def _provenance(arms: Arms, profile: str | None) -> list[Block]:
    one = arms.one
    file = str(one.spec.get("file") or "")
    facts: dict[str, Text] = {}
    if file:
        facts["to do it again"] = Code(f"mlrun run {file}" + (f" --profile {profile}" if profile else ""))
    facts["to repeat a run"] = Code(f"mlrun reproduce {one.directory.path.name}")
    facts |= environment_facts(one.directory.read("env") or {})
    parts = component_grid(one.directory.read("components") or {}, data_of(arms), one.spec.get("config") or {})
    told = f"Of the first run of {one.arm}; what differs among runs stands under What else differed."
    runs = _runs(arms)
    count = len(runs.rows)
    listed: Block = runs if count <= _FEW_RUNS else Collapsible(f"All {count} runs", [runs])
    return [listed, KeyValues(facts), Paragraph(told), *([Collapsible(f"Parts of {one.arm}", parts)] if parts else [])]


def _runs(arms: Arms) -> TableBlock:
    """Every run of the comparison, with its first metric and a link to its page."""
    metric = next((row.metric for row in arms.comparison.rows), "")
    columns = [
        Column("run"),
        Column("arm"),
        Column("seed", right=True),
        Column("time", right=True),
        Column(metric, right=True),
    ]
    rows: list[Sequence[Text]] = []
    for arm, own in arms.runs.items():
        for run in own:
            results = run.directory.read("results") or {}
            name = run.directory.path.name
            last = run.metrics.get(metric, {}).get("last")
            link = Link(name, f"{name}/report.html")
            rows.append([link, arm, str(run.seed), show_duration(results.get("seconds")), show_value(last)])
    return TableBlock("Runs of this page", columns, rows)
