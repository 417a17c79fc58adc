"""The look of generated documents: each kind laid out on a picture, with the boxes of all values."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random

import numpy as np
from numpy.typing import NDArray

from trialbook_plugins.datasets._documents_canvas import THEMES, Box, Canvas
from trialbook_plugins.datasets._documents_parts import (
    Page,
    buttons,
    entries,
    grid,
    margins,
    sidebar,
    title,
    total_line,
)
from trialbook_plugins.datasets._documents_sheets import GRAPHIC, Place, Sheet
from trialbook_plugins.datasets._documents_small import draw_small

_DESKTOPS = ((70, 104, 140), (92, 92, 104), (60, 120, 116), (150, 120, 96))


def draw_page(
    sheet: Sheet, size: int, rng: Random, themes: int, small: int = 0
) -> tuple[NDArray[np.uint8], Mapping[Place, Box]]:
    """The picture of a document, uint8 [3, S, S], and where each value stands in it.

    Args:
        sheet: what it says.
        size: side of the picture in pixels.
        rng: chooses theme, font and layout.
        themes: how many of the themes there are.
        small: draw it for a small picture, where documents have so many fields at most; 0 draws it as real ones look.
    """
    page = Page(Canvas(size, rng.choice(THEMES[:themes])), sheet, rng)
    if small:
        draw_small(page, small)
    else:
        _LAYOUTS[sheet.kind](page)
    if sheet.hidden is not None:
        graphic = sheet.hidden[0] == "entry" and sheet.entries[int(sheet.hidden[1])].entry.look in GRAPHIC
        how = rng.choice(("patch", "stain") if small or graphic else ("patch", "stain", "blur", "blur"))
        page.canvas.hide(page.places[sheet.hidden], how)
    return page.canvas.pixels(), page.places


# --- kinds --------------------------------------------------------------------------------------------------------------


def _form(page: Page) -> None:
    area = title(page, margins(page), f"{page.sheet.title}: {page.sheet.owner}", 0.11)
    entries(page, area, page.rng.choice(("lines", "boxes", "plain")))


def _settings(page: Page) -> None:
    side, area = page.canvas.box.shares((page.rng.choice((24, 28, 32)), 80))
    sidebar(page, side)
    area = title(page, area.inset(page.canvas.box.width * 0.04), page.sheet.title, 0.11, plain=True)
    entries(page, area, page.rng.choice(("lines", "boxes")))


def _table(page: Page) -> None:
    if page.sheet.grid is None:
        raise AssertionError
    area = title(page, margins(page), page.sheet.title, 0.1, plain=page.rng.random() < 0.5)
    height = min(area.height, page.canvas.box.height * 0.1 * (len(page.sheet.grid.items) + 1))
    grid(page, area.upper(height), page.sheet.grid)


def _invoice(page: Page) -> None:
    canvas, sheet = page.canvas, page.sheet
    if sheet.grid is None:
        raise AssertionError
    area = title(page, margins(page), f"{sheet.title}   Invoice {sheet.owner}", 0.1)
    share = len(sheet.entries) / (len(sheet.entries) + len(sheet.grid.items) + 3)
    entries(
        page, area.upper(area.height * share).inset(0, canvas.box.height * 0.01), page.rng.choice(("plain", "lines"))
    )
    area = area.below(area.height * share + canvas.box.height * 0.02)
    rows = len(sheet.grid.items) + 2
    height = min(area.height / rows, canvas.box.height * 0.085)
    grid(page, area.upper(height * (rows - 1)), sheet.grid)
    total_line(page, Box(area.left, area.top + height * (rows - 1), area.right, area.top + height * rows))


def _dialog(page: Page) -> None:
    canvas, theme, side = page.canvas, page.canvas.theme, page.canvas.box.width
    canvas.fill(canvas.box, page.rng.choice(_DESKTOPS))
    needed = side * (0.2 + 0.1 * (len(page.sheet.entries) + 1))
    left, top = side * page.rng.uniform(0.03, 0.12), (side - needed) * page.rng.uniform(0.2, 0.8)
    window = Box(left, top, side - left, top + needed)
    canvas.fill(window, theme.panel, theme.ink)
    bar = window.upper(needed * 0.12)
    canvas.fill(bar, theme.accent)
    inner = bar.inset(side * 0.02, 0)
    size = canvas.fit([page.sheet.title], bar.inset(side * 0.06, 0))
    canvas.text(inner, page.sheet.title, size, bold=True, colour=theme.on_accent)
    canvas.cross(bar, theme.on_accent)
    body = window.below(bar.height)
    foot = body.below(body.height * 0.8)
    entries(page, body.upper(body.height - foot.height).inset(side * 0.03, 0), "plain")
    buttons(page, foot)


_LAYOUTS = {"form": _form, "settings": _settings, "table": _table, "invoice": _invoice, "dialog": _dialog}
