"""One run on several processes (``torchrun``, ``accelerate launch``): the first records, the others compute along."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from trialbook.contracts.files import read_lines
from trialbook.errors import TrialbookError
from trialbook.registry.run_directory import RunDirectory

if TYPE_CHECKING:
    from trialbook.config.runspec import Plan, RunSpec
    from trialbook.contracts.findings import Finding
    from trialbook.contracts.records import Item


def world_size() -> int:
    """How many processes do a run together, as their launcher says."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def rank() -> int:
    """Which of them this one is, from 0."""
    return int(os.environ.get("RANK", "0"))


def is_first_process() -> bool:
    """Whether this process records and prints; true where there is only one."""
    return rank() == 0


def quiet_torch() -> None:
    """Keep torch, before it is imported, from telling on each of several processes that it looks for unused parameters."""
    if world_size() > 1:
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")


def processes_of(environment: Mapping[str, Any]) -> int:
    """How many processes did a run together, by its ``env.json``."""
    told = environment.get("compute", {}).get("processes") or environment.get("variables", {}).get("WORLD_SIZE")
    return int(told or 1)


def check_processes(run: RunDirectory) -> None:
    """Whether as many processes are at work as began the run; each takes ``batch_size`` samples of a step.

    Raises:
        TrialbookError: they are not.
    """
    if run.is_run() and (then := processes_of(run.read("env") or {})) != world_size():
        raise TrialbookError(f"{run.path.name} {refusal(then)}")


def refusal(then: int) -> str:
    """Why what ``then`` processes began cannot go on, and how it can."""
    how = f"torchrun --nproc-per-node {then} -m trialbook run …" if then > 1 else "mlrun run …, without torchrun"
    return (
        f"was begun by {then} process{'es' * (then > 1)} and cannot go on with {world_size()}, as a step would have another "
        f"batch: go on with '{how}', or delete the run with 'mlrun rm' and start again"
    )


class NullRecorder:
    """Stands where the first process has its ``Recorder``, and writes nothing.

    Args:
        directory: the run's directory, which the first process writes.
    """

    def __init__(self, directory: Path) -> None:
        self.run = RunDirectory(directory)

    def __enter__(self) -> NullRecorder:
        return self

    def __exit__(self, *error: object) -> None:
        return None

    @property
    def recorded(self) -> int:
        """Number of records that the first process has written so far."""
        file = self.run.lines("metrics")
        return sum(1 for _ in read_lines(file)) if file.exists() else 0

    def start(self, spec: RunSpec, environment: Mapping[str, Any], components: Mapping[str, Mapping[str, Any]]) -> None:
        """Written by the first process."""

    def surround(self, facts: Mapping[str, Any]) -> None:
        """Written by the first process."""

    def describe(self, data: Mapping[str, Any]) -> None:
        """Written by the first process."""

    def rewind(self, records: int) -> None:
        """Done by the first process."""

    def add(self, item: Item) -> bool:
        """Written by the first process."""
        return True

    def diagnosed(self, findings: Sequence[Finding]) -> None:
        """Written by the first process."""

    def finish(self, results: Mapping[str, Any]) -> dict[str, Any]:
        """Written by the first process."""
        return dict(results)

    def fail(self, error: str) -> None:
        """Written by the first process."""

    def settle(self) -> None:
        """Done by the first process."""


class NullDoctor:
    """Looks at nothing; the doctor of the first process may stop a run, and then stops all processes."""

    def __enter__(self) -> NullDoctor:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def begin(self, records: int, step: int) -> None:
        """Seen by the first process."""

    def see(self, item: Item) -> None:
        """Seen by the first process."""


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
