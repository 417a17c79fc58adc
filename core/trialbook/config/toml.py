"""TOML with positions: the data as ``tomllib`` reads it, and the line on which every table and key was written."""

from __future__ import annotations

import re
import sys
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trialbook.config.toml_nesting import MOST_LEVELS, STRING, too_deep
from trialbook.errors import ExperimentErrors, Position, Problem, TrialbookError

if sys.version_info >= (3, 11):
    import tomllib
else:  # 3.10 has no parser of its own
    import tomli as tomllib

#: Keys and indices from the root: ``("projector", "image", "pool")``, ``("loss", 0, "use")``.
KeyPath = tuple[str | int, ...]
#: Most bytes of a file.
MOST_BYTES = 2**20


@dataclass(frozen=True)
class Document:
    """A parsed file.

    Args:
        data: nested dicts, lists and values.
        positions: key path to the place where that table, key or element of an array was first written.
        comment: the comment lines that open the file, without their ``#``.
    """

    data: dict[str, Any] = field(default_factory=dict)
    positions: dict[KeyPath, Position] = field(default_factory=dict)
    comment: str = ""


def read_toml(file: Path) -> Document:
    """Read a TOML file; a byte order mark, which some editors put in front, is no part of it.

    Raises:
        ExperimentErrors: it is not TOML, or nested too deeply.
        TrialbookError: it cannot be read, is no regular file, is too large, or is not UTF-8.
    """
    try:
        if file.exists() and not file.is_file():
            raise TrialbookError(f"{file} cannot be read: it is no regular file")
        if (size := file.stat().st_size) > MOST_BYTES:
            raise TrialbookError(f"{file} has {size:,} bytes; a TOML file may have {MOST_BYTES:,}: keep data elsewhere")
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = (error.strerror or str(error)).lower() if isinstance(error, OSError) else "it is not UTF-8 text"
        raise TrialbookError(f"{file} cannot be read: {reason}") from error
    return parse_toml(text, file)


def parse_toml(text: str, file: Path | None) -> Document:
    """Parse a TOML document and remember where everything in it stands.

    Raises:
        ExperimentErrors: the text is not TOML, or nested too deeply.
    """
    text = text.removeprefix("\ufeff").replace("\r\n", "\n")
    if (deep := too_deep(text)) is not None:
        line = text.count("\n", 0, deep) + 1
        told = f"more than {MOST_LEVELS} tables, arrays or parts of a key within one another; write it flatter"
        raise ExperimentErrors([Problem("--set" if file is None else str(file), line, "", told)])
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ExperimentErrors([_syntax_problem(str(error), text, file)]) from None
    except ValueError as error:  # a date or a number that Python has no value for
        told = f"not TOML: {str(error).partition(';')[0]}"
        raise ExperimentErrors([Problem("--set" if file is None else str(file), 0, "", told)]) from None
    return Document(data, _Scanner(text, file).scan(), _opening_comment(text))


def parse_value(text: str) -> Any:
    """A value in TOML's syntax; a bare word is a string.

    Raises:
        ValueError: it is neither.
    """
    if too_deep(text) is not None:
        raise ValueError(f"the value has more than {MOST_LEVELS} tables or arrays within one another")
    try:
        data = tomllib.loads(f"value = {text}")
    except ValueError:
        if re.fullmatch(r"[^\s\"'\[\]{}=#,]+( [^\s\"'\[\]{}=#,]+)*", text):
            return text
        raise ValueError(f"{text!r} is not a TOML value") from None
    if set(data) != {"value"}:
        raise ValueError(f"{text!r} is more than one value")
    return data["value"]


def parse_key(text: str) -> tuple[str, ...]:
    """A dotted key in TOML's syntax: ``projector.image`` or ``gate."a.b"``.

    Raises:
        ValueError: it is not a key.
    """
    if too_deep(text) is not None:
        raise ValueError(f"the key has more than {MOST_LEVELS} parts")
    try:
        tomllib.loads(f"{text} = 0")
    except ValueError:
        raise ValueError(f"{text!r} is not a dotted key") from None
    return _Scanner(text, None).key()


_SPACE = re.compile(r"[ \t]*")
_FILLER = re.compile(r"(?:[ \t\n]|#[^\n]*)*")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_BARE_VALUE = re.compile(r"[^,\]}#\n]+")


class _Scanner:
    """Walks the lexical structure of a document that is known to be valid, and notes where keys and elements begin."""

    def __init__(self, text: str, file: Path | None) -> None:
        self.text, self.file, self.at = text, file, 0
        self.line_ends = [match.start() for match in re.finditer("\n", text)]
        self.positions: dict[KeyPath, Position] = {}
        self.array_tables: dict[KeyPath, int] = {}  # path of each [[array]] -> its length so far

    def scan(self) -> dict[KeyPath, Position]:
        """Positions of the whole document."""
        table: KeyPath = ()
        self.match(_FILLER)
        while self.at < len(self.text):
            if self.peek("["):
                table = self.header()
            else:
                self.pair(table)
            self.match(_FILLER)
        return self.positions

    def header(self) -> KeyPath:
        """``[table]`` or ``[[array]]``: the path that the keys after it belong to."""
        start, array = self.at, self.peek("[[")
        self.at += 2 if array else 1
        path: KeyPath = ()
        names = self.key()
        for depth, name in enumerate(names):
            path = (*path, name)
            self.note(path, start)
            if array and depth == len(names) - 1:
                self.array_tables[path] = self.array_tables.get(path, 0) + 1
            if path in self.array_tables:
                path = (*path, self.array_tables[path] - 1)
                self.note(path, start)
        self.at += 2 if array else 1
        return path

    def pair(self, table: KeyPath) -> None:
        """``dotted.key = value``."""
        start = self.at
        path = table
        for name in self.key():
            path = (*path, name)
            self.note(path, start)
        self.at += 1  # the equals sign
        self.match(_SPACE)
        self.value(path)

    def key(self) -> tuple[str, ...]:
        """A dotted key, up to the character behind it."""
        names = []
        while True:
            self.match(_SPACE)
            names.append(self.name())
            self.match(_SPACE)
            if not self.peek("."):
                return tuple(names)
            self.at += 1

    def name(self) -> str:
        """One part of a dotted key."""
        if self.peek('"') or self.peek("'"):
            quoted = self.match(STRING)
            return str(tomllib.loads(f"key = {quoted}")["key"])
        return self.match(_BARE_KEY)

    def value(self, path: KeyPath) -> None:
        """Any value; elements of arrays and keys of inline tables are noted below ``path``."""
        if self.peek("["):
            self.array(path)
        elif self.peek("{"):
            self.inline_table(path)
        elif self.peek('"') or self.peek("'"):
            self.match(STRING)
        else:
            self.match(_BARE_VALUE)

    def array(self, path: KeyPath) -> None:
        """``[value, value]``, on one line or several."""
        self.at += 1
        index = 0
        self.match(_FILLER)
        while not self.peek("]"):
            if self.peek(","):
                self.at += 1
            else:
                self.note((*path, index), self.at)
                self.value((*path, index))
                index += 1
            self.match(_FILLER)
        self.at += 1

    def inline_table(self, path: KeyPath) -> None:
        """``{key = value, key = value}``."""
        self.at += 1
        self.match(_FILLER)
        while not self.peek("}"):
            if self.peek(","):
                self.at += 1
            else:
                self.pair(path)
            self.match(_FILLER)
        self.at += 1

    def note(self, path: KeyPath, start: int) -> None:
        """Remember where ``path`` was written first."""
        self.positions.setdefault(path, Position(self.file, bisect_right(self.line_ends, start - 1) + 1))

    def peek(self, text: str) -> bool:
        return self.text.startswith(text, self.at)

    def match(self, pattern: re.Pattern[str]) -> str:
        found = pattern.match(self.text, self.at)
        if found is None:
            raise AssertionError(f"tomllib accepts what the scanner does not, at character {self.at}")
        self.at = found.end()
        return found.group()


#: What tomllib says (as patterns) -> what it means for someone who writes an experiment file.
_MEANINGS: Sequence[tuple[str, str]] = (
    (r"Cannot declare \((.*?),?\) twice", "the table [{}] is there twice"),
    (r"Cannot overwrite a value", "this key or table is there twice"),
    (r"Invalid value", "a value that TOML does not know; text stands in quotes"),
    (r"Expected '=' after a key", "'=' is missing after the key"),
    (r"Expected newline or end of document after a statement", "something follows the value; text stands in quotes"),
    (r"Illegal character '\\n'", "a quote is opened but not closed on this line"),
    (r"Invalid statement", "neither a [table] nor a key = value"),
)


def _syntax_problem(message: str, text: str, file: Path | None) -> Problem:
    """tomllib's complaint as a problem with its line."""
    found = re.search(r" \(at (?:line (\d+), column \d+|end of document)\)$", message)
    what = message[: found.start()] if found else message
    last = len(text.rstrip().split("\n"))
    line = min(int(found[1]), last) if found and found[1] else last
    for pattern, meaning in _MEANINGS:
        if hit := re.match(pattern, what):
            what = meaning.format(*(group.replace("'", "").replace(", ", ".") for group in hit.groups()))
            break
    return Problem("--set" if file is None else str(file), line, "", f"not TOML: {what}")


def _opening_comment(text: str) -> str:
    lines = []
    for line in text.split("\n"):
        if not line.startswith("#"):
            break
        lines.append(line.lstrip("#").strip())
    return "\n".join(lines).strip()
