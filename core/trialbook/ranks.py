"""One run on several processes (``torchrun``, ``accelerate launch``): the first records, the others compute along."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from trialbook.doctor.findings import Finding
from trialbook.plan import Plan, RunSpec
from trialbook.records import Item
from trialbook.rundir import RunDirectory, read_lines


def is_first_process() -> bool:
    """Whether this process records and prints; true where there is only one."""
    return int(os.environ.get("RANK", "0")) == 0


class Companion:
    """Stands where the first process has its ``Recorder``, and writes nothing.

    Args:
        directory: the run's directory, which the first process writes.
    """

    def __init__(self, directory: Path) -> None:
        self.run = RunDirectory(directory)

    def __enter__(self) -> Companion:
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


class SilentWatcher:
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
