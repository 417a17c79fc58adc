"""Boxes in layers, joined by arrows from top to bottom: as SVG that takes its ink from the page, and as plain text."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from trialbook.reports.document.html import HTML

#: As wide as plots are, in points, so that letters are as large as theirs; room between boxes, and within them.
_WIDTH, _GAP, _ROOM = 280.0, 8.0, 6.0
#: Height of a line and of an arrow; size of letters and how wide one is at most in the mean.
_LINE, _ARROW, _SIZE, _LETTER = 11.0, 18.0, 8.5, 4.75
#: Letters of a line of plain text, over all boxes of a layer.
_LETTERS = 78
#: Colour at the edge of a box, by its tone; plain boxes have none. Each stands out from white and from black.
_TONES = {"trained": "#1a7fc1", "frozen": "#8d8a4f"}


@dataclass(frozen=True)
class Box:
    """A box.

    Args:
        heading: what it is.
        lines: what there is to say of it.
        tone: ``trained``, ``frozen`` or empty; its lines say the same in words.
        to: places of the boxes that it leads to: layer and number there.
    """

    heading: str
    lines: Sequence[str]
    tone: str = ""
    to: Sequence[tuple[int, int]] = ()


#: Boxes from top to bottom and from left to right.
Layers = Sequence[Sequence[Box | None]]


@dataclass(frozen=True)
class _Place:
    """The place of a box, in points."""

    left: float
    top: float
    width: float
    height: float

    @property
    def middle(self) -> float:
        return self.left + self.width / 2


def draw_layers(layers: Layers) -> str:
    """The diagram as SVG for a page; None is a place without a box, for arrows to pass."""
    places, height = _places(layers)
    boxes = [
        _drawn(box, places[row][number], [places[to][at] for to, at in box.to])
        for row, layer in enumerate(layers)
        for number, box in enumerate(layer)
        if box is not None
    ]
    return HTML.template("diagram.svg", boxes=boxes, width=_WIDTH, height=height, size=_SIZE)


def _wrapped(box: Box, width: float) -> list[str]:
    letters = max(8, int((width - 2 * _ROOM) / _LETTER))
    return [part for line in box.lines for part in textwrap.wrap(line, letters) or [""]]


def _places(layers: Layers) -> tuple[list[list[_Place]], float]:
    """Place of every box, and the height of all of them."""
    places: list[list[_Place]] = []
    top = 1.0
    for layer in layers:
        width = (_WIDTH - 2 - _GAP * (len(layer) - 1)) / len(layer)
        height = max(_ROOM * 2 + _LINE * (1 + len(_wrapped(box, width))) for box in layer if box)
        places.append([_Place(1 + (width + _GAP) * i, top, width, height) for i in range(len(layer))])
        top += height + _ARROW
    return places, top - _ARROW + 1


def _drawn(box: Box, place: _Place, to: Sequence[_Place]) -> dict[str, Any]:
    """A box and its arrows, as the template draws them."""
    letters = max(8, int((place.width - 2 * _ROOM) / _LETTER))
    lines = [textwrap.shorten(box.heading, letters, placeholder="…"), *_wrapped(box, place.width)]
    top = place.top + _ROOM + _SIZE
    return {
        "place": place, "x": place.left + _ROOM + 1, "lines": [(top + i * _LINE, line) for i, line in enumerate(lines)],
        "colour": _TONES.get(box.tone), "dashed": box.tone == "frozen", "arrows": [_arrow(place, end) for end in to],
    }  # fmt: skip


def _arrow(start: _Place, end: _Place) -> tuple[str, str]:
    """Path and head from the foot of a box to the head of another; past boxes between them along their gap."""
    x, y, to, foot = start.middle, start.top + start.height, end.middle, end.top - 4
    bend = end.top - _ARROW / 2
    line = f"M{x:g} {y:g}V{foot:g}" if abs(x - to) < 0.5 else f"M{x:g} {y:g}V{bend:g}H{to:g}V{foot:g}"
    return line, f"M{to - 2.5:g} {foot - 0.5:g}L{to:g} {end.top - 0.5:g}L{to + 2.5:g} {foot - 0.5:g}Z"


def layers_text(layers: Layers) -> str:
    """The diagram in letters; arrows stand under the boxes that lead on."""
    found: list[str] = []
    for row, layer in enumerate(layers):
        inner = (_LETTERS - 3 * (len(layer) - 1)) // len(layer) - 4
        passing, rule = "|".center(inner + 4), "+" + "-" * (inner + 2) + "+"
        said = [box and _said(box, inner) for box in layer]
        height = max(len(lines) for lines in said if lines)
        rows = [[rule if lines else passing for lines in said]]
        rows += [
            [f"| {lines[at] if at < len(lines) else '':<{inner}} |" if lines else passing for lines in said]
            for at in range(height)
        ]
        found += ["   ".join(cells).rstrip() for cells in (*rows, rows[0])]
        if row + 1 < len(layers):
            marks = ["|" if box is None else "v" if box.to else " " for box in layer]
            found.append("   ".join(mark.center(inner + 4) for mark in marks).rstrip())
    return "\n".join(found)


def _said(box: Box, width: int) -> list[str]:
    return [part for line in (box.heading, *box.lines) for part in textwrap.wrap(line, width) or [""]]
