"""Collecting problems: each once, in the order of the file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from trialbook.errors import Position, Problem, ProblemsError
from trialbook.words import closest


class Problems:
    """The problems found so far.

    Args:
        file: the experiment file, named where a problem has no place of its own.

    Attributes:
        lost: keys and tables that are there but misspelt or misplaced: that they are missing is no problem of its own.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self.lost: set[str] = set()
        self._found: dict[Problem, None] = {}

    def add(
        self, place: Position | None, table: str, message: str, *, word: str | None = None, known: Iterable[str] = ()
    ) -> None:
        """Note a problem, with the suggestion that of ``known`` ``word`` was meant to be."""
        self.add_suggested(place, table, message, closest(word, known) if word is not None else None)

    def add_suggested(self, place: Position | None, table: str, message: str, suggestion: str | None) -> None:
        """Note a problem with a suggestion that is known already."""
        file, line = (self.file, 0) if place is None else (place.file, place.line)
        self._found[Problem("--set" if file is None else str(file), line, table, message, suggestion)] = None

    def extend(self, problems: Iterable[Problem]) -> None:
        """Take over problems from elsewhere."""
        self._found.update(dict.fromkeys(problems))

    @contextmanager
    def gathered(self, outer: str = "") -> Iterator[None]:
        """Take over the problems that are raised within, of tables that stand in the table ``outer``."""
        try:
            yield
        except ProblemsError as error:
            for one in error.problems:
                table = ".".join(filter(None, (outer, one.table)))
                self.extend([replace(one, table=table, file=one.file or str(self.file))])

    def __iter__(self) -> Iterator[Problem]:
        """The command line first, then the experiment file, then those that it extends; by line."""
        files = ("--set", str(self.file))
        return iter(sorted(self._found, key=lambda p: (files.index(p.file) if p.file in files else 2, p.file, p.line)))

    def __len__(self) -> int:
        return len(self._found)
