"""``mlrun check FILE`` and ``mlrun schema``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from trialbook.config.runspec import Plan


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--profile", help="Lay the tables of [profile.NAME] over the file.")
@click.option("--set", "sets", multiple=True, metavar="KEY=VALUE", help="Set a key, e.g. --set train.lr=1e-3.")
def check(file: Path, profile: str | None, sets: tuple[str, ...]) -> None:
    """Report every mistake in FILE at once: file:line, table, what is wrong, what was probably meant.

    Without --profile, every profile of the file is checked too. Models and data are not touched.
    """
    from trialbook.cli.app import open_app
    from trialbook.config.load import load_experiment
    from trialbook.execution.trackers import open_tracking
    from trialbook.planning.planner import make_plan

    app = open_app()
    plan = make_plan(load_experiment(file, profile=profile, sets=sets), app.book)
    open_tracking(plan.experiment.trackers, app.settings, app.book)
    click.echo(f"{file}: ok, {_size(plan)}")


@click.command()
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="Write to this file.")
def schema(output: Path | None) -> None:
    """Print the JSON Schema of experiment files, covering every installed component, for editors that complete them."""
    import json

    from trialbook.cli.app import open_app
    from trialbook.plugins.json_schema import experiment_json_schema

    text = json.dumps(experiment_json_schema(open_app().book), indent=2) + "\n"
    if output is None:
        click.echo(text, nl=False)
    else:
        output.write_text(text, encoding="utf-8")


def _size(plan: Plan) -> str:
    """``2 arms x 3 seeds = 6 runs``; of a file without runs what it decides."""
    if not plan.runs:
        candidates = sum(len(one["candidates"]) for one in plan.experiment.decisions.values())
        return f"a decision between {_count(candidates, 'candidate')}"
    arms, seeds = len(plan.variants()), len(plan.experiment.seeds)
    points = len({str(run.point) for run in plan.runs})
    factors = [
        _count(arms // points, "arm"),
        *([_count(points, "grid point")] if points > 1 else []),
        _count(seeds, "seed"),
    ]
    return f"{' x '.join(factors)} = {_count(len(plan.runs), 'run')}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")
