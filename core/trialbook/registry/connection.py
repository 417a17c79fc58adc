"""Opening the registry, for writing and for reading."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from trialbook.contracts.files import UnreadableFile, check_regular
from trialbook.errors import TrialbookError
from trialbook.registry.migrations import VERSION, ensure_schema, is_registry, schema_version

#: Most bytes of a path that SQLite opens.
_LONGEST_PATH = 500
_PRAGMAS = ("PRAGMA synchronous = NORMAL", "PRAGMA foreign_keys = ON", "PRAGMA temp_store = MEMORY")


class UnusableRegistry(TrialbookError):
    """The file is no registry that this program can open; the run directories have all that it would hold."""


def open_registry(file: Path, *, patience: float = 30.0) -> sqlite3.Connection:
    """Open the registry for writing, making or migrating it first.

    Args:
        file: the SQLite file; its folder is made where it is not there.
        patience: seconds to wait for other writers.
    Raises:
        UnusableRegistry: the file is no registry, or a newer program wrote it; it is left as it is.
        sqlite3.Error, OSError: it cannot be opened or stays locked.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    with _explained(file):
        check_regular(file)
        connection = sqlite3.connect(file, timeout=patience, isolation_level=None)
        try:
            _check_version(connection, file)
            _set_wal(connection, patience)
            for pragma in _PRAGMAS:
                connection.execute(pragma)
            ensure_schema(connection)
        except BaseException:
            connection.close()
            raise
    return connection


def is_current(file: Path) -> bool:
    """Return whether there is a registry that this program need not make or migrate first.

    Raises:
        UnusableRegistry: it cannot be read.
    """
    if not os.path.lexists(file):
        return False
    connection = _connect_to_read(file)
    try:
        return schema_version(connection) == VERSION
    finally:
        connection.close()


def read_registry(file: Path) -> sqlite3.Connection:
    """Open an existing registry for reading only.

    Raises:
        UnusableRegistry: there is none, it cannot be read, or another program or version made it.
    """
    if not os.path.lexists(file):
        raise UnusableRegistry(
            f"there is no registry at {file}; 'mlrun registry sync' makes it from the run directories"
        )
    connection = _connect_to_read(file)
    if schema_version(connection) < VERSION:
        connection.close()
        raise UnusableRegistry(f"{file} is of an older version; run 'mlrun registry sync'")
    return connection


def _connect_to_read(file: Path) -> sqlite3.Connection:
    address = str(file.absolute()).replace("%", "%25").replace("?", "%3f").replace("#", "%23")
    try:
        with _explained(file):
            check_regular(file)
            connection = sqlite3.connect(f"file:{address}?mode=ro", uri=True, timeout=30, isolation_level=None)
            try:
                connection.execute("PRAGMA query_only = ON")
                _check_version(connection, file)
            except BaseException:
                connection.close()
                raise
    except sqlite3.Error as error:
        raise UnusableRegistry(f"{file} cannot be read ({error})") from error
    return connection


def memory_registry() -> sqlite3.Connection:
    """An empty registry that is in no file, for reading where the file cannot be used."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    ensure_schema(connection)
    return connection


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
    except UnreadableFile as error:
        raise UnusableRegistry(f"{file} {error.reason}; move it away and run 'mlrun registry sync'") from error
    except sqlite3.OperationalError as error:
        if len(os.fsencode(file.absolute())) > _LONGEST_PATH:
            raise UnusableRegistry(
                f"{file} has a path of more than {_LONGEST_PATH} bytes, which SQLite cannot open; put the runs elsewhere"
            ) from error
        raise
    except sqlite3.DatabaseError as error:
        raise UnusableRegistry(
            f"{file} is no SQLite file or is damaged; delete it and run 'mlrun registry sync'"
        ) from error


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


def _check_version(connection: sqlite3.Connection, file: Path) -> None:
    if not is_registry(connection):
        raise UnusableRegistry(
            f"{file} belongs to another program and is left as it is; move it away and run 'mlrun registry sync', or name "
            "another directory of runs"
        )
    if schema_version(connection) > VERSION:
        raise UnusableRegistry(f"{file} was written by a newer trialbook; update this one, or delete the file and sync")
