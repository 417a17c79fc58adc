"""Metrics along places, such as the layers of a model: curves with intervals between their ceiling and their floor."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from trialbook.reports.plots.canvas import (
    INK,
    MARKERS,
    PALETTE,
    WIDTH,
    Frame,
    add_legend,
    axis_label,
    clipped,
    draw,
    grid_lines,
)
from trialbook.reports.plots.plot import Undrawable
from trialbook.reports.plots.tick_labels import Ticks

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    Values = NDArray[np.float64]

#: Up to so many places, intervals are strokes at the points; above, a band.
_FEW = 12
_LEFT, _RIGHT, _ACROSS = 0.5, 0.1, 0.42


@dataclass(frozen=True)
class Track:
    """The curve of an arm.

    Args:
        name: in the legend; colour: number of colour and marker.
        values: at each place [P], NaN where there is none.
        low, high: ends of the interval [P].
        singles: of each seed [S, P].
        chosen: place that is marked; -1 for none.
    """

    name: str
    colour: int
    values: Values
    low: Values
    high: Values
    singles: Values
    chosen: int = -1


@dataclass(frozen=True)
class Strip:
    """A panel: one metric along its places.

    Args:
        title: above it.
        places: names of the places.
        tracks: the curves.
        ceiling, floor: ends of the bands [P].
        baselines: name of a reference to its values [P], one line for each different one.
        lower: the metric is better when lower, so that the ceiling lies below.
    """

    title: str
    places: Sequence[str]
    tracks: Sequence[Track]
    ceiling: Values
    floor: Values
    baselines: Sequence[tuple[str, Values]] = field(default_factory=tuple)
    lower: bool = False

    @property
    def has_values(self) -> bool:
        """True if a curve has a finite value."""
        return any(np.isfinite(track.values).any() for track in self.tracks)


def draw_profiles(
    strips: Sequence[Strip], axis: str, legend: dict[str, str], *, side_by_side: bool = False, png: bool = False
) -> tuple[str, bytes]:
    """Panels below one another over one horizontal axis; or two in a row, with places of their own and one vertical scale.

    Args:
        strips: the panels.
        axis: what the places are.
        legend: what ceiling, baseline and floor are called, for those that there are.
        side_by_side: one metric of several arms, rather than several metrics.
        png: also as pixels.
    Raises:
        Undrawable: there is no finite value to draw.
    """
    strips = [strip for strip in strips if strip.has_values]
    if not strips:
        raise Undrawable("no value was recorded at any place")
    columns = 2 if side_by_side and len(strips) > 1 else 1
    room = (WIDTH - _LEFT - _RIGHT - _ACROSS * (columns - 1)) / columns
    ticks = [Ticks(strip.places, room) for strip in strips]
    depth = max(one.depth for one in ticks)
    entries = _entries(strips, legend)
    frame = Frame(
        [1.25 if columns == 1 else 1.1] * math.ceil(len(strips) / columns),
        columns,
        names=[name for name, _ in entries],
        left=_LEFT,
        right=_RIGHT,
        top=0.26,
        bottom=depth + 0.24,
        across=_ACROSS,
        down=0.3 + (depth if side_by_side else 0.0),
        share="none" if side_by_side else "x",
    )

    limits = _limits(strips) if side_by_side else None

    def paint(figure: Figure) -> None:
        for axes, strip, own in zip(frame.axes(figure, len(strips)), strips, ticks, strict=True):
            axes.set_title(clipped(strip.title, 28 if columns > 1 else 60), fontsize=8, fontweight="normal", pad=4)
            _paint(axes, strip, limits or _limits([strip]))
            axes.set_xlim(-0.5, len(strip.places) - 0.5)
            axes.set_xticks(*own.shown, rotation=90 if own.turned else 0)
            grid_lines(axes)
        axis_label(figure, frame, axis, "bottom")
        add_legend(figure, frame, [handle for _, handle in entries])

    return draw(frame, paint, png=png)


def _paint(axes: Axes, strip: Strip, limits: tuple[float, float]) -> None:
    bottom, top = limits
    axes.set_ylim(bottom, top)
    for values, lower, look in ((strip.ceiling, strip.lower, _CEILING), (strip.floor, not strip.lower, _FLOOR)):
        if np.isfinite(values).any():
            x, y = _widened(values)
            axes.fill_between(x, y, bottom if lower else top, **look)
            axes.plot(x, y, color=INK, linewidth=0.7, alpha=0.55)
    for _, values in strip.baselines:
        axes.plot(*_widened(values), color=INK, linewidth=1.0, alpha=0.8, linestyle=(0, (4, 2)))
    for index, track in enumerate(strip.tracks):
        _track(axes, track, (index - (len(strip.tracks) - 1) / 2) * min(0.14, 0.5 / len(strip.tracks)))


_CEILING: dict[str, Any] = {"color": INK, "alpha": 0.16, "linewidth": 0}
_FLOOR: dict[str, Any] = {"facecolor": "none", "edgecolor": INK, "alpha": 0.45, "linewidth": 0, "hatch": "/////"}


def _track(axes: Axes, track: Track, aside: float) -> None:
    colour = INK if track.colour < 0 else PALETTE[track.colour % len(PALETTE)]
    few = len(track.values) <= _FEW
    x = np.arange(len(track.values)) + (aside if few else 0.0)
    ranged = np.isfinite(track.low) & np.isfinite(track.high)
    if few:
        axes.vlines(x[ranged], track.low[ranged], track.high[ranged], color=colour, linewidth=1.1, alpha=0.8)
    elif ranged.any():
        axes.fill_between(x, track.low, track.high, color=colour, alpha=0.22, linewidth=0)
    if len(track.singles) > 1:
        for own in track.singles:
            axes.plot(x, own, "o", color=colour, markersize=1.8, alpha=0.5, markeredgewidth=0)
    marker = MARKERS[max(track.colour, 0) % len(MARKERS)]
    axes.plot(x, track.values, color=colour, marker=marker, markersize=3.4 if few else 2.2, linewidth=1.3)
    if 0 <= track.chosen < len(x):
        axes.plot(
            x[track.chosen], track.values[track.chosen], "o", markersize=9, markerfacecolor="none", markeredgecolor=INK,
            markeredgewidth=1.0,
        )  # fmt: skip


def _limits(strips: Sequence[Strip]) -> tuple[float, float]:
    """Of all that is drawn, with room for the bands."""
    drawn = [part for strip in strips for part in (strip.ceiling, strip.floor, *(v for _, v in strip.baselines))]
    drawn += [
        part
        for strip in strips
        for track in strip.tracks
        for part in (track.values, track.low, track.high, track.singles.ravel())
    ]
    values = np.concatenate(drawn)
    values = values[np.isfinite(values)]
    low, high = float(values.min()), float(values.max())
    span = (high - low) or abs(high) or 1.0
    return low - 0.09 * span, high + 0.09 * span


def _widened(values: Values) -> tuple[Values, Values]:
    """A line over the whole axis: its ends continue level."""
    x = np.concatenate([[-0.5], np.arange(len(values)), [len(values) - 0.5]])
    return x, np.concatenate([values[:1], values, values[-1:]])


def _entries(strips: Sequence[Strip], legend: dict[str, str]) -> list[tuple[str, Artist]]:
    """Names of the legend and their handles."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    tracks = {track.name: track for strip in strips for track in strip.tracks}
    found: list[tuple[str, Artist]] = []
    for name, track in tracks.items():
        colour = INK if track.colour < 0 else PALETTE[track.colour % len(PALETTE)]
        marker = MARKERS[max(track.colour, 0) % len(MARKERS)]
        found.append((name, Line2D([], [], color=colour, marker=marker, markersize=3.4, linewidth=1.3)))
    if "ceiling" in legend:
        found.append((legend["ceiling"], Patch(**_CEILING)))
    if "baseline" in legend:
        found.append((legend["baseline"], Line2D([], [], color=INK, alpha=0.8, linewidth=1.0, linestyle=(0, (4, 2)))))
    if "floor" in legend:
        found.append((legend["floor"], Patch(**_FLOOR)))
    if any(track.chosen >= 0 for track in tracks.values()):
        ring = Line2D([], [], linestyle="none", marker="o", markersize=6, markerfacecolor="none", markeredgecolor=INK)
        found.append(("chosen", ring))
    return found
