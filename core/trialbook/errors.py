"""Errors that a user can cause, each one actionable sentence; the command prints them without a traceback."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


class TrialbookError(Exception):
    """A mistake that the user can mend: printed as one sentence, exit status 2."""


@dataclass(frozen=True)
class Position:
    """Where a key stands: a file and its line (1-based); ``file`` is None for a key set on the command line."""

    file: Path | None
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.file is not None else "--set"


@dataclass(frozen=True, order=True)
class Problem:
    """One mistake in an experiment file: where it stands, in which table, what is wrong, what was probably meant."""

    file: str
    line: int
    table: str
    message: str
    suggestion: str | None = None

    @classmethod
    def at(cls, place: Position | None, table: str, message: str) -> Problem:
        """A problem where something was written; a place without a file is the command line's."""
        if place is None:
            return cls("", 0, table, message)
        return cls(str(place.file) if place.file is not None else "--set", place.line, table, message)

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}" if self.line else self.file
        table = f" [{self.table}]" if self.table else ""
        hint = f"; did you mean '{self.suggestion}'?" if self.suggestion else ""
        return f"{where}:{table} {self.message}{hint}"


class ProblemsError(TrialbookError):
    """All the problems of a file at once, one a line."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))
