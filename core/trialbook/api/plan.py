"""``trialbook.plan``: the runs of an experiment file, and which of them are done."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trialbook.api.app import open_app
from trialbook.api.display import Displayed, data_frame
from trialbook.api.sets import Sets, set_texts
from trialbook.registry.run_directory import RunDirectory

if TYPE_CHECKING:
    import pandas as pd

    from trialbook.api.app import App
    from trialbook.config.runspec import Plan, RunSpec
    from trialbook.reports.document.blocks import Block
    from trialbook.reports.tables import Table


@dataclass(frozen=True)
class PlannedRun:
    """A run that an experiment file asks for.

    Args:
        name: ``<arm>-s<seed>-<id>``.
        arm: its arm, with its point of the grid if there is one.
        seed: its seed.
        length: how long it is, as the file says it: ``100 steps + 2 epochs``.
        state: ``finished`` or ``pending``.
        config: its resolved configuration.
    """

    name: str
    arm: str
    seed: int
    length: str
    state: str
    config: Mapping[str, Any]


@dataclass(frozen=True, repr=False)
class ExperimentPlan(Displayed):
    """The plan of what ``mlrun run`` would do.

    Args:
        name: of the experiment, or of one of its preparations.
        question: what it is to answer.
        runs: in the order in which they are done.
        before: the plans of the preparations and files that it needs, in the order in which they are done.
    """

    name: str
    question: str
    runs: tuple[PlannedRun, ...]
    before: tuple[ExperimentPlan, ...] = ()

    def to_dataframe(self) -> pd.DataFrame:
        """A row for each run.

        Raises:
            TrialbookError: pandas is not installed.
        """
        table = self._table()
        return data_frame(table.records(), [column.name for column in table.columns])

    def text(self) -> str:
        """The runs, those of the plans before it first."""
        own = f"{self.name}: a decision, without runs of its own"
        if self.runs:
            lines = [f"  {run.name}  {run.length}  {run.state}" for run in self.runs]
            own = "\n".join([f"{self.name}: {len(lines)} run{'s' if len(lines) > 1 else ''}", *lines])
        return "\n\n".join([*(plan.text() for plan in self.before), own])

    def blocks(self) -> Sequence[Block]:
        """A table for each plan."""
        from trialbook.reports.document.blocks import Paragraph, TableBlock

        own: Block = TableBlock.of(self._table(), self.name) if self.runs else Paragraph(self.text())
        return [*(block for plan in self.before for block in plan.blocks()), own]

    def _table(self) -> Table:
        from trialbook.reports.tables import Column, Table

        columns = [Column("name"), Column("arm"), Column("seed", right=True), Column("length"), Column("state")]
        return Table(columns, [[run.name, run.arm, run.seed, run.length, run.state] for run in self.runs])


def plan(
    file: Path | str, *, profile: str | None = None, sets: Sets = (), root: Path | str | None = None,
    runs: Path | str | None = None,
) -> ExperimentPlan:  # fmt: skip
    """Lay out the runs of an experiment file; nothing is built or run.

    Args:
        file: the TOML file.
        profile: name of one of its ``[profile.NAME]`` tables.
        sets: keys to set, ``["train.lr=1e-3"]`` or ``{"train.lr": 1e-3}``.
        root: folder in which or above which ``runner.toml`` lies; the working directory if None.
        runs: another directory of runs than ``runner.toml`` names.
    Raises:
        TrialbookError: the file has mistakes; the error has all of them.
    """
    app = open_app(runs, root)
    (made,) = make_plans([Path(file)], app, profile, set_texts(sets))
    before = tuple(experiment_plan(one, app.settings.runs) for one in made.before)
    return experiment_plan(made, app.settings.runs, before)


def make_plans(
    files: Sequence[Path], app: App, profile: str | None, sets: Sequence[str], *, to_run: bool = False
) -> list[Plan]:
    """The plans of experiment files, with the recorded runs that stand for theirs; see ``plans_on_record``.

    Args:
        files: the files, with ``profile`` and ``sets`` as for ``plan``.
        app: the workplace.
        to_run: refuse what this workplace cannot run.
    Raises:
        TrialbookError: files have mistakes; the error has all of them.
    """
    from trialbook.planning.planner import plan_files
    from trialbook.registry.changed_data import plans_on_record

    plans = plan_files(files, app.book, profile=profile, sets=sets, settings=app.settings if to_run else None)
    return plans_on_record(plans, app.settings, app.book)


def experiment_plan(made: Plan, runs: Path, before: tuple[ExperimentPlan, ...] = ()) -> ExperimentPlan:
    """The runs of a plan, with what the directory of runs says of each."""
    planned = tuple(
        PlannedRun(spec.name, spec.arm, spec.seed, _length(spec), _state(spec, runs), spec.config) for spec in made.runs
    )
    return ExperimentPlan(made.experiment.name, made.experiment.question, planned, before)


def _state(spec: RunSpec, runs: Path) -> str:
    return "finished" if RunDirectory(runs / spec.relative_path).status() == "finished" else "pending"


def _length(spec: RunSpec) -> str:
    from trialbook.config.options import stages_of

    if not spec.config.get("train") and not spec.config.get("stage"):
        return "no training"
    stages = stages_of(dict(spec.config))
    return " + ".join(f"{s.steps} steps" if s.steps is not None else f"{s.epochs:g} epochs" for s in stages)
