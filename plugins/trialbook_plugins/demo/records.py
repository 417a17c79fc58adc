"""The content of the registry page: runs, their curves, and the comparison of an experiment, as HTML."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import trialbook
from trialbook import Run, RunList
from trialbook_plugins.demo.files import link
from trialbook_plugins.demo.look import panel, paragraphs

#: Curves in a plot.
MOST_CURVES = 12


class Records:
    """Reads the registry again for every answer, so that runs under way are seen.

    Args:
        folder: directory of runs.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def _runs(self, experiment: str) -> RunList:
        return trialbook.runs(experiment, runs=self._folder)

    def experiments(self) -> list[str]:
        """Names, the one with the newest run first."""
        return trialbook.open_registry(runs=self._folder).experiments()[::-1]

    def run_names(self, experiment: str) -> list[str]:
        """Names of an experiment's runs, oldest first."""
        return [run.name for run in self._runs(experiment)]

    def curve_names(self, experiment: str) -> list[str]:
        """List what the runs recorded more than once, the loss first."""
        return self._runs(experiment).curve_names()

    def runs(self, experiment: str) -> str:
        """Every run: state, arm, seed, first metrics, and what can be read of it."""
        return self._runs(experiment).to_html(self._pages)

    def _pages(self, run: Run) -> dict[str, str]:
        pages = {title: link(self._folder, run.path / f"{title}.html") for title in ("report", "failures")}
        return {title: target for title, target in pages.items() if target}

    def curves(self, experiment: str, names: Sequence[str], metric: str) -> str:
        """A plot of one record of some runs, over steps."""
        if not names or not metric:
            return paragraphs(["Choose runs and a metric."])
        return self._runs(experiment).named(names)[:MOST_CURVES].plot(metric).to_html()

    def comparison(self, experiment: str) -> str:
        """Show what the experiment answers, as ``mlrun report`` says it, from what is recorded now."""
        try:
            compared = trialbook.compare(experiment, runs=self._folder).to_html()
        except trialbook.TrialbookError as error:
            return paragraphs([f"Nothing is compared: {error}."])
        target = link(self._folder, self._folder / experiment / "report.html")
        return compared + (panel(f'<p><a href="{target}">the whole report, with all plots</a></p>') if target else "")
