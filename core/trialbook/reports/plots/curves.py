"""Curves over steps: a line for the mean over seeds, a band for their spread, panels side by side where arms are many."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from trialbook.reports.plots.canvas import (
    INK,
    PALETTE,
    Frame,
    add_legend,
    axis_label,
    clipped,
    draw,
    grid_lines,
    tick_text,
)
from trialbook.reports.plots.layout import Layout, Member
from trialbook.reports.plots.plot import Undrawable
from trialbook.reports.plots.run_data import Curve

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

#: Most points of a line; longer ones are averaged in bins.
MOST_POINTS = 300
#: Most seeds of which each is drawn by itself, too.
FEW_SEEDS = 5
#: Above this ratio of the largest to the smallest value the axis is logarithmic.
_WIDE = 200


@dataclass(frozen=True)
class Bundle:
    """The runs of an arm as one curve: steps, mean, lowest and highest [T], and the single ones [seeds, T]."""

    steps: NDArray[np.float64]
    singles: NDArray[np.float64]

    @property
    def mean(self) -> NDArray[np.float64]:
        """Mean over seeds [T]; NaN where one of them is."""
        found: NDArray[np.float64] = self.singles.mean(axis=0)
        return found


def bundle(curves: Sequence[Curve]) -> Bundle | None:
    """Curves at the steps that all of them have, averaged in bins where they are long; None where there is no such step."""
    shared = set(curves[0][0]).intersection(*(steps for steps, _ in curves[1:])) if curves else set()
    if not shared:
        return None
    steps = np.array(sorted(shared), float)
    values = np.array([[dict(zip(*curve, strict=True))[step] for step in sorted(shared)] for curve in curves], float)
    values[~np.isfinite(values)] = np.nan
    size = math.ceil(len(steps) / MOST_POINTS)
    if size > 1:
        starts = np.arange(0, len(steps), size)
        counts = np.diff([*starts, len(steps)])
        steps = np.add.reduceat(steps, starts) / counts
        values = np.add.reduceat(values, starts, axis=1) / counts
    return Bundle(steps, values)


@dataclass(frozen=True)
class Lines:
    """The content of a plot of curves.

    Args:
        label: of the vertical axis.
        arms: arm to its runs.
        chance: arm to the level of what knows nothing, to draw as a dashed line.
        wide: let the axis be logarithmic where values differ by orders of magnitude.
    """

    label: str
    arms: Mapping[str, Sequence[Curve]]
    chance: Mapping[str, float] = field(default_factory=dict)
    wide: bool = False


def draw_curves(layout: Layout, lines: Lines, below: Lines | None = None, *, png: bool = False) -> tuple[str, bytes]:
    """A panel for each of the layout's, sharing their axes; ``below`` stands under a single panel, in a lower one.

    Raises:
        Undrawable: there is no finite value to draw.
    """
    bundles = {arm: made for arm in layout.arms if (made := bundle(lines.arms.get(arm, ())))}
    if not any(np.isfinite(one.singles).any() for one in bundles.values()):
        raise Undrawable(f"{lines.label} has no finite value")
    names = list(layout.names) if len(layout.names) > 1 else []
    count = len(layout.panels)
    if count == 1:
        frame = Frame([1.95, 0.55] if below else [2.1], names=names, share="x", down=0.3)
    else:
        frame = Frame([0.95] * math.ceil(count / 2), 2, names=names, share="all", top=0.24)

    def paint(figure: Figure) -> None:
        axes = frame.axes(figure, count + (1 if below and count == 1 else 0))
        for panel, place in zip(layout.panels, axes, strict=False):
            place.set_title(clipped(panel.title, 28), fontsize=8, fontweight="normal", pad=4)
            drawn: list[Bundle] = []
            for member in panel.members:
                if member.arm in bundles:
                    drawn.append(bundles[member.arm])
                    _line(place, member, drawn[-1], few=len(layout.arms) <= 4, again=_is_same(drawn))
            _chance(
                place, [(member, lines.chance[member.arm]) for member in panel.members if member.arm in lines.chance]
            )
            _dress(place, wide=lines.wide)
        if below and count == 1:
            _lower(axes[1], layout, below)
        axis_label(figure, frame, lines.label, "left")
        axis_label(figure, frame, "optimiser steps", "bottom")
        add_legend(figure, frame, _handles(layout))

    return draw(frame, paint, png=png)


def _is_same(drawn: Sequence[Bundle]) -> bool:
    """Return whether the last one lies on one before it; dashes then let that be seen."""
    return any(np.array_equal(drawn[-1].mean, other.mean) for other in drawn[:-1])


def _line(axes: Axes, member: Member, one: Bundle, *, few: bool, again: bool) -> None:
    colour, behind = (INK, 0.5) if member.colour < 0 else (PALETTE[member.colour % len(PALETTE)], 1.0)
    seeds = len(one.singles)
    if seeds > 1:
        axes.fill_between(
            one.steps, one.singles.min(axis=0), one.singles.max(axis=0), color=colour, alpha=0.16, linewidth=0
        )
    if 1 < seeds <= FEW_SEEDS and few:
        for values in one.singles:
            axes.plot(one.steps, values, color=colour, alpha=0.4, linewidth=0.6)
    style = (0, (3, 3)) if again else "-" if member.colour < len(PALETTE) else "--"
    lonely = len(one.steps) < 3
    axes.plot(one.steps, one.mean, color=colour, alpha=behind, linestyle=style, marker="o" if lonely else None)


def _chance(axes: Axes, levels: Sequence[tuple[Member, float]]) -> None:
    """A dashed line where all share a level, else one for each in its own colour."""
    same = len({round(level, 6) for _, level in levels}) == 1
    for member, level in levels[:1] if same else levels:
        colour = INK if same or member.colour < 0 else PALETTE[member.colour % len(PALETTE)]
        axes.axhline(level, color=colour, linewidth=0.9, linestyle=(0, (4, 3)), alpha=0.8, label="_chance")
        place = axes.get_yaxis_transform()
        axes.text(
            0.995,
            level,
            f"chance {level:.3g}",
            transform=place,
            ha="right",
            va="bottom",
            fontsize=7,
            color=colour,
            alpha=0.8,
        )


def _dress(axes: Axes, *, wide: bool) -> None:
    grid_lines(axes)
    drawn = [y for line in axes.lines for y in np.asarray(line.get_ydata(), float) if math.isfinite(y)]
    if wide and drawn and min(drawn) > 0 and max(drawn) / min(drawn) > _WIDE:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(tick_text)
    axes.margins(x=0.02)


def _lower(axes: Axes, layout: Layout, lines: Lines) -> None:
    drawn: list[Bundle] = []
    for member in layout.panels[0].members:
        if made := bundle(lines.arms.get(member.arm, ())):
            drawn.append(made)
            style = (0, (3, 3)) if _is_same(drawn) else "-"
            axes.plot(
                made.steps, made.mean, color=PALETTE[member.colour % len(PALETTE)], linewidth=1.2, linestyle=style
            )
    grid_lines(axes)
    axes.set_title(lines.label, fontsize=7.5, fontweight="normal", pad=2)
    axes.set_ylim(bottom=0)


def _handles(layout: Layout) -> list[Artist]:
    from matplotlib.lines import Line2D

    return [
        Line2D([], [], color=INK if colour < 0 else PALETTE[colour % len(PALETTE)], alpha=0.5 if colour < 0 else 1)
        for colour in layout.names.values()
    ]
