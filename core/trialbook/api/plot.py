"""Plots of recorded runs, as our pages draw them."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trialbook.api.display import Displayed
from trialbook.errors import TrialbookError, suggest

if TYPE_CHECKING:
    from trialbook.api.run import Run
    from trialbook.reports.document.blocks import Block, Picture
    from trialbook.reports.plots.plot import Drawn
    from trialbook.reports.plots.run_data import RunData

#: Held while a plot is drawn: matplotlib's settings are those of the process.
_DRAWING = threading.Lock()


@dataclass(frozen=True, repr=False)
class Plot(Displayed):
    """A plot.

    Args:
        title: in a few words.
        svg: the picture; its ink has the colour of the text around it.
        caption: what is drawn and how to read it.
        alt: what a reader who does not see it should know.
    """

    title: str
    svg: str
    caption: str
    alt: str
    _picture: Picture

    def text(self) -> str:
        """Return what a reader who does not see it should know."""
        return self.alt

    def blocks(self) -> Sequence[Block]:
        """The picture with its caption."""
        from trialbook.reports.document.blocks import Gallery

        return [Gallery([self._picture])]


def plot_curves(runs: Sequence[Run], metric: str) -> Plot:
    """A metric of some runs over steps, a line for each.

    Raises:
        TrialbookError: none of the runs recorded it, or it cannot be drawn.
    """
    from trialbook.reports.plots.plot import picture
    from trialbook.reports.plots.run_data import RunData

    data = {label: RunData(run.directory) for label, run in zip(_labels(runs), runs, strict=True)}
    recorded = dict.fromkeys(name for run in data.values() for name in run.curves)
    if metric not in recorded:
        hint = suggest(metric, recorded)
        raise TrialbookError(f"no run recorded '{metric}'" + (f"; did you mean '{hint}'?" if hint else ""))
    (drawn,) = picture("curves", metric, lambda: _draw(data, metric))
    if drawn.error:
        raise TrialbookError(f"'{metric}' cannot be drawn: {drawn.error}")
    return Plot(metric, drawn.svg, drawn.caption, drawn.alt, drawn)


def _draw(data: dict[str, RunData], metric: str) -> Drawn:
    from trialbook.reports.plots.curves import Lines, draw_curves
    from trialbook.reports.plots.layout import Arm, make_layout
    from trialbook.reports.plots.plot import Drawn, told_chance, told_ends

    curves = {label: [run.curves[metric]] for label, run in data.items() if metric in run.curves}
    chance = {label: level for label, run in data.items() if (level := run.chance(metric)) is not None}
    layout = make_layout([Arm(label, label, {}) for label in data])
    with _DRAWING:
        image = draw_curves(layout, Lines(metric, curves, chance, wide="loss" in metric))
    ends = told_ends({label: own[0] for label, own in curves.items()})
    return Drawn(image, f"{ends}.{told_chance(chance.values())}", f"{metric} over steps: {ends}.")


def _labels(runs: Sequence[Run]) -> list[str]:
    """Arm and seed of each run; its whole name where others have the same."""
    short = [f"{run.arm}, seed {run.seed}" for run in runs]
    count = Counter(short)
    return [
        label if count[label] == 1 else f"{run.experiment}/{run.name}" for label, run in zip(short, runs, strict=True)
    ]
