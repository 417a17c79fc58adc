"""What the registry page shows: runs, their curves, and the comparison of an experiment, as blocks of our own pages."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from trialbook import TrialbookError
from trialbook.registry.query import Registry, Run, open_index
from trialbook.reports.document.blocks import (
    Block,
    Collapsible,
    Gallery,
    Items,
    Link,
    Page,
    Paragraph,
    TableBlock,
    Text,
)
from trialbook.reports.plots.layout import Arm, make_layout
from trialbook.reports.plots.plot import Drawn, final_figures, picture, told_chance, told_ends
from trialbook.reports.plots.run_data import RunData
from trialbook.reports.tables import NOTHING, Column, show_duration, show_value
from trialbook_plugins.demo.files import link

#: Figures of a run in the list, and curves in a plot.
_MOST_FIGURES, MOST_CURVES = 3, 12
_TONES = {"failed": "bad", "killed": "bad", "finished": "good"}
#: Sections of an experiment's page that stand open; the rest is folded, and what is only text of files left out.
_OPEN, _FOLDED = (
    ("Figures",),
    ("Claims", "Effects", "Gates", "Findings", "Missing runs", "What else differed", "Notes", "Cost"),
)


class Records:
    """Reads the registry anew for every answer, so that runs under way are seen.

    Args:
        registry: the SQLite file.
    """

    def __init__(self, registry: Path) -> None:
        self._registry, self._drawing = registry, threading.Lock()

    @contextmanager
    def _index(self) -> Iterator[Registry]:
        with open_index(self._registry) as index:
            yield index

    def experiments(self) -> list[str]:
        """Names, the one with the newest run first."""
        with self._index() as index:
            return index.experiments()[::-1]

    def run_names(self, experiment: str) -> list[str]:
        """Names of an experiment's runs, oldest first."""
        with self._index() as index:
            return [run.name for run in index.runs(experiment=experiment)]

    def curve_names(self, experiment: str) -> list[str]:
        """What the runs recorded more than once, the loss first."""
        with self._index() as index:
            runs = index.runs(experiment=experiment)
            names = index.metric_names(runs)
            several = {name for _, name, count in index.summaries(runs, names, "count") if count > 1}
        return sorted((name for name in names if name in several), key=lambda name: name != "loss")

    def runs(self, experiment: str) -> list[Block]:
        """Every run: state, arm, seed, first figures, and what can be read of it."""
        with self._index() as index:
            runs = index.runs(experiment=experiment)[::-1]
            names = _figures(index, runs)
            values = {(run, name): value for run, name, value in index.summaries(runs, names, "last")}
        columns = [
            Column("run"), Column("state"), Column("arm"), Column("seed", right=True), Column("time", right=True),
            *(Column(name, right=True) for name in names), Column("pages"),
        ]  # fmt: skip
        rows: list[Sequence[Text]] = [
            [
                run.name, run.status, run.arm, str(run.seed), show_duration(run.seconds),
                *(show_value(values.get((run.id, name))) for name in names), self._pages(run),
            ]
            for run in runs
        ]  # fmt: skip
        tones = {i: tone for i, run in enumerate(runs) if (tone := _TONES.get(run.status))}
        return [TableBlock(_counted(len(runs), experiment), columns, rows, tones)]

    def _pages(self, run: Run) -> Text:
        found: list[Link | str] = []
        for title, name in (("report", "report.html"), ("failures", "failures.html")):
            if target := link(run.root, run.directory.path / name):
                found += [*([", "] if found else []), Link(title, target)]
        return found or NOTHING

    def curves(self, experiment: str, names: Sequence[str], metric: str) -> list[Block]:
        """A plot of one record of some runs, over steps."""
        with self._index() as index:
            chosen = [run for run in index.runs(experiment=experiment) if run.name in names][:MOST_CURVES]
        data = {f"{run.arm}, seed {run.seed}": RunData(run.directory) for run in chosen}
        if not data or not metric:
            return [Paragraph("Choose runs and a figure.")]

        def draw() -> Drawn:
            from trialbook.reports.plots.curves import Lines, draw_curves

            found = {label: [run.curves[metric]] for label, run in data.items() if metric in run.curves}
            chance = {label: level for label, run in data.items() if (level := run.chance(metric)) is not None}
            layout = make_layout([Arm(label, label, {}) for label in data])
            with self._drawing:  # matplotlib's settings are those of the process
                image = draw_curves(layout, Lines(metric, found, chance, wide="loss" in metric))
            told = told_ends({label: own[0] for label, own in found.items()})
            return Drawn(image, f"{told}.{told_chance(chance.values())}", f"{metric} over steps: {told}.")

        return [Gallery(picture("curves", metric, draw))]

    def comparison(self, experiment: str) -> list[Block]:
        """What the experiment answers, as ``mlrun report`` says it, from what is recorded now."""
        from trialbook.analysis.compare.compare import compare
        from trialbook.analysis.compare.groups import make_groups
        from trialbook.analysis.selection import Facts
        from trialbook.reports.pages.experiment_page import experiment_page
        from trialbook.reports.plots.arms import Arms

        try:
            with self._index() as index:
                found = compare(index, [experiment])
                runs = index.runs(experiment=experiment)
                used = make_groups(runs, "arm", None, Facts(index), index, whole=True).used
                target = link(index.root, index.root / experiment / "report.html")
        except TrialbookError as error:
            return [Paragraph(f"Nothing is compared: {error}.")]
        arms = Arms(found, {arm: [RunData(run.directory) for run in own] for arm, own in used.items()})
        whole: list[Block] = [Items([[Link("the whole report, with all plots", target)]])] if target else []
        return [*_shortened(experiment_page(arms)), *whole]


def _shortened(page: Page) -> Iterator[Block]:
    yield from page.head
    for section in page.filled():
        if section.title in _OPEN:
            yield from section.blocks
        elif section.title in _FOLDED:
            yield Collapsible(section.title, section.blocks)


def _counted(count: int, experiment: str) -> str:
    return f"{count} runs of {experiment}, newest first" if count != 1 else f"The one run of {experiment}"


def _figures(index: Registry, runs: Sequence[Run]) -> list[str]:
    """First figures of an experiment: its headline, else what its metrics gave at the end."""
    recorded = index.metric_names(runs)
    if not runs:
        return []
    headline = [name for name in index.info(runs[0]).headline if name in recorded]
    newest = next((run for run in runs if run.status == "finished"), runs[0])
    own = [name for name in final_figures(RunData(newest.directory)) if name in recorded]
    return (headline or own or [name for name in recorded if name == "loss"])[:_MOST_FIGURES]
