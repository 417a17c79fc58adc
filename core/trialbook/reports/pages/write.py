"""Writing pages and plots. A plot or a page that cannot be made is told of, and never hurts a run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from trialbook.contracts.files import write_whole
from trialbook.errors import TrialbookError
from trialbook.registry.run_directory import RunDirectory
from trialbook.registry.run_files import remove_old_leftovers
from trialbook.reports.document.blocks import Page, Picture
from trialbook.reports.document.format import PluginTemplates
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


@dataclass(frozen=True)
class PageOptions:
    """Options of the writing of pages.

    Args:
        plots: draw; without, the pages are text and tables.
        png: write every plot as PNG as well.
        templates: those of plugins.
    """

    plots: bool = True
    png: bool = False
    templates: PluginTemplates = field(default_factory=dict)


def write_run_pages(run: RunDirectory, options: PageOptions | None = None) -> Written:
    """Write ``report.md``, ``report.html`` and ``plots/`` of a run that has ended, however it ended.

    The caller holds the run's lock, or knows that nobody writes there.

    Args:
        run: its directory.
        options: how; by default with plots as SVG.
    """
    options = options or PageOptions()

    def make(pictures: Sequence[Picture]) -> Page:
        return run_page(run, run.read("results"), pictures)

    def draw() -> list[Picture]:
        from trialbook.reports.plots.run_plots import run_plots

        return run_plots(RunData(run), png=options.png)

    return write_pages(run.path, "report", None, make, draw, options)


def write_experiment_pages(
    comparison: Comparison, runs: Mapping[str, Sequence[RunDirectory]], folder: Path, profile: str | None = None,
    options: PageOptions | None = None,
) -> Written:  # fmt: skip
    """Write ``report.md``, ``report.html`` and ``plots/`` of an experiment; those of a profile have its name.

    Args:
        comparison: of its runs.
        runs: arm to the directories of the runs that the comparison is made of.
        folder: of the experiment.
        profile: under which its file was run.
        options: how; by default with plots as SVG.
    """
    from trialbook.reports.pages.experiment_page import experiment_page
    from trialbook.reports.plots.arms import Arms

    options = options or PageOptions()
    sound, damaged = _sound_runs(runs)
    arms = Arms(comparison, {arm: [RunData(run) for run in sound[arm]] for arm in comparison.arms if sound.get(arm)})

    def draw() -> list[Picture]:
        from trialbook.reports.plots.arm_curves import curve_plots
        from trialbook.reports.plots.arm_metrics import figure_plots
        from trialbook.reports.plots.declared import arms_declared

        png = options.png
        return [*figure_plots(arms, png=png), *arms_declared(arms, png=png), *curve_plots(arms, png=png)]

    def make(pictures: Sequence[Picture]) -> Page:
        return experiment_page(arms, pictures, profile)

    written = write_pages(folder, "report", profile, make, draw, options)
    return Written(written.files, (*damaged, *written.problems))


def _sound_runs(runs: Mapping[str, Sequence[RunDirectory]]) -> tuple[dict[str, list[RunDirectory]], list[str]]:
    """The runs of each arm whose files can be read, and a sentence on each of the others."""
    sound: dict[str, list[RunDirectory]] = {}
    damaged: list[str] = []
    for arm, own in runs.items():
        for run in own:
            if (damage := run.find_damage()) is None:
                sound.setdefault(arm, []).append(run)
            else:
                damaged.append(f"{run.path.name} is left out of the curves and tables of files: {damage}")
    return sound, damaged


def write_pages(
    folder: Path, name: str, profile: str | None, make: Callable[[Sequence[Picture]], Page],
    draw: Callable[[], list[Picture]], options: PageOptions,
) -> Written:  # fmt: skip
    """Draw, make the page, write it in both formats; whatever raises becomes a problem.

    Args:
        folder: of the pages.
        name: of the pages; that of the profile is added, as it is to ``plots``.
        make: makes the page, from its plots.
        draw: draws them.
        options: whether it is drawn at all; templates.
    """
    ending = f".{profile}" if profile else ""
    remove_old_leftovers(folder)
    problems: list[str] = []
    pictures: list[Picture] = []
    try:
        pictures = [replace(one, folder=f"plots{ending}") for one in draw()] if options.plots else []
    except Exception as error:  # what no single plot could catch: matplotlib cannot be imported, an array file is torn
        pictures = [Picture("plots", "All plots", "", error=f"{type(error).__name__}: {error}", fault=True)]
    problems += [f"plot '{one.title}' could not be drawn: {one.error}" for one in pictures if one.fault]
    pages = [folder / f"{name}{ending}.md", folder / f"{name}{ending}.html"]
    try:
        page = make(pictures)
        drawn = _write_plots(folder / f"plots{ending}", pictures)
        write_whole(pages[0], to_markdown(page, options.templates))
        write_whole(pages[1], to_html(page, options.templates))
    except Exception as error:
        why = str(error) if isinstance(error, TrialbookError) else f"{type(error).__name__}: {error}"
        said = f"{pages[0].with_suffix('')}: the page could not be written: {why}"
        return Written((), (*problems, said))
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
