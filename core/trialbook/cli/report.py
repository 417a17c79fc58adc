"""``mlrun report``: pages and plots of a run or an experiment, written again."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from trialbook.cli.output import echo
from trialbook.cli.registry import complete_run, registry_file

if TYPE_CHECKING:
    from trialbook.api.app import App
    from trialbook.registry.query import Registry
    from trialbook.registry.run_directory import RunDirectory
    from trialbook.reports.pages.write import PageOptions, Written


@click.command()
@click.argument("name", metavar="[RUN|EXPERIMENT|FILE]", required=False, shell_complete=complete_run)
@click.option("--png", is_flag=True, help="Write every plot as PNG as well.")
@click.option("--no-plots", is_flag=True, help="Draw nothing: text and tables alone.")
@click.option("--open", "open_it", is_flag=True, help="Show the page in the browser.")
@click.option("--profile", help="With FILE: as it stands under [profile.NAME].")
@click.option("--runs", type=click.Path(file_okay=False, path_type=Path), help="Directory of runs.")
def report(name: str | None, png: bool, no_plots: bool, open_it: bool, profile: str | None, runs: Path | None) -> None:
    """Write report.md, report.html and plots/ of a run or an experiment again, and print where they are.

    RUN is a name or the beginning of one, an id, or a path. EXPERIMENT stands for its newest runs, FILE for the runs of
    that file as it stands now; pages of their runs are written where there are none yet. Without a name the experiment
    with the newest run is taken.
    """
    from trialbook.api.app import open_app
    from trialbook.registry.query import open_index
    from trialbook.reports.pages.write import PageOptions

    file = registry_file(runs)
    if profile and not (name or "").endswith(".toml"):
        raise click.UsageError("--profile needs a FILE")
    app = open_app(runs)
    options = PageOptions(not no_plots, png, app.host.templates())
    if name and name.endswith(".toml"):
        written = _of_file(Path(name), profile, app, options)
    else:
        with open_index(file) as index:
            experiments = index.experiments()
            if name is None or name in experiments:
                written = _of_experiment(index, name or experiments[-1], options)
            else:
                written = _of_run(index, name, options)
    _tell(written, open_it=open_it)


def _of_run(index: Registry, name: str, options: PageOptions) -> Written:
    from trialbook.analysis.selection import Facts, select_runs
    from trialbook.registry.lock import RunLock
    from trialbook.registry.run_directory import RunDirectory
    from trialbook.reports.pages.write import write_run_pages

    here = RunDirectory(Path(name).absolute())
    if not here.is_run():
        if not index.find(name):
            select_runs(index, [name], [], Facts(index))  # it says what else might have been meant
        here = index.one(name).directory
    here.check_readable()
    lock = RunLock(here.lock)
    lock.acquire()
    try:
        return write_run_pages(here, options)
    finally:
        lock.release()


def _of_experiment(index: Registry, name: str, options: PageOptions) -> Written:
    from trialbook.analysis.compare.compare import compare
    from trialbook.analysis.compare.groups import make_groups
    from trialbook.analysis.selection import Facts
    from trialbook.reports.pages.write import write_experiment_pages

    comparison = compare(index, [name])
    found = index.runs(experiment=name)
    used = make_groups(found, "arm", None, Facts(index), index, whole=True).used
    runs = {arm: [run.directory for run in own] for arm, own in used.items()}
    _complete([run for own in runs.values() for run in own], options)
    profile = index.info_of(found).profile
    return write_experiment_pages(comparison, runs, index.root / name, profile, options)


def _of_file(file: Path, profile: str | None, app: App, options: PageOptions) -> Written:
    from trialbook.analysis.compare.compare import compare_plan
    from trialbook.planning.planner import plan_files
    from trialbook.registry.changed_data import plans_on_record
    from trialbook.registry.run_directory import RunDirectory
    from trialbook.reports.pages.experiment_results import write_conclusion

    registry = app.settings.registry
    (plan,) = plans_on_record(plan_files([file], app.book, profile=profile), registry.parent, app.book)
    comparison = compare_plan(plan, registry)
    _complete([RunDirectory(registry.parent / spec.relative_path) for spec in plan.runs], options)
    return write_conclusion(plan, comparison, registry.parent, options)


def _complete(runs: list[RunDirectory], options: PageOptions) -> None:
    """Write the pages of those runs that have none and are not at work."""
    from trialbook.registry.lock import RunLock, RunLocked
    from trialbook.reports.pages.write import write_run_pages

    for run in runs:
        if not run.is_run() or (run.path / "report.html").is_file():
            continue
        lock = RunLock(run.lock)
        try:
            lock.acquire()
        except RunLocked:
            continue  # it writes its own when it ends
        try:
            write_run_pages(run, replace(options, png=False))
        finally:
            lock.release()


def _tell(written: Written, *, open_it: bool) -> None:
    pages = [file for file in written.files if file.suffix in (".md", ".html", ".json")]
    for page in pages:
        echo(str(page))
    plots = [file for file in written.files if file not in pages]
    if plots:
        echo(f"{plots[0].parent}/ with {len(plots)} plots")
    for problem in written.problems:
        echo(f"warning: {problem}", err=True)
    html = next((page for page in pages if page.suffix == ".html"), None)
    if html is None:
        sys.exit(1)
    if open_it:
        import webbrowser

        webbrowser.open(html.absolute().as_uri())
