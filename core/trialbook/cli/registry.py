"""Commands that read the registry and keep it: ls, show, diff, compare, sql, rm, registry sync and registry check."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from trialbook.cli.output import echo, echo_comparison, echo_json, echo_table, for_people, format_options, json_option
from trialbook.errors import TrialbookError, printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def _runs_option(command: Callable[..., Any]) -> Callable[..., Any]:
    return click.option("--runs", type=click.Path(file_okay=False, path_type=Path), help="Directory of runs.")(command)


def registry_file(runs: Path | None) -> Path:
    """The registry of this workplace, or of another directory of runs."""
    from trialbook.config.settings import load_settings

    return load_settings().with_runs(runs).registry


@contextmanager
def _writing(file: Path) -> Iterator[None]:
    """Say in a sentence why the registry cannot be written."""
    import sqlite3

    try:
        yield
    except sqlite3.Error as error:
        raise TrialbookError(f"{file} cannot be written ({error})") from error


def complete_run(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Names of runs and experiments, for the shell."""
    from trialbook.registry.query import open_index

    try:
        with open_index(registry_file(ctx.params.get("runs"))) as index:
            names = [*index.experiments(), *(run.name for run in index.runs())]
    except TrialbookError:
        return []
    return [printable(name) for name in names if name.startswith(incomplete)]


@click.command()
@click.option("--experiment", help="Only runs of this experiment.")
@click.option(
    "--status",
    type=click.Choice(("running", "finished", "failed", "killed", "missing", "unreadable", "update trialbook")),
    help="Only these.",
)
@format_options
@_runs_option
def ls(experiment: str | None, status: str | None, style: str, as_json: bool, runs: Path | None) -> None:
    """List runs, the oldest first.

    Whether a run is alive is seen from its lock: one that was killed is listed as killed at once.
    """
    from trialbook.registry.query import open_index
    from trialbook.reports.inspect import list_table

    with open_index(registry_file(runs)) as index:
        found = [run for run in index.runs(experiment=experiment) if status in (None, run.status)]
    echo_table(list_table(found), "json" if as_json else style)


@click.command()
@click.argument("run", shell_complete=complete_run)
@json_option
@_runs_option
def show(run: str, as_json: bool, runs: Path | None) -> None:
    """Show RUN: configuration, status, metrics, components, provenance, data.

    RUN is a name or the beginning of one, an id, or a path.
    """
    from trialbook.registry.query import open_index
    from trialbook.reports.inspect import run_facts_of, show_text

    with open_index(registry_file(runs)) as index:
        facts = run_facts_of(index, index.one(run))
    if as_json:
        echo_json(facts)
    else:
        echo(show_text(facts, terminal=for_people()), styled=True)


@click.command()
@click.argument("first", metavar="A", shell_complete=complete_run)
@click.argument("second", metavar="B", shell_complete=complete_run)
@format_options
@_runs_option
def diff(first: str, second: str, style: str, as_json: bool, runs: Path | None) -> None:
    """Show in what runs A and B differ: resolved keys, components, versions, commits, data, metrics."""
    from trialbook.registry.query import open_index
    from trialbook.reports.inspect import diff_table

    with open_index(registry_file(runs)) as index:
        table = diff_table(index, index.one(first), index.one(second))
    if not table.rows and not as_json and style == "table":
        echo("The two do not differ.")
        return
    echo_table(table, "json" if as_json else style)


@click.command()
@click.argument("names", metavar="[EXPERIMENT|FILE|RUN]...", nargs=-1, shell_complete=complete_run)
@click.option("--metric", "metrics", multiple=True, help="Show this metric; may be repeated.")
@click.option("--by", default="arm", show_default=True, metavar="KEY", help="Group by this key, e.g. train.lr.")
@click.option("--where", multiple=True, metavar="KEY=VALUE", help="Only runs that meet this (also != < <= > >=).")
@click.option(
    "--at", default="last", show_default=True, metavar="last|best:METRIC|step:N", help="Where metrics are taken."
)
@click.option("--baseline", metavar="ARM", help="Compare with this arm instead of the experiment's baseline.")
@click.option("--profile", help="With FILE: as it stands under [profile.NAME].")
@click.option("--set", "sets", multiple=True, metavar="KEY=VALUE", help="With FILE: as it stands with this key set.")
@format_options
@_runs_option
def compare(
    names: tuple[str, ...], metrics: tuple[str, ...], by: str, where: tuple[str, ...], at: str, baseline: str | None,
    profile: str | None, sets: tuple[str, ...], style: str, as_json: bool, runs: Path | None,
) -> None:  # fmt: skip
    """Answer an experiment's question: arms over seeds, against the baseline.

    FILE stands for the runs of that file as it stands now; EXPERIMENT for the newest runs under that name, whatever their
    configuration. Without a name the experiment with the newest run is compared. The table says which value it shows, the
    paired difference to the baseline and whether the seeds decide; below it stand verdicts on claims, effects of a grid, cost,
    gates, findings, missing runs and what else differed.
    """
    from trialbook.api.comparison import compare as compare_names

    if (profile or sets) and not (len(names) == 1 and names[0].endswith(".toml")):
        raise click.UsageError("--profile and --set need one FILE to compare")
    comparison = compare_names(
        *names, metrics=metrics, by=by, where=where, at=at, baseline=baseline, profile=profile, sets=sets, runs=runs
    )
    echo_comparison(comparison, "json" if as_json else style)


@click.command()
@click.argument("query")
@click.option("--seconds", type=click.FloatRange(min=0), default=60.0, show_default=True, help="Give up after these.")
@format_options
@_runs_option
def sql(query: str, seconds: float, style: str, as_json: bool, runs: Path | None) -> None:
    """Ask the registry a read-only question: mlrun sql "select * from run_overview".

    Views for this: run_overview, final_metrics, metric_points, run_config, run_components; see docs/registry.md.
    """
    from trialbook.api.registry import open_registry

    echo_table(open_registry(runs=runs).sql(query, seconds=seconds).table, "json" if as_json else style)


@click.command()
@click.argument("names", metavar="RUN...", nargs=-1, required=True, shell_complete=complete_run)
@click.option("--yes", is_flag=True, help="Do not ask.")
@_runs_option
def rm(names: tuple[str, ...], yes: bool, runs: Path | None) -> None:
    """Delete runs: their directories, with all that is in them, and their rows."""
    from trialbook.registry.query import open_index
    from trialbook.reports.inspect import remove_runs

    file = registry_file(runs)
    with open_index(file) as index:
        found = list({run.id: run for run in map(index.one, names)}.values())
    for run in found:
        if run.directory.status() == "running":
            raise TrialbookError(f"{run.name} is running; end it first")
    for run in found:
        echo(f"{run.status:>8}  {run.directory.path}")
    if not yes:
        click.confirm(f"Delete {'this run' if len(found) == 1 else f'these {len(found)} runs'} for good?", abort=True)
    with _writing(file):
        remove_runs(file, found)


@click.group()
def registry() -> None:
    """Rebuild or check the index over the run directories."""


@registry.command("sync")
@click.option("--reread", is_flag=True, help="Read every directory again, whatever the registry says of it.")
@json_option
@_runs_option
def registry_sync(reread: bool, as_json: bool, runs: Path | None) -> None:
    """Bring the registry in line with the run directories, those copied from elsewhere included."""
    from trialbook.registry.sync import sync

    file = registry_file(runs)
    with _writing(file):
        report = sync(file, reread=reread)
    if as_json:
        echo_json(vars(report))
    else:
        echo(
            f"{len(report.added)} added, {len(report.updated)} updated, {len(report.removed)} removed, "
            f"{report.unchanged} unchanged"
        )
        for problem in report.problems:
            echo(f"not read: {problem}", err=True)
    sys.exit(1 if report.problems else 0)


@registry.command("check")
@json_option
@_runs_option
def registry_check(as_json: bool, runs: Path | None) -> None:
    """Compare every run directory with the registry; the status is 1 where they say different things."""
    from trialbook.registry.sync import check

    file = registry_file(runs)
    with _writing(file):
        found = check(file)
    if as_json:
        echo_json([vars(difference) for difference in found])
    else:
        for difference in found:
            echo(f"{difference.run}: {difference.message}")
        if not found:
            echo("registry and run directories agree")
        elif helped := sum(difference.sync_helps for difference in found):
            echo(f"mlrun registry sync fixes {'this' if helped == len(found) else f'{helped} of these'}")
    sys.exit(1 if found else 0)
