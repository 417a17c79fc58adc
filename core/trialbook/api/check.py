"""``trialbook.check``: every mistake of an experiment file, without touching a model or data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from trialbook.api.app import open_app
from trialbook.api.display import Displayed
from trialbook.api.sets import Sets, set_texts
from trialbook.errors import ExperimentErrors, Problem

if TYPE_CHECKING:
    from trialbook.config.runspec import Plan
    from trialbook.reports.document.blocks import Block


@dataclass(frozen=True, repr=False)
class CheckResult(Displayed):
    """The outcome of a check; true where the file has no mistake.

    Args:
        file: that was checked.
        problems: its mistakes, each with ``file``, ``line``, ``table``, ``message`` and ``suggestion``.
        size: what the file asks for (``2 arms x 3 seeds = 6 runs``); empty where it has mistakes.
        notes: what there is to say of runs that are recorded: those whose data were edited since.
    """

    file: Path
    problems: tuple[Problem, ...] = ()
    size: str = ""
    notes: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return not self.problems

    def raise_for_problems(self) -> None:
        """Raise a TrialbookError with all mistakes if there are any."""
        if self.problems:
            raise ExperimentErrors(self.problems)

    def text(self) -> str:
        """The lines that ``mlrun check`` prints."""
        return "\n".join(map(str, self.problems) if self.problems else (f"{self.file}: ok, {self.size}", *self.notes))

    def blocks(self) -> Sequence[Block]:
        """A table of the mistakes."""
        from trialbook.reports.document.blocks import Paragraph, TableBlock
        from trialbook.reports.tables import Column

        if not self.problems:
            return [Paragraph(self.text())]
        columns = [Column("place"), Column("table"), Column("problem"), Column("did you mean")]
        rows = [
            [f"{one.file}:{one.line}" if one.line else one.file, one.table, one.message, one.suggestion or ""]
            for one in self.problems
        ]
        return [TableBlock(str(self.file), columns, rows)]


def check(
    file: Path | str, *, profile: str | None = None, sets: Sets = (), root: Path | str | None = None
) -> CheckResult:
    """Check an experiment file as ``mlrun check`` does.

    Args:
        file: the TOML file. Without a profile, every profile of it is checked too.
        profile: name of one of its ``[profile.NAME]`` tables.
        sets: keys to set, ``["train.lr=1e-3"]`` or ``{"train.lr": 1e-3}``.
        root: folder in which or above which ``runner.toml`` lies; the working directory if None.
    Raises:
        TrialbookError: there is no such file, or ``runner.toml`` has a mistake.
    """
    from trialbook.config.load import load_experiment
    from trialbook.execution.trackers import open_tracking
    from trialbook.planning.planner import make_plan
    from trialbook.registry.changed_data import describe_changed, plans_on_record

    file, app = Path(file), open_app(root=root)
    try:
        plan = make_plan(load_experiment(file, profile=profile, sets=set_texts(sets)), app.book, app.settings)
    except ExperimentErrors as error:
        return CheckResult(file, error.problems)
    open_tracking(plan.experiment.trackers, app.settings, app.book)
    (plan,) = plans_on_record([plan], app.settings, app.book)
    notes = [describe_changed(one, app.settings.runs) for one in (*plan.before, plan)]
    return CheckResult(file, (), size_of(plan), tuple(filter(None, notes)))


def size_of(plan: Plan) -> str:
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
