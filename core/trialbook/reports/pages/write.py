"""Writing pages and plots. A plot or a page that cannot be made is told of, and never hurts a run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from trialbook.contracts.files import write_whole
from trialbook.registry.run_directory import RunDirectory
from trialbook.reports.document.blocks import Page, Picture
from trialbook.reports.document.html import to_html
from trialbook.reports.document.markdown import to_markdown
from trialbook.reports.pages.run_page import run_page
from trialbook.reports.plots.run_data import RunData

if TYPE_CHECKING:
    from trialbook.analysis.compare.compare import Comparison


@dataclass(frozen=True)
class Written:
    """Files that were written, and what went wrong on the way, a sentence each."""

    files: tuple[Path, ...] = ()
    problems: tuple[str, ...] = ()


def write_run_pages(run: RunDirectory, *, plots: bool = True, png: bool = False) -> Written:
    """Write ``report.md``, ``report.html`` and ``plots/`` of a run that has ended, however it ended.

    The caller holds the run's lock, or knows that nobody writes there.

    Args:
        run: its directory.
        plots: draw; without, the pages are text and tables.
        png: write every plot as PNG as well.
    """

    def make(pictures: Sequence[Picture]) -> Page:
        return run_page(run, run.read("results"), pictures)

    def draw() -> list[Picture]:
        from trialbook.reports.plots.run_plots import run_plots

        return run_plots(RunData(run), png=png)

    return write_pages(run.path, "report", make, draw if plots else None)


def write_experiment_pages(
    comparison: Comparison, runs: Mapping[str, Sequence[RunDirectory]], folder: Path, profile: str | None = None, *,
    plots: bool = True, png: bool = False,
) -> Written:  # fmt: skip
    """Write ``report.md``, ``report.html`` and ``plots/`` of an experiment; those of a profile have its name.

    Args:
        comparison: of its runs.
        runs: arm to the directories of the runs that the comparison is made of.
        folder: of the experiment.
        profile: under which its file was run.
        plots, png: as for a run.
    """
    from trialbook.reports.pages.experiment_page import experiment_page
    from trialbook.reports.plots.arms import Arms

    arms = Arms(comparison, {arm: [RunData(run) for run in runs[arm]] for arm in comparison.arms if runs.get(arm)})

    def draw() -> list[Picture]:
        from trialbook.reports.plots.arm_curves import curve_plots
        from trialbook.reports.plots.arm_metrics import figure_plots
        from trialbook.reports.plots.declared import arms_declared

        return [*figure_plots(arms, png=png), *arms_declared(arms, png=png), *curve_plots(arms, png=png)]

    name = f"report.{profile}" if profile else "report"
    return write_pages(folder, name, lambda pictures: experiment_page(arms, pictures, profile), draw if plots else None)


def write_pages(
    folder: Path, name: str, make: Callable[[Sequence[Picture]], Page], draw: Callable[[], list[Picture]] | None
) -> Written:
    """Draw, make the page, write it in both formats; whatever raises becomes a problem."""
    problems: list[str] = []
    pictures: list[Picture] = []
    try:
        pictures = draw() if draw else []
    except Exception as error:  # what no single plot could catch: matplotlib cannot be imported, an array file is torn
        pictures = [Picture("plots", "All plots", "", error=f"{type(error).__name__}: {error}", fault=True)]
    problems += [f"plot '{one.title}' could not be drawn: {one.error}" for one in pictures if one.fault]
    try:
        page = make(pictures)
        drawn = _write_plots(folder / page.plots, pictures)
        pages = [folder / f"{name}.md", folder / f"{name}.html"]
        write_whole(pages[0], to_markdown(page))
        write_whole(pages[1], to_html(page))
    except Exception as error:
        return Written(
            (), (*problems, f"{folder / name}: the page could not be written: {type(error).__name__}: {error}")
        )
    return Written((*pages, *drawn), tuple(problems))


def _write_plots(folder: Path, pictures: Sequence[Picture]) -> list[Path]:
    """Each plot that was drawn as a file; they can be drawn again, so nothing waits for the disk."""
    found: list[Path] = []
    drawn = [one for one in pictures if one.svg]
    if drawn:
        from trialbook.reports.plots.canvas import standalone

        folder.mkdir(exist_ok=True)
    for one in drawn:
        found.append(folder / f"{one.name}.svg")
        found[-1].write_text(standalone(one.svg, one.alt), encoding="utf-8")
        if one.png:
            found.append(folder / f"{one.name}.png")
            found[-1].write_bytes(one.png)
    return found
