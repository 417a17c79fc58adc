"""Declared maps of pairs: of one run, or of the arms of an experiment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from trialbook.contracts.plots import HeatMap, fill, look_up
from trialbook.reports.plots.heatmap import Cells, draw_heat_maps
from trialbook.reports.plots.layout import MOST_PANELS
from trialbook.reports.plots.plot import Drawn, Undrawable
from trialbook.reports.plots.run_data import RunData, Runs, mean_known
from trialbook.reports.tables import show_number

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Values = NDArray[np.float64]


def draw_map(runs: Runs, declared: Mapping[str, HeatMap], *, png: bool) -> Drawn | None:
    """A panel for each arm, in one scale of colours; None where nothing was recorded."""
    first = next(iter(declared.values()))
    made = (_cells(runs[arm], one, arm if len(declared) > 1 else "") for arm, one in declared.items())
    panels = [panel for panel in made if panel is not None and np.isfinite(panel.values).any()]
    if not panels:
        return None
    shown = panels[:MOST_PANELS]
    image = draw_heat_maps(shown, first.title, (first.row_axis, first.column_axis), first.least, png=png)
    mean = ", mean over seeds" if any(len(own) > 1 for own in runs.values()) else ""
    said = [f"Rows: {first.row_axis}; columns: {first.column_axis}{mean}."]
    if any(panel.doubtful.any() for panel in shown):
        said.append(f"A marked corner: not above '{first.null}', so not told apart from chance.")
    if any(panel.chosen for panel in shown):
        said.append("Framed: the chosen pair.")
    if len(panels) > len(shown):
        said.append(f"{len(panels) - len(shown)} more panels are left out.")
    return Drawn(image, " ".join(said), "; ".join(_told_map(panel) for panel in shown) + ".")


def _cells(runs: Sequence[RunData], one: HeatMap, title: str) -> Cells | None:
    """The map of one arm, averaged over seeds; None where the arrays of its runs do not fit each other."""
    read = _from_arrays if one.arrays else _from_figures
    whole = [read(run, one, one.metric) for run in runs]
    if len({values.shape for values in whole}) != 1 or not whole[0].size:
        return None
    values = mean_known(np.array(whole))
    doubtful = np.zeros(values.shape, bool)
    if one.null and one.metric:
        doubtful = values <= mean_known(np.array([_from_figures(run, one, f"{one.metric}/{one.null}") for run in runs]))
    columns = list(one.columns) or [str(number) for number in range(values.shape[1])]
    if len(columns) != values.shape[1]:
        raise Undrawable(f"{len(columns)} columns were declared, and there are {values.shape[1]}")
    pairs = {tuple(found) for run in runs if isinstance(found := look_up(run.facts, one.chosen), list)}
    pair = pairs.pop() if len(pairs) == 1 else ()
    known = len(pair) == 2 and pair[0] in one.rows and pair[1] in columns
    return Cells(
        title, values, one.rows, columns, doubtful, (one.rows.index(pair[0]), columns.index(pair[1])) if known else None
    )


def _from_figures(run: RunData, one: HeatMap, figure: str) -> Values:
    return np.array([[run.last(fill(figure, row=row, column=column)) for column in one.columns] for row in one.rows])


def _from_arrays(run: RunData, one: HeatMap, _: str) -> Values:
    rows = [run.arrays_named(fill(one.arrays, row=row)).get(one.key) for row in one.rows]
    width = max((row.size for row in rows if row is not None), default=0)
    whole = np.full((len(rows), width), np.nan)
    for place, row in enumerate(rows):
        if row is not None and row.size == width:
            whole[place] = row.astype(np.float64).ravel()
    return whole


def _told_map(panel: Cells) -> str:
    """Say where a map is highest and lowest, in words."""
    ends = []
    for name, place in (("highest", np.nanargmax(panel.values)), ("lowest", np.nanargmin(panel.values))):
        row, column = (int(at) for at in np.unravel_index(place, panel.values.shape))
        value = show_number(float(panel.values[row, column]), 3)
        ends.append(f"{name} {value} at {panel.rows[row]} and {panel.columns[column]}")
    return f"{panel.title + ': ' if panel.title else ''}{', '.join(ends)}"
