"""Generated documents as small pictures: lines of one height, large words in one size, nothing that is not asked about.

A word looks the same in every picture of a theme, on whichever line it stands; with 64 pixels and four lines, lines are 16
pixels high, so that patches of 8 or 16 pixels never cut one in two.
"""

from __future__ import annotations

from functools import lru_cache

from trialbook_plugins.datasets._documents_canvas import Box, Canvas
from trialbook_plugins.datasets._documents_parts import Page, draw_value
from trialbook_plugins.datasets._documents_sheets import Row
from trialbook_plugins.datasets._documents_words import EASY

_NAME, _VALUE = 58, 42  # shares of a line's width
_LEAST = 4  # lines of a picture


def draw_small(page: Page, most: int) -> None:
    """Draw a document.

    Args:
        page: on its way.
        most: fields that any document of its dataset has at most.
    """
    canvas, sheet = page.canvas, page.sheet
    lines = canvas.box.rows(max(_LEAST, most + 1))
    body = list(lines)
    if sheet.owner or sheet.buttons:
        _heading(canvas, body.pop(0), sheet.owner)
    if sheet.buttons:
        _buttons(page, body.pop())
    if sheet.total:
        last = body.pop()
        canvas.rule(last.upper(canvas.line), canvas.theme.ink)
        page.places["total",] = _number(canvas, last, "total", sheet.total)
    for place, (line, row) in enumerate(zip(body, sheet.entries, strict=False)):
        if sheet.kind == "table":
            canvas.rule(line)
        page.places["entry", place] = _entry(page, line, row)


def _heading(canvas: Canvas, line: Box, owner: str) -> None:
    """A bar with a name, or with a cross where there is none."""
    canvas.fill(line, canvas.theme.accent)
    if owner:
        canvas.text(
            line, owner, _name_size(canvas.theme.font, line), bold=True, colour=canvas.theme.on_accent, align="m"
        )
    else:
        canvas.cross(line, canvas.theme.on_accent)


def _entry(page: Page, line: Box, row: Row) -> Box:
    """A name and its value; where the value is."""
    if row.entry.look == "number":
        return _number(page.canvas, line, row.entry.name, row.text)
    _, value = _halves(line)
    _name(page.canvas, line, row.entry.name)
    return draw_value(page.canvas, row, value, 0, "r")


def _number(canvas: Canvas, line: Box, name: str, text: str) -> Box:
    _, value = _halves(line)
    _name(canvas, line, name)
    return canvas.text(value, text, canvas.fit(["00"], value, bold=True, tall=0.9), bold=True, align="r")


def _name(canvas: Canvas, line: Box, name: str) -> None:
    canvas.text(_halves(line)[0], name, _name_size(canvas.theme.font, line), bold=True)


def _halves(line: Box) -> tuple[Box, Box]:
    """Return where the name stands, and where the value."""
    name, value = line.inset(max(2, line.height * 0.12), 1).shares((_NAME, _VALUE))
    return name, value._replace(left=value.left + 2)


@lru_cache(maxsize=64)
def _name_size(font: str, line: Box) -> int:
    """The font size at which every name fits."""
    names = [entry.name for words in EASY.values() for entry in words.entries]
    return Canvas.fit_of(font, names, _halves(line)[0], bold=True, tall=0.72)


def _buttons(page: Page, line: Box) -> None:
    """Buttons side by side, one of them filled."""
    canvas, theme = page.canvas, page.canvas.theme
    cells = [cell.inset(1) for cell in line.columns(len(page.sheet.buttons))]
    size = canvas.fit(EASY["dialog"].buttons, cells[0].inset(2, 0), bold=True, tall=0.72)
    for place, (cell, name) in enumerate(zip(cells, page.sheet.buttons, strict=True)):
        marked = place == page.sheet.marked
        canvas.fill(
            cell, theme.accent if marked else theme.page, theme.accent if marked else theme.muted, cell.height / 5
        )
        where = canvas.text(cell, name, size, bold=True, align="m", colour=theme.on_accent if marked else theme.ink)
        if marked:
            page.places["button",] = where
