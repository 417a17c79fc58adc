"""A table in a terminal of any width: no name and no number is broken.

Where the columns do not fit side by side, columns of sentences are wrapped between words; where that is not enough, each row
takes several lines, and the table says which columns stand where.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

#: Spaces in a cell from which its column holds sentences, and least width of such a column.
_SENTENCE, _LEAST = 4, 24
#: How far lines after the first of a row are set in, and what stands between columns.
_INDENT, _GAP = 4, 2


def draw_table(
    headings: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[bool], title: str, styles: Mapping[int, str]
) -> str:
    """The table as text with colours, in the width of the terminal.

    Args:
        headings: of the columns.
        rows: cells, each of one line.
        right: whether a column is set to the right.
        title: above it; may be empty.
        styles: row to a style of rich.
    """
    console = Console()
    made = Table(
        title=Text(title, style="bold") if title else None, title_justify="left", box=box.SIMPLE_HEAD,
        header_style="bold", pad_edge=False,
    )  # fmt: skip
    for index, (heading, to_right) in enumerate(zip(headings, right, strict=True)):
        cells = [heading, *(row[index] for row in rows)]
        longest = max(map(cell_len, cells))
        sentences = any(map(_is_sentence, cells[1:]))
        word = max((cell_len(word) for cell in cells for word in cell.split()), default=0)
        made.add_column(
            Text(heading), justify="right" if to_right else "left", no_wrap=not sentences,
            min_width=min(longest, max(word, _LEAST)) if sentences else longest,
        )  # fmt: skip
    for index, row in enumerate(rows):
        made.add_row(*map(Text, row), style=styles.get(index))
    unbounded = console.options.update(max_width=100_000)
    with console.capture() as captured:
        if Measurement.get(console, unbounded, made).minimum <= console.width:
            console.print(made)
        else:
            _stack(console, headings, rows, right, title, styles)
    return captured.get().rstrip("\n")


def _stack(
    console: Console, headings: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[bool], title: str,
    styles: Mapping[int, str],
) -> None:  # fmt: skip
    """Print each row on several lines, the columns of a line below one another."""
    widths = [max(map(cell_len, [heading, *(row[i] for row in rows)])) for i, heading in enumerate(headings)]
    lines = _lines(widths, console.width)

    def show(cells: Sequence[str], style: str) -> None:
        for number, columns in enumerate(lines):
            placed = [_placed(cells[i], widths[i], to_right=right[i]) for i in columns]
            indent = " " * _INDENT * bool(number)
            whole = f"{indent}{(' ' * _GAP).join(placed)}".rstrip()
            if len(columns) == 1 and cell_len(whole) > console.width and _is_sentence(cells[columns[0]]):
                whole = textwrap.fill(
                    cells[columns[0]], console.width, initial_indent=indent, subsequent_indent=" " * _INDENT,
                    break_long_words=False, break_on_hyphens=False,
                )  # fmt: skip
            if whole.strip():
                console.print(Text(whole, style=style), soft_wrap=True)

    if title:
        console.print(Text(title, style="bold"), soft_wrap=True)
    show(headings, "bold")
    wide = max(sum(widths[i] + _GAP for i in columns) - _GAP + _INDENT * bool(n) for n, columns in enumerate(lines))
    console.print(Text("─" * min(console.width, wide)), soft_wrap=True)
    for index, row in enumerate(rows):
        show(row, styles.get(index) or "")
    if len(lines) == 1:
        return
    below = "; ".join(", ".join(headings[i] for i in columns) for columns in lines[1:])
    told = f"({console.width} columns are too few for one line a row; below the first stand: {below})"
    told = textwrap.fill(told, console.width, break_long_words=False, break_on_hyphens=False)
    console.print(Text(told), soft_wrap=True)


def _lines(widths: Sequence[int], width: int) -> list[list[int]]:
    """Columns by the line that they stand on: as many on each as fit."""
    lines: list[list[int]] = [[]]
    taken = 0
    for column, own in enumerate(widths):
        if lines[-1] and taken + _GAP + own > width:
            lines.append([])
        taken = taken + _GAP + own if lines[-1] else own + _INDENT * (len(lines) > 1)
        lines[-1].append(column)
    return lines


def _is_sentence(cell: str) -> bool:
    return cell.strip().count(" ") >= _SENTENCE


def _placed(text: str, width: int, *, to_right: bool) -> str:
    space = " " * (width - cell_len(text))
    return f"{space}{text}" if to_right else f"{text}{space}"
