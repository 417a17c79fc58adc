"""``mlrun decide FILE``: candidates ranked, gates judged, and what to do, from the runs that are recorded."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from trialbook.cli.output import echo, echo_json, for_people, json_option

if TYPE_CHECKING:
    from trialbook.analysis.decide.results import Decision
    from trialbook.config.runspec import Plan
    from trialbook.reports.pages.write import PageOptions


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--profile", help="As it stands under [profile.NAME].")
@json_option
@click.option("--png", is_flag=True, help="Write every plot as PNG as well.")
@click.option("--no-plots", is_flag=True, help="Draw nothing: text and tables alone.")
@click.option("--runs", type=click.Path(file_okay=False, path_type=Path), help="Directory of runs.")
def decide(file: Path, profile: str | None, as_json: bool, png: bool, no_plots: bool, runs: Path | None) -> None:
    """Come to the decisions of FILE from its runs and those of the files that it needs, and write them down.

    Nothing is run: missing runs are reported, and gates that need them are undecided.
    """
    from trialbook.api.app import open_app
    from trialbook.errors import TrialbookError
    from trialbook.planning.planner import plan_files
    from trialbook.registry.changed_data import plans_on_record
    from trialbook.reports.pages.write import PageOptions

    app = open_app(runs)
    (plan,) = plans_on_record(plan_files([file], app.book, profile=profile), app.settings.runs, app.book)
    if not plan.experiment.decisions:
        raise TrialbookError(f"{file} has no [decision]; 'mlrun compare {file}' compares its arms")
    options = PageOptions(not no_plots, png, app.host.templates())
    decide_plan(plan, app.settings.registry, options, as_json=as_json)


def decide_plan(plan: Plan, registry: Path, options: PageOptions | None = None, *, as_json: bool = False) -> None:
    """Come to the decisions of a plan, print them and write them down."""
    from trialbook.analysis.decide.decide import decide as decisions_of
    from trialbook.analysis.decide.results import decision_record
    from trialbook.registry.query import open_index
    from trialbook.reports.write_decision import write_decisions

    with open_index(registry) as index:
        decisions = decisions_of(plan, index)
    if as_json:
        echo_json(decision_record(decisions))
    else:
        echo("\n\n".join(_text(one, plan.experiment.name) for one in decisions), styled=True)
    written = write_decisions(plan, decisions, registry.parent, options)
    echo(f"\nWritten: {', '.join(map(str, written.files[:4]))}", err=True)
    for problem in written.problems:
        echo(f"warning: {problem}", err=True)


def _text(decision: Decision, experiment: str) -> str:
    """A decision for a terminal."""
    from trialbook.errors import printable
    from trialbook.reports import decision_text as tell
    from trialbook.reports.tables import render

    terminal = for_people()
    title = f"{experiment}, {decision.name}" if decision.name else experiment
    question = " ".join(decision.question.split("\n\n")[0].split())
    tables = [
        tell.ranking_table(decision),
        tell.gate_table(decision),
        tell.outcome_table(decision),
        tell.manual_score_table(decision),
    ]
    tables.append(tell.external_baseline_table(decision))
    blocks = [printable(f"{title}: {question}" if question else title)]
    blocks.append(printable("\n".join(f"{about}: {said}" for about, said in tell.answer(decision))))
    blocks += [render(table, "table", terminal=terminal) for table in tables if table.rows]
    if decision.missing:
        blocks.append(printable("\n".join(["Missing", *(f"  {what}" for what in decision.missing)])))
    return "\n\n".join(blocks)
