"""Maps of pairs: a cell of colour for each row and column, panels with one scale."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from trialbook.reports.plots.canvas import INK, WIDTH, Frame, axis_label, clipped, draw, tick_text
from trialbook.reports.plots.plot import Undrawable
from trialbook.reports.plots.tick_labels import Ticks
from trialbook.reports.tables import show_number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap, Normalize
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

#: Smallest cell, in inches, that holds its number; cells of maps that are few and many.
_NUMBER = (0.27, 0.15)
_HEIGHTS, _TALLEST = (0.085, 0.26), 3.4
#: Room above for the scale of colours.
_SCALE = 0.36
_COLOURS = "viridis"


@dataclass(frozen=True)
class Cells:
    """A panel.

    Args:
        title: above it.
        values: [R, C], NaN where there is none.
        rows, columns: names.
        doubtful: cells that say nothing [R, C].
        chosen: row and column of the cell that is marked.
    """

    title: str
    values: NDArray[np.float64]
    rows: Sequence[str]
    columns: Sequence[str]
    doubtful: NDArray[np.bool_]
    chosen: tuple[int, int] | None = None


def draw_heat_maps(
    panels: Sequence[Cells], label: str, axes_names: tuple[str, str], least: float | None, *, png: bool = False
) -> tuple[str, bytes]:
    """Panels side by side where there is room for their numbers, else below one another.

    Args:
        panels: the maps.
        label: of the scale of colours.
        axes_names: what rows and columns are.
        least: lowest end of the scale; the smallest value if None.
        png: also as pixels.
    Raises:
        Undrawable: there is no finite value to draw.
    """
    panels = [panel for panel in panels if np.isfinite(panel.values).any()]
    if not panels:
        raise Undrawable("no value was recorded for any pair")
    most = max(len(panel.rows) for panel in panels)
    height = max(min(_HEIGHTS[1] * most, _TALLEST / math.sqrt(len(panels))), _HEIGHTS[0] * most, 0.3)
    sides = [Ticks(panel.rows, height, across=True) for panel in panels]
    left, across = max(one.depth for one in sides) + 0.2, max(one.depth for one in sides) + 0.12
    narrowest = _NUMBER[0] * max(len(panel.columns) for panel in panels)
    columns = 2 if len(panels) > 1 and (WIDTH - left - 0.1 - across) / 2 >= max(narrowest, 0.8) else 1
    room = (WIDTH - left - 0.1 - across * (columns - 1)) / columns
    below = [Ticks(panel.columns, room) for panel in panels]
    depth = max(one.depth for one in below)
    frame = Frame(
        [height] * math.ceil(len(panels) / columns), columns, left=left, top=_SCALE + 0.2 * (len(panels) > 1),
        bottom=depth + 0.24, across=across, down=0.24 + depth,
    )  # fmt: skip

    def paint(figure: Figure) -> None:
        import matplotlib
        from matplotlib.colors import Normalize

        finite = np.concatenate([panel.values[np.isfinite(panel.values)] for panel in panels])
        low = float(finite.min()) if least is None else least
        scale, colours = (
            Normalize(low, max(float(finite.max()), low + 1e-12), clip=True),
            matplotlib.colormaps[_COLOURS],
        )
        for axes, panel, side, foot in zip(frame.axes(figure, len(panels)), panels, sides, below, strict=True):
            axes.set_title(clipped(panel.title, 26 if columns > 1 else 60), fontsize=8, fontweight="normal", pad=4)
            _paint(axes, panel, scale, colours, (room, height))
            axes.set_xticks(*foot.shown, rotation=90 if foot.turned else 0)
            axes.set_yticks(*side.shown)
            axes.tick_params(length=0, pad=3, labelleft=True, labelbottom=True)
        _scale(figure, frame, scale, colours, label, clipped_low=float(finite.min()) < low)
        axis_label(figure, frame, axes_names[0], "left")
        axis_label(figure, frame, axes_names[1], "bottom")

    return draw(frame, paint, png=png)


def _paint(axes: Axes, panel: Cells, scale: Normalize, colours: Colormap, size: tuple[float, float]) -> None:
    rows, columns = panel.values.shape
    pixels = colours(scale(np.nan_to_num(panel.values)))
    pixels[~np.isfinite(panel.values)] = (0.5, 0.5, 0.5, 0.25)
    axes.imshow(pixels, interpolation="none", aspect="auto", extent=(-0.5, columns - 0.5, rows - 0.5, -0.5))
    for spine in axes.spines.values():
        spine.set_visible(False)
    cell = (size[0] / columns, size[1] / rows)
    bright = pixels[..., :3] @ np.array([0.299, 0.587, 0.114]) > 0.5
    written = cell[0] >= _NUMBER[0] and cell[1] >= _NUMBER[1]
    corner = tuple(min(0.085 / inches, 0.35) for inches in cell)
    for row, column in np.ndindex(rows, columns):
        ink = "#000000" if bright[row, column] else "#ffffff"
        if written and np.isfinite(panel.values[row, column]):
            axes.text(
                column,
                row,
                _number(float(panel.values[row, column])),
                ha="center",
                va="center",
                fontsize=6.5,
                color=ink,
            )
        if panel.doubtful[row, column]:
            right, top = column + 0.5, row - 0.5
            axes.fill([right - corner[0], right, right], [top, top, top + corner[1]], color=ink, linewidth=0)
    if panel.chosen is not None:
        row, column = panel.chosen
        edge: dict[str, Any] = {"fill": False, "clip_on": False}
        from matplotlib.patches import Rectangle

        axes.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, edgecolor="#ffffff", linewidth=2.6, **edge))
        axes.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, edgecolor="#d1600a", linewidth=1.5, **edge))


def _scale(figure: Figure, frame: Frame, scale: Normalize, colours: Colormap, label: str, *, clipped_low: bool) -> None:
    """The scale of colours above the panels, with its ends."""
    long, high = 1.1, 0.085
    x, y = WIDTH - 0.1 - long, frame.height - 0.14
    axes = figure.add_axes((x / WIDTH, y / frame.height, long / WIDTH, high / frame.height))
    axes.imshow(colours(np.linspace(0, 1, 64))[None], aspect="auto", interpolation="none", extent=(0, 1, 0, 1))
    axes.set_yticks([])
    ends = (f"{'≤ ' if clipped_low else ''}{_end(scale.vmin)}", _end(scale.vmax))
    axes.set_xticks([0, 1], ends)
    axes.tick_params(axis="x", length=0, pad=2, labelsize=7)
    for spine in axes.spines.values():
        spine.set_visible(False)
    place = (x - 0.08) / WIDTH, (y + high / 2) / frame.height
    figure.text(*place, clipped(label, 36), ha="right", va="center", color=INK, fontsize=8)


def _number(value: float) -> str:
    """Two decimals where they say enough."""
    return (f"{value:.2f}" if abs(value) < 9.995 else show_number(value, 2)).replace("-", "−")


def _end(value: float | None) -> str:
    return tick_text(float(show_number(value or 0.0, 2)))
