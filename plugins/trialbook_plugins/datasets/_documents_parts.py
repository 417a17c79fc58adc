"""Parts of generated documents, drawn: titles, entries, tables, totals, buttons."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

from trialbook_plugins.datasets._documents_canvas import Box, Canvas
from trialbook_plugins.datasets._documents_sheets import GRAPHIC, Grid, Place, Row, Sheet
from trialbook_plugins.datasets._documents_words import COLOURS

_SIDEBAR = ("General", "Display", "Sound", "Network", "Privacy", "About")


@dataclass
class Page:
    """A document on its way into a picture.

    Args:
        canvas: what it is drawn on.
        sheet: what it says.
        rng: where chance comes from.

    Attributes:
        places: box of every value, in pixels.
    """

    canvas: Canvas
    sheet: Sheet
    rng: Random
    places: dict[Place, Box] = field(default_factory=dict)


def margins(page: Page) -> Box:
    """The picture without its margins."""
    return page.canvas.box.inset(page.canvas.box.width * page.rng.uniform(0.03, 0.07))


def title(page: Page, area: Box, text: str, share: float, *, plain: bool = False) -> Box:
    """A title in a bar of ``share`` of the picture's height; what is left of the area."""
    canvas, theme = page.canvas, page.canvas.theme
    bar = area.upper(canvas.box.height * share)
    if not plain:
        canvas.fill(bar, theme.accent)
    inner = bar.inset(0 if plain else bar.height * 0.25, 0)
    align = page.rng.choice("lm")
    size = canvas.fit([text], inner, bold=True, tall=0.6)
    canvas.text(inner, text, size, bold=True, colour=theme.ink if plain else theme.on_accent, align=align)
    return area.below(bar.height + canvas.box.height * 0.02)


def sidebar(page: Page, area: Box) -> None:
    """Names of other pages: what a reader must not be misled by."""
    canvas, theme = page.canvas, page.canvas.theme
    canvas.fill(area, theme.panel)
    rows = area.inset(area.width * 0.1, area.height * 0.06).rows(10)
    size = canvas.fit(_SIDEBAR, rows[0], tall=0.5)
    chosen = page.rng.randrange(len(_SIDEBAR))
    for place, (row, name) in enumerate(zip(rows, _SIDEBAR, strict=False)):
        if place == chosen:
            canvas.fill(row.inset(-area.width * 0.06, row.height * 0.08), theme.accent, radius=row.height / 5)
        canvas.text(row, name, size, colour=theme.on_accent if place == chosen else theme.muted)


def entries(page: Page, area: Box, style: str) -> None:
    """Names on the left, values on the right; two abreast where the sheet says so."""
    canvas, theme, sheet = page.canvas, page.canvas.theme, page.sheet
    lines = -(-len(sheet.entries) // sheet.abreast)
    area = area.upper(min(area.height, canvas.box.height * 0.105 * lines))
    cells = [cell for row in area.rows(lines) for cell in row.columns(sheet.abreast)]
    gap = max(2, cells[0].height * 0.12)
    names, values = zip(*(cell.inset(gap, gap / 2).shares((46, 54)) for cell in cells), strict=True)
    size = canvas.fit([row.entry.name for row in sheet.entries], names[0], tall=0.56)
    texts = [row.text for row in sheet.entries if row.entry.look not in GRAPHIC]
    value_size = canvas.fit(texts, values[0].inset(gap, 0), tall=0.58)
    align = "r" if sheet.kind == "settings" else "l"
    for place, row in enumerate(sheet.entries):
        if style == "lines":
            canvas.rule(cells[place])
        elif style == "boxes":
            canvas.fill(values[place].inset(0, gap / 2), theme.panel, theme.line)
        canvas.text(names[place], row.entry.name, size, colour=theme.muted)
        page.places["entry", place] = draw_value(canvas, row, values[place].inset(gap, 0), value_size, align)


def draw_value(canvas: Canvas, row: Row, box: Box, size: int, align: str) -> Box:
    """One value, as what it looks like; where it is."""
    if row.entry.look == "swatch":
        return canvas.swatch(box, COLOURS[row.text])
    if row.entry.look == "switch":
        return canvas.switch(box, row.text == "yes")
    if row.entry.look == "check":
        return canvas.tick(box, row.text == "yes")
    return canvas.text(box, row.text, size, align=align)


def grid(page: Page, area: Box, table: Grid) -> None:
    """A table with a heading: names of rows on the left, values on the right of their columns."""
    canvas, theme = page.canvas, page.canvas.theme
    style = page.rng.choice(("ruled", "striped", "boxed"))
    rows = area.rows(len(table.items) + 1)
    shares = [34, *([66 / len(table.columns)] * len(table.columns))]
    gap = rows[0].height * 0.15
    head, *lines = [[cell.inset(gap, 0) for cell in row.shares(shares)] for row in rows]
    size = min(
        canvas.fit(table.items, head[0], tall=0.5),
        canvas.fit([column.name for column in table.columns], head[1], bold=True, tall=0.5),
        canvas.fit([text for line in table.values for text in line], head[1], tall=0.5),
    )
    if style != "ruled":
        canvas.fill(rows[0], theme.accent if style == "boxed" else theme.panel)
    for cell, column in zip(head[1:], table.columns, strict=True):
        canvas.text(
            cell, column.name, size, bold=True, align="r", colour=theme.on_accent if style == "boxed" else theme.ink
        )
    canvas.rule(rows[0], theme.ink)
    for i, (line, item) in enumerate(zip(lines, table.items, strict=True)):
        if style == "striped" and i % 2:
            canvas.fill(rows[i + 1], theme.panel)
        elif style == "boxed":
            canvas.rule(rows[i + 1])
        canvas.text(line[0], item, size)
        for j, cell in enumerate(line[1:]):
            page.places["cell", i, j] = canvas.text(cell, table.values[i][j], size, align="r")


def total_line(page: Page, box: Box) -> None:
    """The total, below a line."""
    canvas, theme = page.canvas, page.canvas.theme
    canvas.rule(box.upper(canvas.line), theme.ink)
    gap = max(2, box.height * 0.15)
    name, value = box.inset(gap, 0).shares((50, 50))
    size = canvas.fit(["total"], name, bold=True, tall=0.6)
    canvas.text(name, "Total", size, bold=True, align="r")
    page.places["total",] = canvas.text(value.inset(gap, 0), page.sheet.total, size, bold=True, align="r")


def buttons(page: Page, area: Box) -> None:
    """Buttons side by side, one of them filled."""
    canvas, theme, sheet = page.canvas, page.canvas.theme, page.sheet
    gap = area.height * 0.14
    cells = area.inset(gap, 0).columns(len(sheet.buttons))
    size = min(
        canvas.fit([name], cell.inset(gap * 1.2, gap), bold=True, tall=0.6)
        for cell, name in zip(cells, sheet.buttons, strict=True)
    )
    for place, (cell, name) in enumerate(zip(cells, sheet.buttons, strict=True)):
        box, marked = cell.inset(gap / 2, gap), place == sheet.marked
        canvas.fill(
            box, theme.accent if marked else theme.page, theme.accent if marked else theme.muted, radius=box.height / 5
        )
        where = canvas.text(box, name, size, bold=True, align="m", colour=theme.on_accent if marked else theme.ink)
        if marked:
            page.places["button",] = where
