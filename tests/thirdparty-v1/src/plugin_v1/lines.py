"""Tracker ``v1-lines``."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from trialbook.contracts import TrackedRun


class Lines:
    """Every point of a run as a line of a file in its directory.

    Args:
        file: name of the file.
    """

    def __init__(self, *, file: str = "points.txt") -> None:
        self.file = file

    def start(self, run: TrackedRun) -> Collection[tuple[int, str]]:
        """Open the file; the points that it holds."""
        self.path = run.path / self.file
        lines = self.path.read_text(encoding="utf-8").splitlines() if self.path.exists() else []
        return {(int(step), name) for step, name, _ in map(str.split, lines)}

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Add a line for each value."""
        with self.path.open("a", encoding="utf-8") as out:
            out.writelines(f"{step} {name} {value!r}\n" for name, value in values.items())

    def stop(self, status: str, results: Mapping[str, Any]) -> None:
        """There is nothing to close."""
