"""Metrics of arms with their intervals: bars for few arms, points in rows for many."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trialbook.analysis.statistics import Estimate, t_interval
from trialbook.reports.plots.canvas import (
    INK,
    MARKERS,
    PALETTE,
    Frame,
    add_legend,
    axis_label,
    clipped,
    draw,
    grid_lines,
)
from trialbook.reports.plots.layout import Layout
from trialbook.reports.plots.plot import Undrawable
from trialbook.reports.tables import show_number

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Most bars that have their values written above them.
_FEW_BARS = 9


@dataclass(frozen=True)
class Series:
    """Bars of one colour: a name, and for each place on the axis the values over seeds (none where there are none)."""

    name: str
    colour: int
    values: Sequence[Sequence[float]]

    def estimates(self) -> list[Estimate | None]:
        """Mean and interval of each place; None where there is no finite value."""
        finite = [[value for value in own if math.isfinite(value)] for own in self.values]
        return [t_interval(own) if own else None for own in finite]


def draw_bars(
    label: str, places: Sequence[str], series: Sequence[Series], axis: str, *, png: bool = False
) -> tuple[str, bytes]:
    """Bars side by side at each place, with intervals, and a dot for each seed.

    Args:
        label: of the vertical axis.
        places: names along the horizontal axis.
        series: in the order of the bars.
        axis: what the places are.
    Raises:
        Undrawable: there is no finite value to draw.
    """
    estimates = [one.estimates() for one in series]
    tops = [e.high if e.high is not None else e.mean for own in estimates for e in own if e]
    if not tops:
        raise Undrawable(f"{label} has no finite value")
    frame = Frame([1.9], names=[one.name for one in series] if len(series) > 1 else [])
    width = 0.8 / len(series)

    def paint(figure: Figure) -> None:
        (axes,) = frame.axes(figure, 1)
        handles: list[Artist] = []
        for index, (one, own) in enumerate(zip(series, estimates, strict=True)):
            offset = (index - (len(series) - 1) / 2) * width
            handles.append(_bars(axes, one, own, offset, width * 0.9))
        if len(places) * len(series) <= _FEW_BARS:
            _write_values(axes, estimates, width)
        axes.set_xticks(range(len(places)), [clipped(place, 16) for place in places])
        axes.tick_params(axis="x", length=0)
        axes.set_ylim(min(0.0, axes.get_ylim()[0]), max(tops) * 1.12 if max(tops) > 0 else None)
        axis_label(figure, frame, label, "left")
        axis_label(figure, frame, axis, "bottom")
        grid_lines(axes)
        add_legend(figure, frame, handles)

    return draw(frame, paint, png=png)


def _bars(axes: Axes, one: Series, estimates: Sequence[Estimate | None], offset: float, width: float) -> Artist:
    from matplotlib.patches import Rectangle

    colour = PALETTE[one.colour % len(PALETTE)]
    shown = [(place + offset, estimate) for place, estimate in enumerate(estimates) if estimate]
    drawn = axes.bar([x for x, _ in shown], [e.mean for _, e in shown], width, color=colour, alpha=0.85)
    ranged = [(x, e.mean, e.low, e.high) for x, e in shown if e.low is not None and e.high is not None]
    if ranged:
        x, mean, low, high = zip(*ranged, strict=True)
        gaps = ([m - max(0.0, b) if m >= 0 else m - b for m, b in zip(mean, low, strict=True)],
                [t - m for m, t in zip(mean, high, strict=True)])  # fmt: skip
        axes.errorbar(x, mean, yerr=gaps, fmt="none", ecolor=INK, elinewidth=1, alpha=0.8)
    dots = [
        (place + offset, v)
        for place, own in enumerate(one.values)
        if 1 < len(own) <= 10
        for v in own
        if math.isfinite(v)
    ]
    if dots:
        axes.plot(
            [x for x, _ in dots], [y for _, y in dots], "o", color=INK, markersize=2, alpha=0.45, markeredgewidth=0
        )
    return drawn.patches[0] if drawn.patches else Rectangle((0, 0), 1, 1, color=colour)


def _write_values(axes: Axes, estimates: Sequence[Sequence[Estimate | None]], width: float) -> None:
    for index, own in enumerate(estimates):
        for place, estimate in enumerate(own):
            if estimate:
                x = place + (index - (len(estimates) - 1) / 2) * width
                top = estimate.mean if estimate.high is None else max(estimate.high, estimate.mean)
                axes.annotate(
                    show_number(estimate.mean, 3), (x, max(top, 0)), (0, 2), textcoords="offset points", ha="center",
                    fontsize=7.5,
                )  # fmt: skip


def draw_points(
    layout: Layout, label: str, values: Mapping[str, Sequence[float]], *, png: bool = False
) -> tuple[str, bytes]:
    """A row for each panel of the layout, its arms as points of their own colour and marker, with intervals.

    Raises:
        Undrawable: there is no finite value to draw.
    """
    names = {name: Series(name, colour, []) for name, colour in layout.names.items() if colour >= 0}
    estimates = {arm: Series("", 0, [values.get(arm, ())]).estimates()[0] for arm in layout.arms}
    if not any(estimates.values()):
        raise Undrawable(f"{label} has no finite value")
    panels = [panel for panel in layout.panels if any(estimates[member.arm] for member in panel.members)]
    frame = Frame([0.36 * len(panels) + 0.1], names=list(names), left=0.12)

    def paint(figure: Figure) -> None:
        from matplotlib.lines import Line2D

        (axes,) = frame.axes(figure, 1)
        for row, panel in enumerate(panels):
            axes.text(
                0, 0.3 - row, clipped(panel.title, 52), transform=axes.get_yaxis_transform(), fontsize=7.5, va="center"
            )
            for member in panel.members:
                if estimate := estimates[member.arm]:
                    _point(axes, estimate, -row - 0.12 - 0.08 * (member.colour % 3), member.colour)
        axes.set_ylim(-len(panels) + 0.45, 0.55)
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
        grid_lines(axes, "x")
        axis_label(figure, frame, label, "bottom")
        add_legend(figure, frame, [
            Line2D([], [], color=PALETTE[one.colour % len(PALETTE)], marker=MARKERS[one.colour % len(MARKERS)], linestyle="none")
            for one in names.values()
        ])  # fmt: skip

    return draw(frame, paint, png=png)


def _point(axes: Axes, estimate: Estimate, y: float, colour: int) -> None:
    shade = INK if colour < 0 else PALETTE[colour % len(PALETTE)]
    if estimate.low is not None and estimate.high is not None:
        axes.plot([estimate.low, estimate.high], [y, y], color=shade, linewidth=1.1, alpha=0.8)
    axes.plot([estimate.mean], [y], color=shade, marker=MARKERS[colour % len(MARKERS)], alpha=0.5 if colour < 0 else 1)
