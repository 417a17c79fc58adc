"""Differences and effects as a forest plot: a row each, its interval, and whether it leaves zero out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trialbook.analysis.statistics import Estimate
from trialbook.reports.plots.canvas import INK, PALETTE, Frame, axis_label, clipped, draw, grid_lines
from trialbook.reports.plots.plot import Undrawable
from trialbook.reports.tables import show_number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Colours of what was decided one way, the other way, and not.
_TONES = {"good": PALETTE[0], "bad": PALETTE[1], "open": INK}


@dataclass(frozen=True)
class ForestRow:
    """A line of the plot.

    Args:
        label: what it is about.
        estimate: None makes a heading of the label.
        tone: ``good``, ``bad`` or ``open`` (not decided).
        mark: a value to be held against, where there is one.
    """

    label: str
    estimate: Estimate | None = None
    tone: str = "open"
    mark: float | None = None


def draw_forest(axis: str, rows: Sequence[ForestRow], *, png: bool = False) -> tuple[str, bytes]:
    """The rows from above, each around a stroke at zero.

    Args:
        axis: label of the horizontal axis.
    Raises:
        Undrawable: there is no finite estimate to draw.
    """
    rows = [row for row in rows if row.estimate is None or math.isfinite(row.estimate.mean)]
    if not any(row.estimate for row in rows):
        raise Undrawable("there is no finite estimate")
    heights = [0.36 if row.estimate else 0.26 for row in rows]
    frame = Frame([sum(heights)], left=0.12)

    def paint(figure: Figure) -> None:
        (axes,) = frame.axes(figure, 1)
        at = 0.0
        for row, height in zip(rows, heights, strict=True):
            _row(axes, row, at)
            at -= height
        axes.set_ylim(at, 0)
        axes.margins(x=0.04)
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
        grid_lines(axes, "x")
        axis_label(figure, frame, axis, "bottom")

    return draw(frame, paint, png=png)


def _row(axes: Axes, row: ForestRow, top: float) -> None:
    place = axes.get_yaxis_transform()
    if row.estimate is None:
        axes.text(0, top - 0.15, clipped(row.label, 54), transform=place, fontsize=8, fontweight="bold", va="center")
        return
    colour, y = _TONES[row.tone], top - 0.26
    numbers = _numbers(row.estimate)
    axes.text(0, top - 0.1, clipped(row.label, 62 - len(numbers)), transform=place, fontsize=7.5, va="center")
    axes.text(1, top - 0.1, numbers, transform=place, fontsize=7.5, va="center", ha="right")
    axes.plot([0, 0], [y - 0.09, y + 0.09], color=INK, linewidth=1, alpha=0.7)  # zero: not through the letters between
    if row.estimate.low is not None and row.estimate.high is not None:
        axes.plot([row.estimate.low, row.estimate.high], [y, y], color=colour, linewidth=1.4)
    if row.mark is not None:
        axes.plot([row.mark], [y], marker="|", markersize=9, color=INK, markeredgewidth=1)
    filled = "none" if row.tone == "open" else colour
    axes.plot([row.estimate.mean], [y], marker="o", color=colour, markerfacecolor=filled, markersize=4.5)


def _numbers(estimate: Estimate) -> str:
    said = f"{'+' if estimate.mean > 0 else ''}{show_number(estimate.mean, 3)}"
    if estimate.low is not None and estimate.high is not None:
        said += f" [{show_number(estimate.low, 2)}, {show_number(estimate.high, 2)}]"
    return said.replace("-", "−")
