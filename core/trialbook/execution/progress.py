"""Live progress of a plan: bars in a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from trialbook.config.runspec import Plan, RunSpec
from trialbook.contracts.records import Event, Item, Record, Timing
from trialbook.registry.ranks import NullProgress, is_first_process

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
    return BarWatcher() if sys.stderr.isatty() else PlainWatcher(echo)


def progress_of(wanted: bool | Progress) -> Progress:
    """What is told of progress: nothing, bars or lines on the standard error, or what was given."""
    if isinstance(wanted, bool):
        return choose_progress(lambda line: sys.stderr.write(f"{line}\n")) if wanted else NullProgress()
    return wanted


def describe(values: Mapping[str, float], names: Sequence[str]) -> str:
    """The figures ``names`` that are there, for one line: ``loss 1.234  retrieval/i2t@1 0.45``."""
    return "  ".join(f"{name} {values[name]:.4g}" for name in names if name in values)


def telling(plan: Plan) -> tuple[list[str], list[str]]:
    """Names of the figures that a line shows while a run goes on (loss and curves), and when it has ended."""
    headline = list(plan.experiment.headline[:2])
    split = plan.runs[0].config.get("evaluate", {}).get("split", "val") if plan.runs else "val"
    return ["loss", *(f"{split}/{name}" for name in headline or ["loss"])], ["loss", *headline]


def clock(seconds: float) -> str:
    """``75`` -> ``1:15``."""
    minutes, rest = divmod(int(seconds + 0.5), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


class _Pace:
    """Steps per second of the current run, and the time left of run and plan."""

    def __init__(self) -> None:
        self.runs_left = 0
        self.seconds_of_runs: list[float] = []
        self.start_run(0, 0)

    def start_run(self, total: int, at: int) -> None:
        self.total, self.first, self.step = total, at, at
        self.since = time.monotonic()

    def end_run(self) -> None:
        self.seconds_of_runs.append(time.monotonic() - self.since)
        self.runs_left -= 1

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


class PlainWatcher:
    """One line now and then; for logs and pipes."""

    def __init__(self, echo: Callable[[str], Any]) -> None:
        self.echo = echo
        self.pace = _Pace()
        self.last = 0.0
        self.figures: dict[str, float] = {}
        self.names: list[str] = []
        self.final_names: list[str] = []

    def plan_started(self, plan: Plan, done: int) -> None:
        """Say how much there is to do."""
        self.pace.runs_left = len(plan.runs) - done
        self.names, self.final_names = telling(plan)
        kept = f", {done} finished already" if done else ""
        self.echo(f"{plan.experiment.name}: {len(plan.runs)} run{'s' if len(plan.runs) > 1 else ''}{kept}")

    def run_started(self, spec: RunSpec, total: int, at: int) -> None:
        """Name the run."""
        self.pace.start_run(total, at)
        self.last = time.monotonic()
        self.figures = {}
        self.echo(
            f"{spec.name}: " + (f"goes on at step {at}" if at else "starts") + (f", {total} steps" if total else "")
        )

    def item(self, spec: RunSpec, item: Item) -> None:
        """A line every few seconds, and one for every event."""
        if isinstance(item, Event):
            self.echo(f"{spec.name}: {item.message}")
        if not isinstance(item, Record | Timing):
            return
        self.pace.step = max(self.pace.step, item.step)
        self.figures.update(item.values)
        if time.monotonic() - self.last >= _PLAIN_SECONDS:
            self.last = time.monotonic()
            left = self.pace.left()
            rest = f"  {clock(left[0])} left, plan {clock(left[1])}" if left else ""
            step = f"step {self.pace.step}/{self.pace.total}  " if self.pace.total else ""
            self.echo(f"{spec.name}: {step}{describe(self.figures, self.names) or 'at work'}{rest}")

    def run_ended(self, spec: RunSpec, outcome: str, message: str = "") -> None:
        """How it ended, and its last figures."""
        if outcome != "kept":
            took = clock(time.monotonic() - self.pace.since)
            self.echo(f"{spec.name}: {outcome} in {took}  {message or describe(self.figures, self.final_names)}")
            self.pace.end_run()

    def close(self) -> None:
        """Nothing to tidy."""


class BarWatcher:
    """Two bars in a terminal: the run and the plan, with loss, rate and time left."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

        self.console = Console(stderr=True)
        self.progress = Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[note]}"),
            console=self.console, transient=True,
        )  # fmt: skip
        self.pace = _Pace()
        self.figures: dict[str, float] = {}
        self.names: list[str] = []
        self.final_names: list[str] = []

    def plan_started(self, plan: Plan, done: int) -> None:
        """Show both bars."""
        self.pace.runs_left = len(plan.runs) - done
        self.names, self.final_names = telling(plan)
        self.plan = self.progress.add_task(plan.experiment.name, total=len(plan.runs), completed=done, note="")
        self.run = self.progress.add_task("", total=None, note="")
        self.progress.start()

    def run_started(self, spec: RunSpec, total: int, at: int) -> None:
        """Start the run's bar."""
        self.pace.start_run(total, at)
        self.figures = {}
        self.progress.reset(self.run, total=total or None, completed=at, description=spec.name, note="")

    def item(self, spec: RunSpec, item: Item) -> None:
        """Move the bar."""
        if isinstance(item, Event):
            self.console.print(f"[yellow]{spec.name}[/]: {_literal(item.message)}")
        if not isinstance(item, Record | Timing):
            return
        self.pace.step = max(self.pace.step, item.step)
        self.figures.update(item.values)
        loss = f"loss {self.figures['loss']:.3f}  " if "loss" in self.figures else ""
        left = self.pace.left()
        self.progress.update(
            self.run, completed=self.pace.step,
            note=f"{loss}{self.pace.rate:.1f} steps/s" + (f"  {clock(left[0])} left" if left else ""),
        )  # fmt: skip
        if left:
            self.progress.update(self.plan, note=f"{clock(left[1])} left")

    def run_ended(self, spec: RunSpec, outcome: str, message: str = "") -> None:
        """Leave a line above the bars."""
        if outcome != "kept":
            colour = "green" if outcome == "finished" else "red"
            took = clock(time.monotonic() - self.pace.since)
            said = _literal(message or describe(self.figures, self.final_names))
            self.console.print(f"[{colour}]{outcome}[/] {spec.name} in {took}  {said}", highlight=False)
            self.pace.end_run()
            self.progress.advance(self.plan)

    def close(self) -> None:
        """Take the bars away."""
        self.progress.stop()


def _literal(text: str) -> str:
    """Text whose brackets (``[projector.image]``) are no markup of rich."""
    from rich.markup import escape  # late, as in BarWatcher

    return escape(text)
