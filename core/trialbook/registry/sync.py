"""Rebuilding the registry from run directories, and checking that the two agree."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trialbook.config.run_format import FORMAT
from trialbook.contracts.files import UnreadableFile
from trialbook.errors import TrialbookError
from trialbook.registry.connection import open_registry, transaction
from trialbook.registry.indexer import RunIndexer
from trialbook.registry.run_directory import RunDirectory, find_runs
from trialbook.registry.run_row import (
    POINT_FILES,
    UNREADABLE,
    UPDATE,
    begins_with,
    facts_stamp,
    file_size,
    is_unchanged,
    run_key,
)

_STATE = "SELECT path, stamp, metrics_size, metrics_check, timing_size, timing_check, outcome, error FROM run"
_NO_TEXT = "its name is not UTF-8, so that the registry cannot hold it; rename the directory"
_MISCOUNTED = "the registry has another number of points than its files (sync --reread reads them again)"
#: What a directory can raise beside ``UnreadableFile``: one that vanishes, or whose name is no text.
_SPOILT = (TrialbookError, OSError, ValueError)


@dataclass
class SyncReport:
    """The outcome of ``sync``, as runs by their path."""

    added: list[str] = field(default_factory=list)
    updated: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    unchanged: int = 0
    problems: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Difference:
    """A run of which directory and registry say different things.

    Args:
        run: its path.
        message: what differs.
        sync_helps: whether ``mlrun registry sync`` brings the two in line.
    """

    run: str
    message: str
    sync_helps: bool = True


def sync(registry: Path, *, reread: bool = False) -> SyncReport:
    """Bring the registry in line with all run directories beside it: those that were copied here, those that are gone.

    Args:
        registry: the SQLite file.
        reread: read every directory again, whatever the registry says of it.
    Raises:
        TrialbookError: the registry is damaged.
    """
    report = SyncReport()
    root = registry.parent
    connection = open_registry(registry)
    try:
        _update_names(connection, root)
        known = {row[0]: row[1:] for row in connection.execute(_STATE)}
        directories = _all_runs(root, known)
        if reread:
            delete_runs(connection, known)
        for path in directories:
            run = RunDirectory(path)
            key = run_key(root, path)
            if not _is_text(key):
                report.problems.append(f"{_printable(key)}: {_NO_TEXT}")
                continue
            state = known.pop(key, None)
            if not reread and state is not None and _agrees(run, state):
                report.unchanged += 1
                if state[5] == UNREADABLE:
                    report.problems.append(f"{key}: {state[6]}")
                continue
            try:
                indexer = RunIndexer(connection, root, run)
                indexer.refresh()
                if indexer.damage is not None:
                    raise indexer.damage
                (report.added if state is None else report.updated).append(key)
            except _SPOILT as error:
                report.problems.append(f"{key}: {error}")
        delete_runs(connection, known)
        report.removed.extend(sorted(known))
    finally:
        connection.close()
    return report


def check(registry: Path) -> list[Difference]:
    """Every run of which directory and registry do not say the same; the points' files are compared by checksum.

    A run under way is left out: the registry follows it a moment later. A registry of an older version is brought up to date
    first.
    """
    root = registry.parent
    connection = open_registry(registry)
    try:
        _update_names(connection, root)
        known = {row[0]: row[1:] for row in connection.execute(_STATE)}
        counts = dict(connection.execute("SELECT run.path, count(*) FROM point JOIN run ON run.id = run GROUP BY run"))
    finally:
        connection.close()
    found = []
    for path in _all_runs(root, known):
        run, key = RunDirectory(path), run_key(root, path)
        state = known.pop(key, None)
        if run.status() == "running":
            continue
        if not _is_text(key):
            found.append(Difference(_printable(key), _NO_TEXT, sync_helps=False))
            continue
        try:
            differing = _compare(run, state, counts.get(key, 0))
        except UnreadableFile as error:
            found.append(Difference(key, str(error), sync_helps=False))
            continue
        if differing and (damage := run.find_damage(lines=tuple(POINT_FILES))):
            found.append(Difference(key, str(damage), sync_helps=False))
        else:
            helps = (state is None or state[5] != UPDATE) and differing != [_MISCOUNTED]
            found += [Difference(key, message, helps) for message in differing]
    return found + [Difference(key, "is in the registry, its directory is gone") for key in sorted(known)]


def delete_runs(connection: sqlite3.Connection, keys: Iterable[str]) -> None:
    """Delete runs from the registry, with their points and with documents that no other run shares."""
    keys = list(keys)
    if not keys:
        return
    with transaction(connection):
        connection.executemany("DELETE FROM run WHERE path = ?", [(key,) for key in keys])
        columns = ("plan", "config", "environment", "components", "data")
        used = " UNION ".join(f"SELECT {column} FROM run WHERE {column} IS NOT NULL" for column in columns)
        connection.execute(f"DELETE FROM document WHERE id NOT IN ({used})")


def _update_names(connection: sqlite3.Connection, root: Path) -> None:
    """Read runs again that the registry has under the names of another version."""
    rows = connection.execute(f"SELECT path FROM run WHERE stamp NOT LIKE '{FORMAT} %'").fetchall()
    for run in (RunDirectory(root / path) for (path,) in rows):
        if run.is_run():
            with suppress(*_SPOILT):  # it is reported when directory and registry are compared
                RunIndexer(connection, root, run).refresh()


def _all_runs(root: Path, known: Iterable[str]) -> list[Path]:
    """Runs in the registry's folder, and those elsewhere that it knows."""
    elsewhere = [Path(key) for key in known if Path(key).is_absolute() and RunDirectory(Path(key)).is_run()]
    return [*find_runs(root), *elsewhere]


def _is_text(key: str) -> bool:
    """Return whether the registry can hold a path; names of files may have bytes that are no UTF-8."""
    return _printable(key) == key


def _printable(key: str) -> str:
    return key.encode(errors="backslashreplace").decode()


def _agrees(run: RunDirectory, state: tuple[Any, ...]) -> bool:
    """Return whether a run's files are what the registry read, to the last byte."""
    if state[5] == UPDATE:
        return bool(state[0] == facts_stamp(run))
    try:
        unchanged = is_unchanged(run, state[5], state[0], state[1], state[3])
        return bool(unchanged and (state[5] == UNREADABLE or not _compare(run, state, None)))
    except UnreadableFile:
        return False


def _compare(run: RunDirectory, state: tuple[Any, ...] | None, points: int | None) -> list[str]:
    """List how a run's files differ from what the registry read; ``points`` is how many it has, None leaves them uncounted."""
    if state is None:
        return ["is not in the registry"]
    if state[5] == UPDATE:
        return ["a newer trialbook recorded it: update trialbook"]
    if state[5] == UNREADABLE:
        return ["was unreadable when the registry read it"]
    found = [] if state[0] == facts_stamp(run) else ["its JSON files changed after the registry read them"]
    for index, name in enumerate(POINT_FILES):
        size, value = int(state[1 + 2 * index]), int(state[2 + 2 * index])
        if not begins_with(run.lines(name), size, value):
            found.append(f"{name}.jsonl is not what the registry read")
        elif file_size(run.lines(name)) != size:
            found.append(f"{name}.jsonl has more than the registry")
    if not found and points is not None and points != _count_points(run):
        found.append(_MISCOUNTED)
    return found


def _count_points(run: RunDirectory) -> int:
    places: set[tuple[str, int, str]] = set()
    for name in POINT_FILES:
        for line in run.read_lines(name):
            places.update((name, line["step"], metric) for metric in line["values"])
    return len(places)
