"""``trialbook.runs``: the recorded runs, as a sequence and as a table."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from trialbook.api.app import settings_of
from trialbook.api.display import Displayed, data_frame, embed
from trialbook.api.run import Run
from trialbook.config.settings import Settings
from trialbook.registry import query
from trialbook.registry.query import has_runs, open_index

if TYPE_CHECKING:
    import pandas as pd

    from trialbook.api.plot import Plot
    from trialbook.reports.document.blocks import Block, Text

#: Facts of a run in a table of pandas.
_FACTS = ("experiment", "arm", "seed", "status", "id", "started", "seconds", "name", "path")
#: Runs that are shown; metrics of each in a page.
_MOST_SHOWN, _MOST_METRICS = 50, 3

#: Gives the pages of a run that its row links to: title to address.
Links = Callable[[Run], Mapping[str, str]]


@dataclass(frozen=True, eq=False, repr=False)
class RunList(Displayed, Sequence[Run]):
    """Recorded runs, oldest first.

    Args:
        rows: of the registry.
        settings: of the workplace.
    """

    rows: tuple[query.Run, ...]
    settings: Settings

    @overload
    def __getitem__(self, index: int) -> Run: ...
    @overload
    def __getitem__(self, index: slice) -> RunList: ...
    def __getitem__(self, index: int | slice) -> Run | RunList:
        if isinstance(index, slice):
            return RunList(self.rows[index], self.settings)
        return Run.of_row(self.rows[index], self.settings)

    def __len__(self) -> int:
        return len(self.rows)

    def named(self, names: Collection[str]) -> RunList:
        """Those of these names."""
        return RunList(tuple(row for row in self.rows if row.name in names), self.settings)

    def metric_names(self) -> list[str]:
        """Metrics that some of the runs recorded."""
        return list(self._summaries("count"))

    def curve_names(self) -> list[str]:
        """Metrics that were recorded more than once in a run, the loss first."""
        several = [name for name, counts in self._summaries("count").items() if max(counts.values()) > 1]
        return sorted(several, key=lambda name: name != "loss")

    def _summaries(self, column: str) -> dict[str, dict[int, Any]]:
        """Metric to a column of its summaries, by the number of the run's row."""
        if not self.rows:
            return {}
        with open_index(self.settings.registry) as index:
            found: dict[str, dict[int, Any]] = {metric: {} for metric in index.metric_names(self.rows)}
            for row, metric, value in index.summaries(self.rows, list(found), column):
                found[metric][row] = value
        return found

    def to_dataframe(self, keys: Sequence[str] = ()) -> pd.DataFrame:
        """A row for each run: what it is, and the last value of each metric.

        Args:
            keys: keys of the configuration to have as columns, as ``--where`` names them: ``train.lr``.
        Raises:
            TrialbookError: no run has a key, or pandas is not installed.
        """
        values, options = self._summaries("last"), self._options(keys)
        rows = [
            {
                **{name: getattr(run, name) for name in _FACTS},
                **{name: own.get(row.id) for name, own in (*options.items(), *values.items())},
            }
            for row, run in zip(self.rows, self, strict=True)
        ]
        return data_frame(rows, [*_FACTS, *options, *values])

    def _options(self, keys: Sequence[str]) -> dict[str, dict[int, Any]]:
        """Key of the configuration to its value in each run, by the number of the run's row."""
        from trialbook.analysis.selection import Facts, check_key

        if not keys or not self.rows:
            return {key: {} for key in keys}
        with open_index(self.settings.registry) as index:
            facts = Facts(index)
            known = facts.known(self.rows)
            for key in keys:
                check_key(key, known)
            return {key: {row.id: facts.value(row, key) for row in self.rows} for key in keys}

    def plot(self, metric: str) -> Plot:
        """The values of a metric over steps, a line for each run.

        Raises:
            TrialbookError: none of the runs recorded it.
        """
        from trialbook.api.plot import plot_curves

        return plot_curves(self, metric)

    def text(self) -> str:
        """The newest runs, as ``mlrun ls`` lists them."""
        from trialbook.reports.inspect import list_table
        from trialbook.reports.tables import render

        if not self.rows:
            return f"no runs in {self.settings.runs}"
        shown = render(list_table(self.rows[-_MOST_SHOWN:]), "table")
        return "\n".join([shown, *self._hidden()])

    def _hidden(self) -> list[str]:
        hidden = len(self.rows) - _MOST_SHOWN
        return [f"and {hidden} older run{'s' if hidden > 1 else ''}"] if hidden > 0 else []

    def to_html(self, links: Links | None = None) -> str:
        """A table for another page; ``links`` gives the pages of a run."""
        return embed(self.blocks(links))

    def blocks(self, links: Links | None = None) -> Sequence[Block]:
        """A table of the newest runs, newest first, with the first metrics where they are of one experiment."""
        from trialbook.reports.document.blocks import Paragraph, TableBlock
        from trialbook.reports.tables import Column, show_duration, show_value

        if not self.rows:
            return [Paragraph(self.text())]
        rows = self.rows[: -_MOST_SHOWN - 1 : -1]
        several = len({row.experiment for row in rows}) > 1
        metrics = [] if several else self._first_metrics(rows)
        values = self._summaries("last") if metrics else {}
        columns = [
            *([Column("experiment")] if several else []), Column("run"), Column("state"), Column("arm"),
            Column("seed", right=True), Column("time", right=True), *(Column(name, right=True) for name in metrics),
            *([Column("pages")] if links else []),
        ]  # fmt: skip
        cells: list[Sequence[Text]] = [
            [
                *([row.experiment] if several else []), row.name, _state(row.status), row.arm, str(row.seed),
                show_duration(row.seconds), *(show_value(values[name].get(row.id)) for name in metrics),
                *([_linked(links(Run.of_row(row, self.settings)))] if links else []),
            ]
            for row in rows
        ]  # fmt: skip
        counted = f"{len(self.rows)} runs" if len(self.rows) > 1 else "1 run"
        whose = "" if several else f" of {rows[0].experiment}"
        table = TableBlock(f"{counted}{whose}, newest first", columns, cells)
        return [table, *(Paragraph(line) for line in self._hidden())]

    def _first_metrics(self, rows: Sequence[query.Run]) -> list[str]:
        """The headline of an experiment, else what its metrics gave at the end, else the loss."""
        from trialbook.reports.plots.plot import final_figures
        from trialbook.reports.plots.run_data import RunData

        recorded = self.metric_names()
        newest = next((row for row in rows if row.outcome == "finished"), rows[0])
        own = [name for name in final_figures(RunData(newest.directory)) if name in recorded]
        return (own or [name for name in recorded if name == "loss"])[:_MOST_METRICS]


def runs(
    experiment: str | Path | None = None, where: str | Sequence[str] = (), *, root: Path | str | None = None,
    runs: Path | str | None = None,
) -> RunList:  # fmt: skip
    """The recorded runs, oldest first; empty where nothing is recorded.

    Args:
        experiment: its name, or its file; the runs of all experiments if None.
        where: conditions that the runs must meet, ``KEY=VALUE`` each (also ``!= < <= > >=``): ``"train.lr<=1e-3"``,
            ``"status=finished"``.
        root: folder in which or above which ``runner.toml`` lies; the working directory if None.
        runs: another directory of runs than ``runner.toml`` names.
    Raises:
        TrialbookError: there is no such experiment, or no run has a condition's key.
    """
    from trialbook.analysis.selection import Condition, Facts, filter_runs, named_runs

    settings = settings_of(root, runs)
    if experiment is None and not has_runs(settings.registry):
        return RunList((), settings)
    conditions = [Condition.parse(text) for text in ([where] if isinstance(where, str) else where)]
    with open_index(settings.registry) as index:
        found = index.runs() if experiment is None else named_runs(index, str(experiment))
        return RunList(tuple(filter_runs(found, conditions, Facts(index))), settings)


def _state(status: str) -> Text:
    from trialbook.reports.document.blocks import Strong

    return Strong(status) if status in ("failed", "killed") else status


def _linked(pages: Mapping[str, str]) -> Text:
    from trialbook.reports.document.blocks import Link
    from trialbook.reports.tables import NOTHING

    found: list[Link | str] = []
    for title, target in pages.items():
        found += [*([", "] if found else []), Link(title, target)]
    return found or NOTHING
