"""The Matryoshka curve: a metric of embeddings cut to their first numbers, over how many are left."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from trialbook.analysis.statistics import t_interval
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
from trialbook.reports.plots.layout import Layout, Member
from trialbook.reports.plots.plot import Undrawable

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_NAME = re.compile(r"(.+)/d(\d+)")
#: Part of a name that tells the share that is kept of the widest size's metric.
KEPT = "/kept"

#: Size to the values over seeds.
Curve = Mapping[int, Sequence[float]]


def is_cut(name: str) -> bool:
    """Return whether a metric is one of cut embeddings."""
    return _NAME.fullmatch(name) is not None


def find_sizes(names: Iterable[str]) -> dict[str, dict[int, str]]:
    """Stem to size to name, of metrics named ``<stem>/d<size>`` that were measured at two sizes or more."""
    found: dict[str, dict[int, str]] = {}
    for name in names:
        if match := _NAME.fullmatch(name):
            found.setdefault(match[1], {})[int(match[2])] = name
    return {stem: dict(sorted(sizes.items())) for stem, sizes in found.items() if len(sizes) > 1}


def draw_sizes(layout: Layout, panels: Mapping[str, Mapping[str, Curve]], *, png: bool = False) -> tuple[str, bytes]:
    """One above the other, for each metric the curves of all arms, with intervals; sizes on a logarithmic axis.

    Args:
        layout: colours of arms.
        panels: label of the vertical axis to arm to its curve.
    Raises:
        Undrawable: there is no finite value to draw.
    """
    values = [v for curves in panels.values() for curve in curves.values() for own in curve.values() for v in own]
    if not any(map(math.isfinite, values)):
        raise Undrawable("there is no finite value at any size")
    members = [member for panel in layout.panels for member in panel.members if member.colour >= 0]
    several = len(layout.panels) > 1
    names = [_name(member, layout) for member in members] if len(members) > 1 else []
    frame = Frame([1.45] * len(panels), names=names, share="x", down=0.22)
    sizes = sorted({size for curves in panels.values() for curve in curves.values() for size in curve})

    def paint(figure: Figure) -> None:
        from matplotlib.ticker import FixedLocator, NullLocator

        every = frame.axes(figure, len(panels))
        for axes, (label, curves) in zip(every, panels.items(), strict=True):
            handles = [
                _curve(axes, index if several else m.colour, curves.get(m.arm, {})) for index, m in enumerate(members)
            ]
            axes.set_ylabel(clipped(label, 24))
            grid_lines(axes)
        every[0].set_xscale("log", base=2)
        every[0].xaxis.set_major_locator(FixedLocator(sizes[:: math.ceil(len(sizes) / 9)]))
        every[0].xaxis.set_minor_locator(NullLocator())
        for axes in every:
            axes.xaxis.set_major_formatter(lambda size, _: f"{size:g}")
        axis_label(figure, frame, "dimensions kept", "bottom")
        add_legend(figure, frame, handles)

    return draw(frame, paint, png=png)


def _name(member: Member, layout: Layout) -> str:
    return member.arm if len(layout.panels) > 1 else member.name


def _curve(axes: Axes, number: int, curve: Curve) -> Artist:
    colour, marker = PALETTE[number % len(PALETTE)], MARKERS[number % len(MARKERS)]
    style = "-" if number < len(PALETTE) else "--"
    means, lows, highs, sizes = [], [], [], []
    for size, own in curve.items():
        if finite := [value for value in own if math.isfinite(value)]:
            estimate = t_interval(finite)
            sizes.append(size)
            means.append(estimate.mean)
            lows.append(estimate.mean if estimate.low is None else estimate.low)
            highs.append(estimate.mean if estimate.high is None else estimate.high)
    (line,) = axes.plot(sizes, means, color=colour, marker=marker, linestyle=style, markersize=3.6)
    for size, low, high in zip(sizes, lows, highs, strict=True):
        axes.plot(
            [size, size], [low, high], color=colour, linewidth=1, alpha=0.7, marker="_", markersize=4, mec=INK, mew=0
        )
    return line
