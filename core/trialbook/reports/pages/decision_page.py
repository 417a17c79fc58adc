"""The page of a decision: what is recommended and how sure that is, then all that it rests on."""

from __future__ import annotations

from collections.abc import Sequence

from trialbook.analysis.decide.results import Decision, decision_record
from trialbook.reports.decision_text import (
    answer,
    criteria_table,
    external_baseline_table,
    gate_table,
    manual_score_table,
    method,
    outcome_table,
    ranking_table,
)  # fmt: skip
from trialbook.reports.document.blocks import (
    Block,
    Gallery,
    Items,
    KeyValues,
    Page,
    Paragraph,
    Picture,
    Section,
    Strong,
    TableBlock,
    Text,
)  # fmt: skip
from trialbook.reports.tables import Table


def decision_page(
    name: str, decisions: Sequence[Decision], pictures: Sequence[Sequence[Picture]], profile: str | None = None
) -> Page:
    """The page of the decisions of a file.

    Args:
        name: of the experiment.
        decisions: at least one.
        pictures: the plots of each.
        profile: under which its file was read.
    """
    sections: list[Section] = []
    for number, one in enumerate(decisions):
        title = f"{one.name}: " if len(decisions) > 1 else ""
        sections += _sections(title, one, pictures[number] if pictures else ())
    question = decisions[0].question
    head: list[Block] = [Paragraph(text, lead=True) for text in question.split("\n\n") if text.strip()]
    for one in decisions:
        head += [Paragraph([Strong(one.name)])] if len(decisions) > 1 else []
        head.append(Items([_line(*line) for line in answer(one)], lead=True))
    full = name + (f", profile {profile}" if profile else "")
    return Page(full, "decision", head, sections, {"experiment": name, "decisions": decision_record(decisions)})


def _line(about: str, said: str) -> Text:
    return [Strong(about), f": {said}"]


def _sections(title: str, one: Decision, pictures: Sequence[Picture]) -> list[Section]:
    drawn: list[Block] = [Gallery(pictures)] if pictures else []
    notes = [f"{held.gate} of {held.candidate}: {held.note}" for held in one.held if held.note]
    gates: list[Block] = (
        [TableBlock.of(gate_table(one), "Every gate for every candidate", grouped=True)] if one.held else []
    )
    runs: list[Block] = [KeyValues(dict(one.candidates))]
    return [
        Section(f"{title}Candidates", [TableBlock.of(ranking_table(one)), *drawn]),
        Section(f"{title}Criteria", [TableBlock.of(criteria_table(one))]),
        Section(f"{title}Gates", [*gates, *([Items(notes)] if notes else [])]),
        Section(f"{title}Outcomes", _table(outcome_table(one))),
        Section(f"{title}Missing", [Items(one.missing)] if one.missing else []),
        Section(f"{title}Manual scores, not measured", _table(manual_score_table(one))),
        Section(f"{title}External baselines, not measured here", _table(external_baseline_table(one))),
        Section(f"{title}Runs of the candidates", runs),
        Section(f"{title}How to read this", [Items(method(one))]),
    ]


def _table(table: Table) -> list[Block]:
    return [TableBlock.of(table, "")] if table.rows else []
