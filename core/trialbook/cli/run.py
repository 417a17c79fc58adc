"""``mlrun run FILE``: check everything, then run what is not done yet, then compare."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from trialbook.cli.app import App
    from trialbook.config.runspec import Outcome, Plan, RunSpec
    from trialbook.execution.launcher import Launcher
    from trialbook.execution.progress import Progress

#: Ends of a run that keep what needs it from being run.
_FAILED = ("failed", "busy")


@click.command()
@click.argument("file", type=click.Path(exists=True, path_type=Path))
@click.option("--profile", help="Lay the tables of [profile.NAME] over the file.")
@click.option("--set", "sets", multiple=True, metavar="KEY=VALUE", help="Set a key, e.g. --set train.lr=1e-3.")
@click.option("--arm", "arms", multiple=True, help="Run only this arm (and what it needs); may be repeated.")
@click.option("--prepare", help="Run only this preparation (and what it needs).")
@click.option("--dry-run", is_flag=True, help="Print the plan: runs, parameters by part, steps. Nothing is run.")
@click.option("--strict", is_flag=True, help="Stop a run at the doctor's first error.")
@click.option("--no-plots", is_flag=True, help="Draw nothing: reports are text and tables alone.")
@click.option("--runs", type=click.Path(file_okay=False, path_type=Path), help="Directory of runs.")
def run(
    file: Path, profile: str | None, sets: tuple[str, ...], arms: tuple[str, ...], prepare: str | None, dry_run: bool,
    strict: bool, no_plots: bool, runs: Path | None,
) -> None:  # fmt: skip
    """Check FILE and run all of it that is not done yet.

    Steps of the file and other files that it needs are run first. Finished runs are kept, interrupted ones go on exactly where
    they stopped, the rest starts. Then the arms are compared. Of a folder, all files are run, each behind those that it needs.
    """
    from trialbook.cli.app import open_app
    from trialbook.config.numerics import prepare_cublas
    from trialbook.execution.launcher import Launcher
    from trialbook.planning.planner import plan_files
    from trialbook.registry.earlier_runs import describe_earlier, keep_earlier_runs

    app = open_app(runs)
    files = experiment_files(file)
    whole = keep_earlier_runs(plan_files(files, app.book, profile=profile, sets=sets), app.settings.runs, app.book)
    plans = list(dict.fromkeys(one for plan in whole for one in (*plan.before, plan)))
    if prepare is not None:
        plans, arms = _until(plans, prepare), ()
    elif arms:
        plans[-1] = plans[-1].only(arms)
    for plan in plans:
        if sentence := describe_earlier(plan, app.settings.runs):
            click.echo(sentence, err=True)
    launcher = Launcher(app.settings, app.host, app.book, watcher(), strict=strict, plots=not no_plots)
    if dry_run:
        click.echo("\n\n".join(_plan_text(plan, launcher) for plan in plans))
        return
    prepare_cublas((spec.config for plan in plans for spec in plan.runs), app.settings.numerics)
    app.host.register("local-launcher", launcher)
    with launcher.peers:
        if _run_all(plans, launcher, app, whole=not (arms or sets)):
            sys.exit(1)


def _run_all(plans: Sequence[Plan], launcher: Launcher, app: App, *, whole: bool) -> set[Plan]:
    """Run plans one after the other and say what came of each; those that failed, or need one that did."""
    from trialbook.registry.ranks import is_first_process

    failed: set[Plan] = set()
    for plan in plans:
        if lost := [one.experiment.name for one in plan.before if one in failed]:
            click.echo(f"{plan.experiment.name}: not run, as it needs {', '.join(lost)}", err=True)
            failed.add(plan)
            continue
        if launcher.peers.first(partial(_several_to_do, plan, launcher)):
            launcher.survey(plan)
        outcomes = app.host.launch(plan) if plan.runs else ()
        if any(outcome.state in _FAILED for outcome in outcomes):
            failed.add(plan)
        if is_first_process():
            _finish(plan, app, outcomes, whole=whole, plots=launcher.plots)
    return failed


def _several_to_do(plan: Plan, launcher: Launcher) -> bool:
    return sum(not launcher.is_finished(spec) for spec in plan.variants()) > 1


def experiment_files(place: Path) -> list[Path]:
    """The experiment file, or those of a folder.

    Raises:
        TrialbookError: the folder has none.
    """
    from trialbook.errors import TrialbookError

    files = sorted(place.glob("*.toml")) if place.is_dir() else [place]
    if not files:
        raise TrialbookError(f"{place} holds no experiment files (*.toml)")
    return files


def _until(plans: list[Plan], prepare: str) -> list[Plan]:
    """The plan of a preparation behind those that it needs."""
    from trialbook.config.experiment import PREPARE
    from trialbook.errors import TrialbookError, suggest

    known = {plan.experiment.name.removeprefix(PREPARE): plan for plan in plans if plan.experiment.is_preparation}
    if prepare not in known:
        hint = suggest(prepare, known)
        there = f"there are {', '.join(known)}" if known else "the file has none"
        raise TrialbookError(f"there is no preparation '{prepare}'; " + (f"did you mean '{hint}'?" if hint else there))
    return [*known[prepare].before, known[prepare]]


def watcher() -> Progress:
    from trialbook.execution.progress import BarProgress, NullProgress, PlainProgress
    from trialbook.registry.ranks import is_first_process

    if not is_first_process():
        return NullProgress()
    return BarProgress() if sys.stderr.isatty() else PlainProgress(lambda line: click.echo(line, err=True))


def _plan_text(plan: Plan, launcher: Launcher) -> str:
    """Runs, steps, and parameters by part of each variant."""
    if not plan.runs:
        return f"{plan.experiment.name}: a decision, without runs of its own"
    count = len(plan.runs)
    lines = [f"{plan.experiment.name}: {count} run{'s' if count > 1 else ''}"]
    for spec in plan.runs:
        state = "finished" if launcher.is_finished(spec) else "to do"
        lines.append(f"  {spec.name}  {_length(spec)}  {state}")
    for label, parts in launcher.survey(plan).items():
        lines.append(f"\n{label}")
        width = max((len(f"{p.name} ({p.use})") for p in parts), default=0)
        for part in parts:
            note = "  frozen" if part.frozen else ""
            lines.append(f"  {f'{part.name} ({part.use})':<{width}}  {part.parameters:>12,} parameters{note}")
        trained = sum(p.parameters for p in parts if not p.frozen)
        lines.append(f"  {'trained':<{width}}  {trained:>12,} parameters")
    return "\n".join(lines)


def _length(spec: RunSpec) -> str:
    """How long a run is, as its file says it: ``100 steps + 2 epochs``."""
    from trialbook.config.options import stages_of

    if not spec.config.get("train") and not spec.config.get("stage"):
        return "no training"
    stages = stages_of(dict(spec.config))
    return " + ".join(f"{s.steps} steps" if s.steps is not None else f"{s.epochs:g} epochs" for s in stages)


def _finish(plan: Plan, app: App, outcomes: Sequence[Outcome], *, whole: bool, plots: bool) -> None:
    """Say what failed, and what came of the rest."""
    from trialbook.analysis.compare.compare import compare_plan
    from trialbook.reports.pages.experiment_results import write_conclusion
    from trialbook.reports.pages.write import PageOptions
    from trialbook.reports.terminal import print_report

    registry, options = app.settings.registry, PageOptions(plots, templates=app.host.templates())
    failed = [outcome for outcome in outcomes if outcome.state in _FAILED]
    for outcome in failed:
        click.echo(f"{outcome.spec.name}: {outcome.state}: {outcome.message}", err=True)
    if not plan.experiment.is_preparation and any(outcome.state in ("finished", "kept") for outcome in outcomes):
        comparison = compare_plan(plan, registry)
        print_report(comparison)
        if whole:
            written = write_conclusion(plan, comparison, registry.parent, options)
            click.echo(f"\nWritten: {', '.join(map(str, written.files[:3]))}", err=True)
            for problem in written.problems:
                click.echo(f"warning: {problem}", err=True)
    if plan.experiment.decisions and whole and not failed:
        from trialbook.cli.decide import decide_plan

        decide_plan(plan, registry, options)
