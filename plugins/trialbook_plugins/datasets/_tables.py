"""Tables in text files, row by row: CSV with its quoting, TSV without, whatever separates the cells."""

from __future__ import annotations

import csv
import io
import logging
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from trialbook import TrialbookError
from trialbook_plugins.datasets._paths import read_text

_LOG = logging.getLogger(__name__)
#: What separates the cells in files of these endings, unless the header says otherwise.
USUAL = {".csv": ",", ".tsv": "\t"}
_SEPARATORS = (",", ";", "\t", "|")
_MOST_LINES = 100  # of a cell in a file between tabs
_DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d+([eE][+-]?\d+)?")
#: A number whose comma cannot part thousands.
_SURE_DECIMAL = re.compile(r"(?<![\w,.])[+-]?(0?,\d+|\d+,(\d{1,2}|\d{4,}))(?![\w,.])")


@dataclass(frozen=True)
class Table:
    """A table with its header read.

    Args:
        header: names of the columns.
        separator: of the cells.
        rows: line on which a row begins, and its cells, which may be more or fewer than the header has.
        decimal_commas: whether numbers are written with a comma, as ``1,5``.
    """

    header: Sequence[str]
    separator: str
    rows: Iterator[tuple[int, list[str]]]
    decimal_commas: bool

    def number(self, cell: str) -> float:
        """The number in a cell.

        Raises:
            ValueError: it holds none.
        """
        if self.decimal_commas and _DECIMAL_COMMA.fullmatch(cell.strip()):
            return float(cell.replace(",", "."))
        return float(cell)


def read_table(file: Path, needed: Collection[str]) -> Table:
    """Read the header of a table, and its rows when they are asked for. Cells that span lines are logged.

    Cells stand between commas in ``.csv`` and tabs in ``.tsv``, or between whatever gives the header the columns that are
    needed, or more than one where none are. Between tabs a quote is a letter, but where a cell is quoted as a whole.

    Args:
        file: the table.
        needed: columns that it must have.
    Raises:
        TrialbookError: the file cannot be read; of the rows: the quoting is broken, with file and line.
    """
    text = read_text(file)
    separator = _separator(text.partition("\n")[0], USUAL.get(file.suffix.lower(), ","), needed)
    rows = _tab_rows(file, text) if separator == "\t" else _quoted_rows(file, text, separator)
    _, header = next(rows, (1, []))
    commas = separator == ";" or (separator != "," and _SURE_DECIMAL.search(text) is not None)
    return Table(header, separator, rows, commas)


def _separator(line: str, usual: str, needed: Collection[str]) -> str:
    for separator in (usual, *_SEPARATORS):
        header = _quoted(line, separator) or ()
        if set(needed) <= set(header) and (needed or len(header) > 1):
            return separator
    return usual


def _quoted_rows(file: Path, text: str, separator: str) -> Iterator[tuple[int, list[str]]]:
    """Rows in CSV's quoting; blank lines are passed over."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    begin, spans = 1, []
    try:
        for row in reader:
            if reader.line_num > begin and row:
                spans.append((begin, reader.line_num))
            if row or begin == 1:
                yield begin, row
            begin = reader.line_num + 1
    except csv.Error as error:
        raise TrialbookError(f"{file}:{begin}: {error}; check the quotes of this row") from error
    _tell(file, spans)


def _tab_rows(file: Path, text: str) -> Iterator[tuple[int, list[str]]]:
    """Rows between tabs: a line each, unless a cell that is quoted as a whole spans several."""
    lines = text.split("\n")
    count, begin, spans = 0, 0, []
    while begin < len(lines):
        end, cells = _tab_row(lines, begin, count)
        if end > begin + 1:
            spans.append((begin + 1, end))
        if lines[begin] or not begin:
            yield begin + 1, cells
        count = count or len(cells)
        begin = end
    _tell(file, spans)


def _tab_row(lines: Sequence[str], begin: int, count: int) -> tuple[int, list[str]]:
    """The line behind a row, and its cells; ``count`` is how many the header has."""
    plain = lines[begin].split("\t")
    if '"' not in lines[begin]:
        return begin + 1, plain
    quoted = _quoted(lines[begin], "\t")
    if quoted is not None:
        return begin + 1, quoted if len(quoted) == count or len(plain) != count else plain
    follower = lines[begin + 1] if begin + 1 < len(lines) else ""
    if len(plain) < count or (follower and len(follower.split("\t")) < count):
        for end in range(begin + 2, min(begin + _MOST_LINES, len(lines)) + 1):
            if '"' in lines[end - 1]:
                cells = _quoted("\n".join(lines[begin:end]), "\t")
                if cells is not None and len(cells) == count:
                    return end, cells
    return begin + 1, plain


def _quoted(text: str, separator: str) -> list[str] | None:
    """The cells of a text that is one row in CSV's quoting; None where it is none."""
    try:
        rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True))
    except csv.Error:
        return None
    return rows[0] if len(rows) == 1 else None


def _tell(file: Path, spans: Sequence[tuple[int, int]]) -> None:
    if spans:
        first, last = spans[0]
        _LOG.warning(
            "%s: %d rows hold a cell that spans lines, the first from line %d to %d; check the quotes there if that is not meant",
            file, len(spans), first, last,
        )  # fmt: skip


class SplitNumberError(ValueError):
    """A line in which commas separate numbers, or their decimals."""

    def __init__(self, line: int) -> None:
        super().__init__("a comma may separate numbers here, or their decimals; write decimals with a point")
        self.line = line


def parted_numbers(lines: Sequence[str]) -> list[str]:
    """Lines of numbers between spaces, tabs, semicolons or commas as lines between spaces, with decimal points.

    A comma is that of decimals where numbers stand between something else and none has a point.

    Raises:
        SplitNumberError: it may be either; the line is named.
    """
    body = "\n".join(lines)
    if re.search(r"\d,\d", body):
        points, apart = "." in body, _APART.search(body) is not None
        if apart and not points:
            return [line.translate(_SPACES).replace(",", ".") for line in lines]
        for number, line in enumerate(lines, 1) if apart or not points else ():
            if (apart and _mixes(line)) or (not apart and may_be_decimals(line.split(","))):
                raise SplitNumberError(number)
    return [line.translate(_SPACES).replace(",", " ") for line in lines]


def may_be_decimals(cells: Sequence[str]) -> bool:
    """Return whether cells between commas look like the halves of decimals: ``-0`` and ``05``, as nobody writes whole numbers."""
    return any(_HALF.fullmatch(cell.strip()) for cell in cells)


_SPACES = str.maketrans(";\t", "  ")
_APART = re.compile(r"\d[ \t]*;[ \t]*[+-]?\.?\d|\d[ \t]+[+-]?\.?\d")
_HALF = re.compile(r"[+-]?0\d+|-0")


def _mixes(line: str) -> bool:
    """Return whether commas stand between numbers of which some have no point, in a line with other separators, too."""
    groups = (group.strip(",").split(",") for group in re.split(r"[\s;]+", line))
    return any(len(group) > 1 and not all("." in part for part in group) for group in groups)
