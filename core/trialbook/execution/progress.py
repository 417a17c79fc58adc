"""Live progress of a plan: bars in a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from trialbook.config.runspec import Plan, RunSpec
from trialbook.contracts.records import Event, Item, Record, Timing
from trialbook.errors import printable
from trialbook.registry.ranks import is_first_process

_PLAIN_SECONDS = 10.0
"""Seconds between the plain lines of a run."""
_STEPS_TO_TELL = 5
"""Steps after which a rate says something: the first few are slow."""


class Progress(Protocol):
    """Is told what happens while a plan runs."""

    def plan_started(self, plan: Plan, done: int) -> None:
        """A plan begins; ``done`` of its runs are finished already."""

    def run_started(self, spec: RunSpec, total: int, at: int) -> None:
        """A run begins at step ``at`` of ``total`` (0 where nothing is trained)."""

    def item(self, spec: RunSpec, item: Item) -> None:
        """Something was recorded."""

    def run_ended(self, spec: RunSpec, outcome: str, message: str = "") -> None:
        """A run ended: ``finished``, ``kept``, ``failed`` or ``busy``."""

    def close(self) -> None:
        """The plan is over."""


def choose_progress(echo: Callable[[str], Any]) -> Progress:
    """Bars in a terminal, lines by ``echo`` elsewhere; nothing in a process that only computes along."""
    if not is_first_process():
        return NullProgress()
    return BarProgress() if sys.stderr.isatty() else PlainProgress(echo)


def progress_of(wanted: bool | Progress) -> Progress:
    """Return what shows progress: nothing, bars or lines on the standard error, or what was given."""
    if isinstance(wanted, bool):
        return choose_progress(lambda line: sys.stderr.write(f"{line}\n")) if wanted else NullProgress()
    return wanted


def describe(values: Mapping[str, float], names: Sequence[str]) -> str:
    """Those of the metrics ``names`` that are there, in a line: ``loss 1.234  retrieval/i2t@1 0.45``."""
    return "  ".join(f"{name} {values[name]:.4g}" for name in names if name in values)


def shown_metrics(plan: Plan) -> tuple[list[str], list[str]]:
    """Names of the metrics that a line shows during a run (loss and validation), and when it has ended."""
    headline = list(plan.experiment.headline[:2])
    split = plan.runs[0].config.get("evaluate", {}).get("split", "val") if plan.runs else "val"
    return ["loss", *(f"{split}/{name}" for name in headline or ["loss"])], ["loss", *headline]


def clock(seconds: float) -> str:
    """``75`` -> ``1:15``."""
    minutes, rest = divmod(int(seconds + 0.5), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


class _Status:
    """The progress of the current run and its plan: the newest values, steps per second, and the time left of both."""

    def __init__(self) -> None:
        self.runs_left = 0
        self.seconds_of_runs: list[float] = []
        self.begun = time.monotonic()
        self.names: list[str] = []
        self.final_names: list[str] = []
        self.start_run(0, 0)

    def start_plan(self, plan: Plan, done: int) -> None:
        self.runs_left = len(plan.runs) - done
        self.begun = time.monotonic()
        self.names, self.final_names = shown_metrics(plan)

    def start_run(self, total: int, at: int) -> None:
        self.total, self.first, self.step = total, at, at
        self.values: dict[str, float] = {}
        self.since = time.monotonic()

    def take(self, record: Record | Timing) -> None:
        self.step = max(self.step, record.step)
        self.values.update(record.values)

    def end_run(self, outcome: str) -> None:
        """The next run begins now; one that did not finish says nothing of how long others take."""
        if outcome == "finished":
            self.seconds_of_runs.append(time.monotonic() - self.begun)
        self.runs_left -= 1
        self.begun = time.monotonic()
        self.start_run(0, 0)

    @property
    def took(self) -> str:
        """The time that the run has taken so far, the making of its parts included."""
        return clock(time.monotonic() - self.begun)

    @property
    def final_values(self) -> str:
        return describe(self.values, self.final_names)

    @property
    def rate(self) -> float:
        return (self.step - self.first) / max(time.monotonic() - self.since, 1e-9)

    def left(self) -> tuple[float, float] | None:
        """Seconds left of this run and of the plan, once that can be told."""
        if self.step - self.first < _STEPS_TO_TELL or not self.total:
            return None
        run = (self.total - self.step) / self.rate
        whole = self.total / self.rate
        if self.seconds_of_runs:
            whole = sum(self.seconds_of_runs) / len(self.seconds_of_runs)
        return run, run + whole * max(0, self.runs_left - 1)


class PlainProgress:
    """One line now and then; for logs and pipes."""

    def __init__(self, echo: Callable[[str], Any]) -> None:
        self.echo = echo
        self.status = _Status()
        self.last = 0.0

    def plan_started(self, plan: Plan, done: int) -> None:
        """Say how much there is to do."""
        self.status.start_plan(plan, done)
        kept = f", {done} finished already" if done else ""
        self.echo(f"{plan.experiment.name}: {len(plan.runs)} run{'s' if len(plan.runs) > 1 else ''}{kept}")

    def run_started(self, spec: RunSpec, total: int, at: int) -> None:
        """Name the run."""
        self.status.start_run(total, at)
        self.last = time.monotonic()
        self.echo(
            f"{spec.name}: " + (f"resumes at step {at}" if at else "starts") + (f", {total} steps" if total else "")
        )

    def item(self, spec: RunSpec, item: Item) -> None:
        """A line every few seconds, and one for every event."""
        if isinstance(item, Event):
            self.echo(f"{spec.name}: {item.message}")
        if not isinstance(item, Record | Timing):
            return
        self.status.take(item)
        if time.monotonic() - self.last >= _PLAIN_SECONDS:
            self.last = time.monotonic()
            self.echo(f"{spec.name}: {self._status_line()}")

    def run_ended(self, spec: RunSpec, outcome: str, message: str = "") -> None:
        """Show how it ended, and its last values."""
        if outcome != "kept":
            self.echo(f"{spec.name}: {outcome} in {self.status.took}  {message or self.status.final_values}")
            self.status.end_run(outcome)

    def close(self) -> None:
        """Nothing to tidy."""

    def _status_line(self) -> str:
        status = self.status
        left = status.left()
        rest = f"  {clock(left[0])} left, plan {clock(left[1])}" if left else ""
        step = f"step {status.step}/{status.total}  " if status.total else ""
        return f"{step}{describe(status.values, status.names) or 'at work'}{rest}"


class BarProgress:
    """Two bars in a terminal: the run and the plan, with loss, rate and time left."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

        self.console = Console(stderr=True)
        self.progress = Progress(
            TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[note]}"),
            console=self.console, transient=True,
        )  # fmt: skip
        self.status = _Status()

    def plan_started(self, plan: Plan, done: int) -> None:
        """Show both bars."""
        self.status.start_plan(plan, done)
        self.plan = self.progress.add_task(plan.experiment.name, total=len(plan.runs), completed=done, note="")
        self.run = self.progress.add_task("", total=None, note="")
        self.progress.start()

    def run_started(self, spec: RunSpec, total: int, at: int) -> None:
        """Start the run's bar."""
        self.status.start_run(total, at)
        self.progress.reset(self.run, total=total or None, completed=at, description=spec.name, note="")

    def item(self, spec: RunSpec, item: Item) -> None:
        """Move the bar."""
        if isinstance(item, Event):
            self.console.print(f"[yellow]{spec.name}[/]: {_literal(item.message)}")
        if not isinstance(item, Record | Timing):
            return
        status = self.status
        status.take(item)
        loss = f"loss {status.values['loss']:.3f}  " if "loss" in status.values else ""
        left = status.left()
        note = f"{loss}{status.rate:.1f} steps/s" + (f"  {clock(left[0])} left" if left else "")
        self.progress.update(self.run, completed=status.step, note=note)
        if left:
            self.progress.update(self.plan, note=f"{clock(left[1])} left")

    def run_ended(self, spec: RunSpec, outcome: str, message: str = "") -> None:
        """Leave a line above the bars."""
        if outcome != "kept":
            colour = "green" if outcome == "finished" else "red"
            text = _literal(message or self.status.final_values)
            self.console.print(f"[{colour}]{outcome}[/] {spec.name} in {self.status.took}  {text}", highlight=False)
            self.status.end_run(outcome)
            self.progress.advance(self.plan)

    def close(self) -> None:
        """Take the bars away."""
        self.progress.stop()


def _literal(text: str) -> str:
    """Text whose brackets (``[projector.image]``) are no markup of rich."""
    from rich.markup import escape  # late, as in BarProgress

    return escape(printable(text))


class NullProgress:
    """Shows nothing; the first process shows progress."""

    def plan_started(self, plan: Plan, done: int) -> None:
        """Shown by the first process."""

    def run_started(self, spec: RunSpec, total: int, at: int) -> None:
        """Shown by the first process."""

    def item(self, spec: RunSpec, item: Item) -> None:
        """Shown by the first process."""

    def run_ended(self, spec: RunSpec, outcome: str, message: str = "") -> None:
        """Shown by the first process."""

    def close(self) -> None:
        """Nothing to tidy."""
