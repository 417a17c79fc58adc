"""The content of generated documents: entries, tables, totals and buttons, drawn at random from the words of a kind."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from random import Random
from typing import Literal

Look = Literal["text", "number", "swatch", "switch", "check"]
#: Looks whose value is whether they are on.
TOGGLES = ("switch", "check")
GRAPHIC = ("swatch", *TOGGLES)

#: Where a value stands: ``("entry", i)``, ``("cell", row, column)``, ``("total",)`` or ``("button",)``, the marked one.
Place = tuple[str | int, ...]


@dataclass(frozen=True)
class Entry:
    """Something that a document may name: its name, how its values are drawn, and what they look like."""

    name: str
    value: Callable[[Random], str]
    look: Look = "text"
    #: The values, where they are few and may be counted.
    values: tuple[str, ...] = ()


@dataclass(frozen=True)
class Words:
    """The words that documents of a kind are made from.

    Args:
        wordings: what may be asked -> ways to ask it.
        entries: names and values of which a document shows some.
        fewest: entries that it shows at least.
        most: entries that it shows at most.
        owners: whom (or which number) a document is of; "" where nobody.
        titles: what it is called.
        items: names of a table's rows; it has none where this is empty.
        columns: of the table: some of them, one of which has few values; or, on a bill, number, price and their product.
        buttons: labels of buttons.
        total: whether the numbers are added up.
        abreast: entries that may stand side by side.
    """

    wordings: Mapping[str, tuple[str, ...]]
    entries: tuple[Entry, ...] = ()
    fewest: int = 2
    most: int = 4
    owners: tuple[str, ...] = ("",)
    titles: tuple[str, ...] = ("",)
    items: tuple[str, ...] = ()
    columns: tuple[Entry, ...] = ()
    buttons: tuple[str, ...] = ()
    total: bool = False
    abreast: int = 1


@dataclass(frozen=True)
class Row:
    """An entry with its value."""

    entry: Entry
    text: str


@dataclass(frozen=True)
class Grid:
    """A table: the names of its rows, its columns, and the value of each row in each column.

    ``focus`` is a column whose values may be counted and the value that is counted, as often as any other number.
    """

    items: tuple[str, ...]
    columns: tuple[Entry, ...]
    values: tuple[tuple[str, ...], ...]
    focus: tuple[int, str] | None = None


@dataclass(frozen=True)
class Sheet:
    """The content of one document. The value at ``hidden`` is there, but cannot be read."""

    kind: str
    title: str = ""
    owner: str = ""
    entries: tuple[Row, ...] = ()
    grid: Grid | None = None
    total: str = ""
    buttons: tuple[str, ...] = ()
    marked: int = 0
    hidden: Place | None = None
    abreast: int = 1

    def values(self) -> Iterator[tuple[Place, str, str]]:
        """Place, name and text of every value, hidden or not."""
        for i, row in enumerate(self.entries):
            yield ("entry", i), row.entry.name, row.text
        for i, line in enumerate(self.grid.values if self.grid else ()):
            for j, text in enumerate(line):
                yield ("cell", i, j), f"{self.grid.columns[j].name} of {self.grid.items[i]}", text
        if self.total:
            yield ("total",), "total", self.total
        if self.buttons:
            yield ("button",), "button", self.buttons[self.marked]

    def transcript(self) -> str:
        """Whose it is, and all names and values in reading order; ``hidden`` in the place of one that is."""
        shown = [f"{name} {'hidden' if place == self.hidden else text}" for place, name, text in self.values()]
        return ", ".join(filter(None, [self.owner, *shown]))

    def visible(self) -> str:
        """All that can be read, as a key: equal keys, equal documents, whatever they look like."""
        entries = [
            (row.entry.name, "" if self.hidden == ("entry", i) else row.text) for i, row in enumerate(self.entries)
        ]
        cells = [
            ["" if self.hidden == ("cell", i, j) else text for j, text in enumerate(line)]
            for i, line in enumerate(self.grid.values if self.grid else ())
        ]
        table = (self.grid.items, [column.name for column in self.grid.columns], cells) if self.grid else None
        total = "" if self.hidden == ("total",) else self.total
        buttons = [
            "" if self.hidden == ("button",) and i == self.marked else name for i, name in enumerate(self.buttons)
        ]
        return repr((self.kind, self.title, self.owner, entries, table, total, buttons, self.marked))


def draw_sheet(rng: Random, kind: str, words: Words, most: int | None, hide: bool) -> Sheet:
    """A document of ``kind`` at random.

    Args:
        rng: where chance comes from.
        kind: its name.
        words: what it is made from.
        most: entries (or rows of the table) that it shows at most; as ``words`` say if None.
        hide: make one value unreadable.
    """
    entries = _draw_entries(rng, words, most)
    grid = _draw_grid(rng, words, most) if words.items else None
    numbers = [row.text for row in entries] if grid is None else [line[-1] for line in grid.values]
    buttons = tuple(rng.sample(words.buttons, rng.randint(2, min(3, len(words.buttons) // 3)))) if words.buttons else ()
    sheet = Sheet(
        kind, rng.choice(words.titles), rng.choice(words.owners), entries, grid,
        total=_sum(numbers) if words.total else "", buttons=buttons,
        marked=rng.randrange(len(buttons)) if buttons else 0, abreast=rng.randint(1, words.abreast),
    )  # fmt: skip
    return replace(sheet, hidden=_place_to_hide(rng, sheet)) if hide else sheet


def amount(text: str) -> float:
    """The number that a value shows: ``$1,250.00`` is 1250."""
    return float(re.sub(r"[^\d.]", "", text))


def _draw_entries(rng: Random, words: Words, most: int | None) -> tuple[Row, ...]:
    if not words.entries:
        return ()
    high = min(words.most if most is None or words.items else most, len(words.entries) - 1)
    shown = rng.sample(words.entries, rng.randint(min(words.fewest, high), high))
    toggles = [i for i, entry in enumerate(shown) if entry.look in TOGGLES]
    on = set(rng.sample(toggles, rng.randint(0, len(toggles))))  # every number of them is as likely
    rows: list[Row] = []
    for place, entry in enumerate(shown):
        text = ("yes" if place in on else "no") if entry.look in TOGGLES else entry.value(rng)
        while entry.look == "number" and any(row.text == text for row in rows):  # one is the largest
            text = entry.value(rng)
        rows.append(Row(entry, text))
    return tuple(rows)


def _draw_grid(rng: Random, words: Words, most: int | None) -> Grid:
    """A table: one of the columns with few values, and all but one or two of those with numbers; or a bill."""
    high = min(most or (6 if words.total else 8), len(words.items) - 1)
    items = tuple(rng.sample(words.items, rng.randint(min(3, high), high)))
    if words.total:
        counts, prices = ([column.value(rng) for _ in items] for column in words.columns[:2])
        sums = [f"${amount(n) * amount(price):,.2f}" for n, price in zip(counts, prices, strict=True)]
        return Grid(items, words.columns, tuple(zip(counts, prices, sums, strict=True)))
    numbers = [column for column in words.columns if not column.values]
    columns = [rng.choice([column for column in words.columns if column.values])]
    columns += rng.sample(numbers, rng.randint(2, 3))
    rng.shuffle(columns)
    by_column = [_draw_column(rng, column, len(items)) for column in columns]
    focus = next((j, by_column[j][1]) for j, column in enumerate(columns) if column.values)
    values = tuple(zip(*(texts for texts, _ in by_column), strict=True))
    return Grid(items, tuple(columns), values, focus)


def _draw_column(rng: Random, column: Entry, rows: int) -> tuple[list[str], str]:
    """Values, and the one that is counted: numbers that differ; of few values one as often as chance has it, 0 included."""
    if not column.values:
        texts: list[str] = []
        while len(texts) < rows:
            text = column.value(rng)
            if text not in texts:
                texts.append(text)
        return texts, ""
    counted = rng.choice(column.values)
    others = [value for value in column.values if value != counted]
    times = rng.randint(0, rows)
    texts = [counted] * times + [rng.choice(others) for _ in range(rows - times)]
    rng.shuffle(texts)
    return texts, counted


def _place_to_hide(rng: Random, sheet: Sheet) -> Place:
    """A value that something can be asked about which nobody can answer without it."""
    if sheet.total:
        return ("total",)
    if sheet.buttons:
        return ("button",)
    if sheet.grid is not None:
        numbers = [j for j, column in enumerate(sheet.grid.columns) if not column.values]
        return ("cell", rng.randrange(len(sheet.grid.items)), rng.choice(numbers))
    toggles = [i for i, row in enumerate(sheet.entries) if row.entry.look in TOGGLES]
    return ("entry", rng.choice(toggles or range(len(sheet.entries))))


def _sum(texts: list[str]) -> str:
    """The sum, written as the numbers are."""
    front = re.match(r"\D*", texts[0])
    total = sum(amount(text) for text in texts)
    return f"{front[0] if front else ''}{total:,.2f}" if "." in texts[0] else f"{total:.0f}"
