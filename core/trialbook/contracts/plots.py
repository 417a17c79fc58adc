"""Plots that a task declares and pages draw: curves along places, maps of pairs, pictures that it made.

Plain data in the facts of a run: core draws it without knowing what the places are. Names of values are those under which
the task records them; what was not recorded is left out of the plot.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar

from trialbook.contracts.records import Facts

#: Keys of ``data.json``.
_PLOTS, _PICTURES = "plots", "pictures"


@dataclass(frozen=True, kw_only=True)
class Profile:
    """Values along an ordered list of places, such as the layers of a model: a panel with a curve for each.

    Beside a value ``f`` stand the values ``f/low`` and ``f/high``, its 95% interval, and ``f/<reference>`` for each reference,
    where they are recorded. Whether a value is better when lower is known as it is for tables: by ``lower_is_better``.

    Args:
        name: tells it from the other plots of the run; arms that have one of the same name are drawn together.
        title: in a few words.
        axis: what the places are.
        places: in their order.
        metrics: title of a panel to the name of its metric, with ``{place}`` where the place stands.
        ceiling: references that are as good as it gets.
        baseline: references to be better than.
        floor: references that know nothing.
        chosen: keys that lead to the place to be marked in the facts of the run: ``["best_layers", "boxes"]``.
    """

    kind: ClassVar[str] = "profile"
    name: str
    title: str
    places: Sequence[str]
    metrics: Mapping[str, str]
    axis: str = "layer"
    ceiling: Sequence[str] = ()
    baseline: Sequence[str] = ()
    floor: Sequence[str] = ()
    chosen: Sequence[str] = ()

    def metric(self, label: str, place: str, end: str = "") -> str:
        """Name of a value at a place; ``end`` is ``low``, ``high`` or a reference."""
        return fill(self.metrics[label], place=place) + (f"/{end}" if end else "")


@dataclass(frozen=True, kw_only=True)
class HeatMap:
    """A value of every pair of a row and a column: cells of one colour scale.

    Args:
        name: tells it from the other plots of the run; arms that have one of the same name are drawn together.
        title: in a few words.
        rows: names of the rows.
        row_axis: what they are.
        columns: names of the columns; none where ``arrays`` tells how many there are, which are then numbered.
        column_axis: what they are.
        metric: name of the metric of a cell, with ``{row}`` and ``{column}``.
        arrays: in place of ``metric``: name of the arrays of a row, with ``{row}``.
        key: of the array in ``arrays`` that has a number for each column.
        null: reference of ``metric`` that a cell must be above to say anything; other cells are marked.
        least: lowest end of the colour scale; the smallest value if None.
        chosen: keys that lead to row and column of the cell to be marked in the facts of the run.
    """

    kind: ClassVar[str] = "map"
    name: str
    title: str
    rows: Sequence[str]
    columns: Sequence[str] = ()
    row_axis: str = "layer"
    column_axis: str = "layer"
    metric: str = ""
    arrays: str = ""
    key: str = ""
    null: str = ""
    least: float | None = 0.0
    chosen: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class Shown:
    """A picture among the artifacts of a run that its page is to show.

    Args:
        file: its name, as in ``Artifact``: a PNG or JPEG.
        title: in a few words.
        caption: what is shown and how to read it.
        alt: what a reader who does not see it should know.
    """

    file: str
    title: str
    caption: str = ""
    alt: str = ""


def declare_plots(plots: Sequence[Profile | HeatMap]) -> Facts:
    """The plots of a run, to be yielded once, before its records: pages of unfinished runs then have them, too."""
    return Facts(0, {_PLOTS: [{"kind": one.kind, **_plain(one)} for one in plots]})


def declare_pictures(pictures: Sequence[Shown]) -> Facts:
    """The pictures of a run, to be yielded once, when they are made."""
    return Facts(0, {_PICTURES: [_plain(one) for one in pictures]})


def read_plots(facts: Mapping[str, Any]) -> list[Profile | HeatMap]:
    """The plots that a run declared; entries that cannot be read are left out."""
    kinds: dict[str, type[Profile] | type[HeatMap]] = {one.kind: one for one in (Profile, HeatMap)}
    found = (_read(kinds[one["kind"]], one) for one in _entries(facts, _PLOTS) if one.get("kind") in kinds)
    return [one for one in found if one is not None]


def read_pictures(facts: Mapping[str, Any]) -> list[Shown]:
    """The pictures that a run declared; entries that cannot be read are left out."""
    return [one for entry in _entries(facts, _PICTURES) if (one := _read(Shown, entry)) is not None]


def fill(template: str, **values: str) -> str:
    """A template with names for ``{place}``, ``{row}`` or ``{column}``; braces of the names themselves mean nothing."""
    return re.sub(r"\{(\w+)\}", lambda found: values.get(found[1], found[0]), template)


def look_up(facts: Mapping[str, Any], keys: Sequence[str]) -> Any:
    """Look up a sequence of keys in the facts of a run; None where they lead nowhere."""
    found: Any = facts if keys else None
    for key in keys:
        found = found.get(key) if isinstance(found, Mapping) else None
    return found


def _plain(one: Any) -> dict[str, Any]:
    """Fields as JSON has them, so that facts that are read back are equal to those that were made."""
    values = {field.name: getattr(one, field.name) for field in fields(one)}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}


def _entries(facts: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    found = facts.get(key)
    return [one for one in found if isinstance(one, Mapping)] if isinstance(found, list) else []


#: Names of fields in ``data.json`` of format 1.
_OLD_FIELDS = {"figures": "metrics", "figure": "metric"}
_SHAPES = {"Sequence[str]": list, "Mapping[str, str]": Mapping, "str": str, "float | None": (int, float, type(None))}


def _read(kind: Any, entry: Mapping[str, Any]) -> Any:
    """An entry as it was declared; None where a field is missing or is something else. Unknown fields are of a later version."""
    known = {field.name: field for field in fields(kind)}
    named = {_OLD_FIELDS.get(name, name): value for name, value in entry.items()}
    values = {name: value for name, value in named.items() if name in known}
    for name, value in values.items():
        inner = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
        if not isinstance(value, _SHAPES[str(known[name].type)]) or not all(isinstance(one, str) for one in inner):  # type: ignore[arg-type]
            return None
    try:
        return kind(**values)
    except TypeError:
        return None
