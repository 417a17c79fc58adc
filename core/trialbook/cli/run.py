"""``mlrun run FILE``: check everything, then run what is not done yet, then compare."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from trialbook.cli.output import echo, echo_comparison

if TYPE_CHECKING:
    from trialbook.api.app import App
    from trialbook.config.runspec import Plan
    from trialbook.execution.launcher import Launcher
    from trialbook.execution.plans import PlanResult


@click.command()
@click.argument("file", type=click.Path(exists=True, path_type=Path))
@click.option("--profile", help="Merge the tables of [profile.NAME] into the file.")
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

    Preparations of the file and other files that it needs are run first. Finished runs are kept, interrupted ones resume
    exactly where they stopped, the rest starts. Then the arms are compared. Of a folder, all files are run, each behind
    those that it needs.
    """
    from trialbook.api.app import open_app
    from trialbook.api.execute import plans_of
    from trialbook.config.numerics import prepare_cublas
    from trialbook.execution.interrupt import INTERRUPTED
    from trialbook.execution.launcher import Launcher
    from trialbook.execution.progress import choose_progress
    from trialbook.registry.changed_data import describe_changed
    from trialbook.registry.earlier_runs import describe_earlier
    from trialbook.registry.ranks import is_first_process

    app = open_app(runs)
    plans = plans_of(file, app, profile, sets)
    if prepare is not None:
        plans, arms = _until(plans, prepare), ()
    elif arms:
        plans[-1] = plans[-1].only(arms)
    for plan in plans:
        for describe in (describe_earlier, describe_changed):
            if sentence := describe(plan, app.settings.runs):
                echo(sentence, err=True)
    progress = choose_progress(partial(echo, err=True))
    launcher = Launcher(app.settings, app.host, app.book, progress, strict=strict, plots=not no_plots)
    if dry_run:
        echo(_plans_text(plans, launcher))
        return
    prepare_cublas((spec.config for plan in plans for spec in plan.runs), app.settings.numerics)
    app.host.register("local-launcher", launcher)
    try:
        with launcher.peers, launcher.interrupt:
            well = _run_all(plans, launcher, app, whole=not (arms or sets))
    except KeyboardInterrupt:
        echo(
            "interrupted: the same command resumes exactly from the last checkpoint, and keeps what is finished",
            err=True,
        )
        sys.exit(INTERRUPTED)
    if (arms or sets) and is_first_process():
        asked = " and ".join(["--arm"] * bool(arms) + ["--set"] * bool(sets))
        echo(
            f"With {asked}, the pages of the experiment are not written; 'mlrun report {file}' writes them for the file as it "
            "stands",
            err=True,
        )
    if not well:
        sys.exit(1)


def _run_all(plans: Sequence[Plan], launcher: Launcher, app: App, *, whole: bool) -> bool:
    """Run plans one after the other and say what came of each; whether all went well."""
    from trialbook.execution.plans import run_plans
    from trialbook.registry.ranks import is_first_process

    well = True
    for result in run_plans(plans, launcher):
        well = well and not result.lost and not result.failed
        if result.lost:
            echo(f"{result.plan.experiment.name}: not run, as it needs {', '.join(result.lost)}", err=True)
        elif is_first_process():
            _finish(result, app, whole=whole, plots=launcher.plots)
    return well


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


def _plans_text(plans: Sequence[Plan], launcher: Launcher) -> str:
    """Every plan in words.

    Raises:
        ExperimentErrors: variants cannot be built; the error has the problems of all plans.
    """
    from trialbook.errors import ExperimentErrors, Problem

    texts, problems = list[str](), dict[Problem, None]()
    for plan in plans:
        try:
            texts.append(_plan_text(plan, launcher))
        except ExperimentErrors as error:
            problems.update(dict.fromkeys(error.problems))
    if problems:
        raise ExperimentErrors(problems)
    return "\n\n".join(texts)


def _plan_text(plan: Plan, launcher: Launcher) -> str:
    """Runs, steps, and parameters by part of each variant."""
    from trialbook.api.plan import experiment_plan

    lines = [experiment_plan(plan, launcher.settings.runs).text()]
    for label, size in (launcher.survey(plan) if plan.runs else {}).items():
        lines.append(f"\n{label}")
        named = [(f"{p.name} ({p.use})", p.parameters, "  frozen" if p.frozen else "") for p in size.parts]
        several = len(size.stages) > 1
        named += [(f"trained in {name}" if several else "trained", count, "") for name, count in size.stages.items()]
        width = max((len(name) for name, _, _ in named), default=0)
        lines += [f"  {name:<{width}}  {count:>12,} parameters{note}" for name, count, note in named]
        if not size.stages:
            lines.append(
                "  trained: known once what it needs is done" if _needs_runs(plan, label) else "  nothing is trained"
            )
    return "\n".join(lines)


def _needs_runs(plan: Plan, label: str) -> bool:
    """Return whether a variant needs other runs, so that its parts cannot be built before them."""
    return any(spec.inputs for spec in plan.variants() if spec.arm == label)


def _finish(result: PlanResult, app: App, *, whole: bool, plots: bool) -> None:
    """Say what failed, and what came of the rest."""
    from trialbook.analysis.compare.compare import compare_plan
    from trialbook.reports.pages.experiment_results import write_conclusion
    from trialbook.reports.pages.write import PageOptions

    plan, registry = result.plan, app.settings.registry
    options = PageOptions(plots, templates=app.host.templates())
    for outcome in result.failed:
        echo(f"{outcome.spec.name}: {outcome.state}: {outcome.message}", err=True)
    if not plan.experiment.is_preparation and result.recorded:
        comparison = compare_plan(plan, registry)
        written = write_conclusion(plan, comparison, registry.parent, options) if whole else None
        echo_comparison(comparison)
        if written is not None:
            echo(f"\nWritten: {', '.join(map(str, written.files[:3]))}", err=True)
            for problem in written.problems:
                echo(f"warning: {problem}", err=True)
    if plan.experiment.decisions and whole and not result.failed:
        from trialbook.cli.decide import decide_plan

        decide_plan(plan, registry, options)
