"""``trialbook.run``: do what an experiment file asks for and is not done yet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from trialbook.api.app import open_app
from trialbook.api.display import Displayed
from trialbook.api.plan import make_plans
from trialbook.api.run import Run
from trialbook.api.sets import Sets, set_texts
from trialbook.errors import TrialbookError

if TYPE_CHECKING:
    from trialbook.api.app import App
    from trialbook.config.runspec import Outcome, Plan
    from trialbook.config.settings import Settings
    from trialbook.execution.plans import PlanResult
    from trialbook.execution.progress import Progress
    from trialbook.reports.document.blocks import Block


#: Ends of a run that leave a finished run.
_WELL = ("finished", "kept")


@dataclass(frozen=True, repr=False)
class RunOutcomes(Displayed):
    """The outcomes of the runs of an experiment file, those of the preparations and files that it needs included.

    Args:
        outcomes: ``finished``, ``kept`` (it was finished before), ``failed`` or ``busy``, in ``state``, with a ``message``
            for those that did not end well; ``spec`` says which run it is.
        not_run: names of experiments that were not run, as something that they need has failed.
        settings: of the workplace.
    """

    outcomes: tuple[Outcome, ...]
    not_run: tuple[str, ...]
    settings: Settings

    @property
    def runs(self) -> list[Run]:
        """The runs that are finished."""
        specs = [one.spec for one in self.outcomes if one.state in _WELL]
        return [Run.of_directory(self.settings.runs / spec.relative_path, self.settings) for spec in specs]

    @property
    def failed(self) -> list[Outcome]:
        """The runs that did not end well."""
        return [one for one in self.outcomes if one.state not in _WELL]

    def raise_for_failures(self) -> None:
        """Raise a TrialbookError that names all runs that did not end well, if there are any."""
        lines = [f"{one.spec.name}: {one.state}: {one.message}" for one in self.failed]
        lines += [f"{name}: not run, as something that it needs has failed" for name in self.not_run]
        if lines:
            raise TrialbookError("\n".join(lines))

    def text(self) -> str:
        """A line for each run."""
        ended = [": ".join(filter(None, (one.state, one.message))) for one in self.outcomes]
        lines = [f"{one.spec.relative_path}  {how}" for one, how in zip(self.outcomes, ended, strict=True)]
        return "\n".join([*lines, *(f"{name}  not run" for name in self.not_run)]) or "nothing to run"

    def blocks(self) -> Sequence[Block]:
        """A table of the runs."""
        from trialbook.reports.document.blocks import TableBlock
        from trialbook.reports.tables import Column

        rows = [[one.spec.relative_path, one.state, one.message] for one in self.outcomes]
        rows += [[name, "not run", ""] for name in self.not_run]
        tones = {i: "bad" for i, (_, state, _) in enumerate(rows) if state not in _WELL}
        return [TableBlock("", [Column("run"), Column("outcome"), Column("message")], rows, tones)]


def run(
    file: Path | str, *, arms: Sequence[str] = (), profile: str | None = None, sets: Sets = (), strict: bool = False,
    plots: bool = True, progress: bool | Progress = False, root: Path | str | None = None, runs: Path | str | None = None,
) -> RunOutcomes:  # fmt: skip
    """Check an experiment file and run all of it that is not done yet, as ``mlrun run`` does.

    Finished runs are kept, interrupted ones resume exactly where they stopped. A run that fails is in the outcomes and hurts
    no other. The pages of the experiment are written where the whole file was run.

    Args:
        file: the TOML file, or a folder of such files.
        arms: only these arms, and what they need.
        profile: name of one of its ``[profile.NAME]`` tables.
        sets: keys to set, ``["train.lr=1e-3"]`` or ``{"train.lr": 1e-3}``.
        strict: stop a run at the doctor's first error.
        plots: draw the plots of the pages.
        progress: show progress on the standard error; or what is told of it, a ``trialbook.execution.progress.Progress``.
        root: folder in which or above which ``runner.toml`` lies; the working directory if None.
        runs: another directory of runs than ``runner.toml`` names.
    Raises:
        TrialbookError: the file has mistakes, or a part of it cannot be built; nothing is run then.
    """
    from trialbook.config.numerics import prepare_cublas
    from trialbook.execution.launcher import Launcher
    from trialbook.execution.plans import run_plans
    from trialbook.execution.progress import progress_of
    from trialbook.registry.ranks import is_first_process

    app = open_app(runs, root)
    plans = plans_of(Path(file), app, profile, set_texts(sets))
    if arms:
        plans[-1] = plans[-1].only(arms)
    told = progress_of(progress)
    launcher = Launcher(app.settings, app.host, app.book, told, strict=strict, plots=plots)
    prepare_cublas((spec.config for plan in plans for spec in plan.runs), app.settings.numerics)
    app.host.register("local-launcher", launcher)
    results = []
    with launcher.peers:
        for result in run_plans(plans, launcher):
            results.append(result)
            if is_first_process() and not (arms or sets):
                _conclude(result, app, plots=plots)
    outcomes = tuple(outcome for result in results for outcome in result.outcomes)
    not_run = tuple(result.plan.experiment.name for result in results if result.lost)
    return RunOutcomes(outcomes, not_run, app.settings)


def plans_of(place: Path, app: App, profile: str | None, sets: Sequence[str]) -> list[Plan]:
    """The plans of a file, or of all files of a folder, each behind those that it needs.

    Raises:
        TrialbookError: the files have mistakes, or the folder has none.
    """
    files = sorted(place.glob("*.toml")) if place.is_dir() else [place]
    if not files:
        raise TrialbookError(f"{place} holds no experiment files (*.toml)")
    whole = make_plans(files, app, profile, sets, to_run=True)
    return list(dict.fromkeys(one for plan in whole for one in (*plan.before, plan)))


def _conclude(result: PlanResult, app: App, *, plots: bool) -> None:
    """Write the pages and decisions of an experiment whose whole file was run."""
    from trialbook.analysis.compare.compare import compare_plan
    from trialbook.analysis.decide.decide import decide
    from trialbook.registry.query import open_index
    from trialbook.reports.pages.experiment_results import write_conclusion
    from trialbook.reports.pages.write import PageOptions
    from trialbook.reports.write_decision import write_decisions

    plan, registry = result.plan, app.settings.registry
    options = PageOptions(plots, templates=app.host.templates())
    if not plan.experiment.is_preparation and result.recorded:
        write_conclusion(plan, compare_plan(plan, registry), registry.parent, options)
    if plan.experiment.decisions and not result.failed and not result.lost:
        with open_index(registry) as index:
            decisions = decide(plan, index)
        write_decisions(plan, decisions, registry.parent, options)
