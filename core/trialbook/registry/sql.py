"""A question in SQL that can only read, and ends in time."""

from __future__ import annotations

import sqlite3
import sys
import time
from typing import Any

from trialbook.errors import TrialbookError

#: Most rows of an answer, and most bytes of a value in it.
MOST_ROWS, MOST_BYTES = 1_000_000, 1 << 26
_RECURSIVE = 33  # SQLITE_RECURSIVE, which Python does not name everywhere
_READING = (sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, _RECURSIVE)
#: Functions that load or change code.
_FORBIDDEN = ("load_extension", "fts3_tokenizer")
#: Steps of SQLite's machine between looks at the clock.
_STEPS = 10_000


def ask(connection: sqlite3.Connection, query: str, seconds: float) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Names of the columns and rows of an answer.

    Args:
        connection: to the registry; it can only read from then on.
        query: one statement that reads: no ATTACH, VACUUM, PRAGMA or any that writes.
        seconds: after which it is given up.
    Raises:
        TrialbookError: it is not understood, does more than read, takes longer, or has more than ``MOST_ROWS`` rows.
    """
    deadline = time.monotonic() + seconds
    late = False

    def look() -> int:
        nonlocal late
        late = time.monotonic() > deadline
        return int(late)

    connection.set_authorizer(_authorize)
    connection.set_progress_handler(look, _STEPS)
    if sys.version_info >= (3, 11):
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MOST_BYTES)
    try:
        cursor = connection.execute(query)
        rows = cursor.fetchmany(MOST_ROWS + 1)
    except (sqlite3.Error, sqlite3.Warning, ValueError) as error:
        if late:
            raise TrialbookError(f"SQL: no answer within {seconds:g} s; ask for less, or allow more time") from error
        if "not authorized" in str(error) or "authorization denied" in str(error):
            raise TrialbookError("SQL: a question can only read: begin it with SELECT, WITH or VALUES") from error
        raise TrialbookError(f"SQL: {error}") from error
    if len(rows) > MOST_ROWS:
        raise TrialbookError(f"SQL: the answer has more than {MOST_ROWS:,} rows; add a LIMIT")
    return [name for name, *_ in cursor.description or ()], rows


def _authorize(action: int, first: str | None, second: str | None, *_: object) -> int:
    if action not in _READING or (action == sqlite3.SQLITE_FUNCTION and second in _FORBIDDEN):
        return sqlite3.SQLITE_DENY
    return sqlite3.SQLITE_OK
