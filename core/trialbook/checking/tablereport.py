"""Reporting mistakes in a resolved configuration at the place, and under the table, where they were written."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from trialbook.errors import Position
from trialbook.experiment import Experiment
from trialbook.merge import position_of
from trialbook.problems import Problems
from trialbook.toml import Document, KeyPath
from trialbook.words import closest


@dataclass(frozen=True)
class TableReport:
    """Takes the problems of one resolved configuration.

    Args:
        experiment: the file.
        document: the configuration, with positions.
        problems: the problems of the whole file, where a mistake that several arms inherit counts once.
    """

    experiment: Experiment
    document: Document
    problems: Problems

    def add(
        self, table: KeyPath, key: KeyPath, message: str, *, word: str | None = None, known: Iterable[str] = ()
    ) -> None:
        """Note a mistake in ``table`` at ``key`` (empty: the table itself); ``word`` stands for one of ``known``."""
        self.add_suggested(table, key, message, closest(word, known) if word is not None else None)

    def add_suggested(self, table: KeyPath, key: KeyPath, message: str, suggestion: str | None) -> None:
        """Note a mistake with a suggestion that is known already."""
        place = position_of(self.document, (*table, *key))
        self.problems.add_suggested(place, self._written_name(table, key, place), message, suggestion)

    def _written_name(self, table: KeyPath, key: KeyPath, place: Position | None) -> str:
        """Name of the table as it stands at ``place``: that of an arm, a profile or the grid has more in front."""
        written = self.experiment.document.positions
        profile = ("profile", self.experiment.profile or "")
        arms = [("arm", name) for name in self.experiment.arms]
        origins: list[KeyPath] = [*((*profile, *arm) for arm in arms), profile, *arms, ()]
        for origin in origins:
            for depth in range(len(key), -1, -1):
                if place is not None and written.get((*origin, *table, *key[:depth])) == place:
                    return dotted((*origin, *table))
        if any(at[0] == "grid" and where == place for at, where in written.items()):
            return "grid"
        return dotted(table)


def dotted(path: KeyPath) -> str:
    """A path as it stands in a table's header, without the numbers of array elements."""
    return ".".join(str(part) for part in path if isinstance(part, str))
