"""Tables in the five formats that listings offer: for a terminal, Markdown, CSV, JSON and LaTeX."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from trialbook.contracts.findings import Span
from trialbook.errors import printable

FORMATS = ("table", "markdown", "csv", "json", "latex")
#: What stands where there is no value.
NOTHING = "–"

_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "–": "--", "±": r"$\pm$", "≥": r"$\geq$", "≤": r"$\leq$",
    "↑": r"$\uparrow$", "↓": r"$\downarrow$", "<": r"$<$", "→": r"$\to$",
    "×": r"$\times$", "·": r"$\cdot$", "†": r"$\dagger$",
}  # fmt: skip


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Args:
        name: its key in JSON and CSV.
        title: its heading; the name if left out.
        right: set its cells to the right, as numbers are.
        show: how a value is shown to people; ``show_value`` if left out.
    """

    name: str
    title: str | None = None
    right: bool = False
    show: Callable[[Any], str] | None = None

    @property
    def heading(self) -> str:
        """The heading as people see it."""
        return self.name if self.title is None else self.title

    def text(self, value: Any) -> str:
        """The value as people see it."""
        return (self.show or show_value)(value)


@dataclass(frozen=True)
class Table:
    """Rows of values under columns; a title for people."""

    columns: Sequence[Column]
    rows: Sequence[Sequence[Any]] = ()
    title: str = ""
    #: Row index -> rich style, for terminals.
    styles: dict[int, str] = field(default_factory=dict)

    def texts(self) -> list[list[str]]:
        """All cells as people see them, each on one line."""
        return [
            [_line(column.text(value)) for column, value in zip(self.columns, row, strict=True)] for row in self.rows
        ]

    def headings(self) -> list[str]:
        """Headings as people see them."""
        return [_line(column.heading) for column in self.columns]

    def records(self) -> list[dict[str, Any]]:
        """Rows as mappings, for JSON."""
        names = [column.name for column in self.columns]
        return [dict(zip(names, row, strict=True)) for row in self.rows]


def _line(text: str) -> str:
    return printable(text.replace("\r\n", " ").replace("\n", " ").replace("\t", " "))


def show_value(value: Any) -> str:
    """None as a dash, floats to four significant digits, anything else as it is."""
    if value is None:
        return NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    return show_number(value) if isinstance(value, float) else str(value)


def show_number(value: float, digits: int = 4) -> str:
    """Four significant digits, without a superfluous exponent."""
    if not math.isfinite(value):
        return str(value)
    return f"{value:.{digits}g}"


def show_evidence(value: Any, longest: int = 60) -> str:
    """A value of a finding's evidence: numbers as in the tables, spans by their ends, long lists by their beginning."""
    if isinstance(value, Span):
        return f"{show_evidence(value.low)} to {show_evidence(value.high)}"
    if isinstance(value, float):
        return show_number(value)
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def show_duration(seconds: float | None) -> str:
    """``75.2`` -> ``1:15``; below a minute ``12.3 s``."""
    if seconds is None:
        return NOTHING
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def render(table: Table, style: str, *, terminal: bool = False) -> str:
    """The table as text in one of ``FORMATS``; ``terminal`` allows colours and lines in ``table``."""
    if style == "table":
        return _rich(table) if terminal else _plain(table)
    return {"markdown": _markdown, "csv": _csv, "latex": _latex, "json": _json}[style](table)


def _json(table: Table) -> str:
    from trialbook.contracts.files import to_json

    return to_json(table.records())


def _csv(table: Table) -> str:
    """Full values, not those shown to people; lists and mappings as JSON.

    A text that a spreadsheet would take for a formula stands behind an apostrophe, by which it shows it as text.
    """
    import csv
    import io

    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(_harmless(column.name) for column in table.columns)
    for row in table.rows:
        writer.writerow(
            json.dumps(v, ensure_ascii=False) if isinstance(v, dict | list | tuple) else _harmless(v) for v in row
        )
    return stream.getvalue().rstrip("\n")


def _harmless(value: Any) -> Any:
    if not isinstance(value, str) or not value.lstrip().startswith(("=", "+", "-", "@")):
        return value
    try:
        float(value)
    except ValueError:
        return f"'{value}"
    return value


def _plain(table: Table) -> str:
    cells = [table.headings(), *table.texts()]
    widths = [max(len(row[i]) for row in cells) for i in range(len(table.columns))]
    lines = []
    for row in cells:
        placed = [
            text.rjust(width) if column.right else text.ljust(width)
            for text, width, column in zip(row, widths, table.columns, strict=True)
        ]
        lines.append("  ".join(placed).rstrip())
    lines.insert(1, "  ".join("─" * width for width in widths))
    return "\n".join([printable(table.title), *lines] if table.title else lines)


def _rich(table: Table) -> str:
    from trialbook.reports.terminal_table import draw_table  # late: rich is slow to import

    right = [column.right for column in table.columns]
    return draw_table(table.headings(), table.texts(), right, _line(table.title), table.styles)


def _markdown(table: Table) -> str:
    from trialbook.reports.document.escape import markdown

    def line(cells: Iterable[str]) -> str:
        return "| " + " | ".join(markdown(cell).replace("|", "\\|") for cell in cells) + " |"

    rule = ["---:" if column.right else "---" for column in table.columns]
    lines = [line(table.headings()), line(rule), *(line(row) for row in table.texts())]
    return "\n".join([f"**{markdown(table.title)}**", "", *lines] if table.title else lines)


def _latex(table: Table) -> str:
    """A tabular of the booktabs package."""

    def line(cells: Iterable[str]) -> str:
        return " & ".join("".join(_LATEX.get(letter, letter) for letter in cell) for cell in cells) + r" \\"

    places = "".join("r" if column.right else "l" for column in table.columns)
    lines = [rf"\begin{{tabular}}{{{places}}}", r"\toprule", line(table.headings()), r"\midrule"]
    lines += [line(row) for row in table.texts()]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"])
