"""Errors that a user can cause, each one actionable sentence; the command prints them without a traceback."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

#: Control characters but line break and tab, marks that turn the direction of text, and halves of characters: a terminal obeys
#: them or cannot show them.
_CONTROL = re.compile("[\\x00-\\x08\\x0b-\\x1f\\x7f-\\x9f\\u200e\\u200f\\u2028-\\u202e\\u2066-\\u2069\\ud800-\\udfff]")


def printable(text: str) -> str:
    """Text that a terminal shows and does not obey: control characters as JSON writes them, ``\\u001b``."""
    return _CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


class TrialbookError(Exception):
    """A mistake that the user can fix: printed as one sentence, exit status 2."""


@dataclass(frozen=True)
class Position:
    """The place where a key stands: a file and its line (1-based); ``file`` is None for a key set on the command line."""

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


class ExperimentErrors(TrialbookError):
    """All the problems of a file at once, one a line."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class ErrorCollector:
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
        self.add_suggested(place, table, message, suggest(word, known) if word is not None else None)

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
        except ExperimentErrors as error:
            for one in error.problems:
                table = ".".join(filter(None, (outer, one.table)))
                self.extend([replace(one, table=table, file=one.file or str(self.file))])

    def __iter__(self) -> Iterator[Problem]:
        """The command line first, then the experiment file, then those that it extends; by line."""
        files = ("--set", str(self.file))
        return iter(sorted(self._found, key=lambda p: (files.index(p.file) if p.file in files else 2, p.file, p.line)))

    def __len__(self) -> int:
        return len(self._found)


def suggest(word: str, candidates: Iterable[str]) -> str | None:
    """The candidate that ``word`` is most likely a misspelling of, or None where none is near.

    Near is up to a third of the longer word's letters (at least one), counted as edits; another case, ``-`` for ``_``
    and a missing ``-`` count less. Where nothing is near, a candidate that begins with the word (three letters or more)
    is taken.
    """
    known = [candidate for candidate in candidates if candidate != word]
    ranked = sorted((distance(word, candidate), -_prefix(word, candidate), candidate) for candidate in known)
    for edits, _, candidate in ranked[:1]:
        longest = max(len(word), len(candidate))
        if edits <= max(1, longest // 3) and edits < longest:
            return candidate
    longer = [candidate for candidate in known if len(word) >= 3 and candidate.casefold().startswith(word.casefold())]
    return min(longer, key=len) if longer else None


def distance(one: str, other: str) -> float:
    """Edits from ``one`` to ``other``: insertion, deletion, substitution, or swap of two neighbours, each 1.

    Source: the restricted Damerau-Levenshtein ("optimal string alignment") distance. Deviation: another case costs a
    quarter, ``_`` for ``-``, or one of them too many or missing, a half.
    """
    older: list[float] = []
    row = [0.0]
    for target in other:
        row.append(row[-1] + _gap(target))
    before = row
    for i, letter in enumerate(one):
        row = [before[0] + _gap(letter)]
        for j, target in enumerate(other):
            edits = min(before[j + 1] + _gap(letter), row[j] + _gap(target), before[j] + _substitution(letter, target))
            if i and j and letter == other[j - 1] and target == one[i - 1]:
                edits = min(edits, older[j - 1] + 1)
            row.append(edits)
        older, before = before, row
    return row[-1]


def _gap(letter: str) -> float:
    """Cost of a letter too many or missing."""
    return 0.5 if letter in "-_" else 1.0


def _substitution(letter: str, target: str) -> float:
    if letter == target:
        return 0.0
    if letter.casefold() == target.casefold():
        return 0.25
    return 0.5 if letter in "-_" and target in "-_" else 1.0


def _prefix(one: str, other: str) -> int:
    """Length of the common beginning."""
    count = 0
    for a, b in zip(one, other):  # noqa: B905 - the shorter one ends it
        if a != b:
            break
        count += 1
    return count
