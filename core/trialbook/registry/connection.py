"""Opening the registry, for writing and for reading."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from trialbook.errors import TrialbookError
from trialbook.registry.migrations import VERSION, ensure_schema, schema_version

_PRAGMAS = ("PRAGMA synchronous = NORMAL", "PRAGMA foreign_keys = ON", "PRAGMA temp_store = MEMORY")


def open_registry(file: Path, *, patience: float = 30.0) -> sqlite3.Connection:
    """Open the registry for writing, making or migrating it first.

    Args:
        file: the SQLite file; its folder is made where it is not there.
        patience: seconds to wait for other writers.
    Raises:
        TrialbookError: the file is no registry, or a newer program wrote it.
        sqlite3.Error, OSError: it cannot be opened or stays locked.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(file, timeout=patience, isolation_level=None)
    try:
        with _explained(file):
            _set_wal(connection, patience)
            for pragma in _PRAGMAS:
                connection.execute(pragma)
            _check_version(connection, file)
            ensure_schema(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def is_current(file: Path) -> bool:
    """Return whether there is a registry that this program need not make or migrate first."""
    if not file.is_file():
        return False
    connection = _connect_to_read(file)
    try:
        with _explained(file):
            return _check_version(connection, file) == VERSION
    finally:
        connection.close()


def read_registry(file: Path) -> sqlite3.Connection:
    """Open an existing registry for reading only.

    Raises:
        TrialbookError: there is none, it is no registry, or another version of the program made it.
    """
    if not file.is_file():
        raise TrialbookError(f"there is no registry at {file}; 'mlrun registry sync' makes it from the run directories")
    connection = _connect_to_read(file)
    try:
        with _explained(file):
            connection.execute("PRAGMA query_only = ON")
            if _check_version(connection, file) < VERSION:
                raise TrialbookError(f"{file} is of an older version; run 'mlrun registry sync'")
    except sqlite3.Error as error:
        connection.close()
        raise TrialbookError(f"{file} cannot be read ({error})") from error
    except BaseException:
        connection.close()
        raise
    return connection


def _connect_to_read(file: Path) -> sqlite3.Connection:
    address = str(file.absolute()).replace("%", "%25").replace("?", "%3f").replace("#", "%23")
    return sqlite3.connect(f"file:{address}?mode=ro", uri=True, timeout=30, isolation_level=None)


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """One ``BEGIN IMMEDIATE`` … ``COMMIT``, rolled back if anything in it raises."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        connection.rollback()
        raise


@contextmanager
def _explained(file: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError:
        raise
    except sqlite3.DatabaseError as error:
        message = f"{file} is no SQLite file or is damaged; delete it and run 'mlrun registry sync'"
        raise TrialbookError(message) from error


def _set_wal(connection: sqlite3.Connection, patience: float) -> None:
    """Switch to the write-ahead log; SQLite does not wait by itself when several processes do this at once."""
    deadline = time.monotonic() + patience
    while True:
        try:
            if connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
                connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def _check_version(connection: sqlite3.Connection, file: Path) -> int:
    version = schema_version(connection)
    if version > VERSION:
        raise TrialbookError(f"{file} was written by a newer trialbook; update this one, or delete the file and sync")
    return version
