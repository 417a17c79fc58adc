"""``trialbook.open_registry``: the index over the recorded runs, for questions of one's own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from trialbook.api.app import settings_of
from trialbook.api.display import Displayed, data_frame
from trialbook.registry.query import has_runs, open_index

if TYPE_CHECKING:
    import pandas as pd

    from trialbook.reports.document.blocks import Block
    from trialbook.reports.tables import Table


@dataclass(frozen=True, repr=False)
class QueryResult(Displayed):
    """Rows of an answer of the registry; ``table.columns`` and ``table.rows`` hold them."""

    table: Table

    def to_dataframe(self) -> pd.DataFrame:
        """The rows as a pandas table.

        Raises:
            TrialbookError: pandas is not installed.
        """
        return data_frame(self.table.records(), [column.name for column in self.table.columns])

    def text(self) -> str:
        """The rows under their columns."""
        from trialbook.reports.tables import render

        return render(self.table, "table")

    def blocks(self) -> Sequence[Block]:
        """A table."""
        from trialbook.reports.document.blocks import TableBlock

        return [TableBlock.of(self.table)]


@dataclass(frozen=True)
class Registry:
    """Read-only questions to a registry. It is opened for each, so that runs under way are seen.

    Args:
        path: the SQLite file; it lies in the directory of runs.
    """

    path: Path

    def experiments(self) -> list[str]:
        """Names of all experiments, the one with the newest run last."""
        if not has_runs(self.path):
            return []
        with open_index(self.path) as index:
            return index.experiments()

    def sql(self, query: str, *, seconds: float = 60.0) -> QueryResult:
        """Ask in SQL, as ``mlrun sql`` does; the views for this are those of docs/registry.md.

        Args:
            query: one statement that only reads.
            seconds: after which it is given up.
        Raises:
            TrialbookError: nothing is recorded, SQLite does not understand the question, or it writes or takes too long.
        """
        from trialbook.registry.sql import ask
        from trialbook.reports.tables import Column, Table

        with open_index(self.path) as index:
            names, rows = ask(index.connection, query, seconds)
        numbers = [
            bool(rows) and all(isinstance(row[i], int | float | None) for row in rows) for i in range(len(names))
        ]
        return QueryResult(Table([Column(name, right=right) for name, right in zip(names, numbers, strict=True)], rows))


def open_registry(*, root: Path | str | None = None, runs: Path | str | None = None) -> Registry:
    """The registry of a workplace.

    Args:
        root: folder in which or above which ``runner.toml`` lies; the working directory if None.
        runs: another directory of runs than ``runner.toml`` names.
    """
    return Registry(settings_of(root, runs).registry)
