"""The part of a run's page on its answers, and on evaluations that were made of it later."""

from __future__ import annotations

from typing import Any

from trialbook.analysis.failures.load import read_answers
from trialbook.contracts.files import UnreadableFile
from trialbook.errors import TrialbookError
from trialbook.registry.run_directory import RunDirectory
from trialbook.reports.document.blocks import Block, Code, Link, Paragraph, TableBlock, Text
from trialbook.reports.pages.failures_page import tag_grid
from trialbook.reports.tables import Column, show_value

#: Metrics of an evaluation that are told.
_MOST_TOLD = 4


def answer_blocks(run: RunDirectory) -> list[Block]:
    """Failures by tag with the way to their gallery, and later evaluations; nothing where there are neither."""
    return [*_failures(run), *_evaluations(run)]


def _failures(run: RunDirectory) -> list[Block]:
    if not run.predictions.is_file():
        return []
    try:
        answers = read_answers(run)
        judged = answers.judged()
    except TrialbookError as error:
        return [Paragraph(str(error))]
    wrong, total = len(judged.failures), judged.judged
    said = f"{wrong:,} of {total:,} answers are wrong"
    blocks: list[Block] = [Paragraph([said, "; see the ", Link("gallery", "failures.html"), "."])]
    if not run.failures().is_file():
        blocks = [Paragraph([said, "; ", Code(f"mlrun failures {run.path.name}"), " shows them."])]
    return [*blocks, tag_grid(judged, answers.corrections.known())] if wrong else blocks


def _evaluations(run: RunDirectory) -> list[Block]:
    rows: list[list[Text]] = []
    for name in run.evaluations():
        try:
            facts: dict[str, Any] = run.read_evaluation(name)
        except UnreadableFile as error:
            rows.append([Link(name, f"evaluations/{name}.json"), str(error), "", "", ""])
            continue
        figures = list(facts.get("figures", {}).items())[:_MOST_TOLD]
        data = facts.get("data", {})
        what = "its own" if data.get("own") else str(data.get("table", {}).get("use", ""))
        told = ", ".join(f"{key} {show_value(value)}" for key, value in figures)
        step = str(facts.get("checkpoint", {}).get("step", ""))
        rows.append([Link(name, f"evaluations/{name}.json"), what, str(facts.get("split", "")), step, told])
    columns = [Column("name"), Column("data"), Column("split"), Column("step", right=True), Column("metrics")]
    return [TableBlock("Later evaluations", columns, rows)] if rows else []
