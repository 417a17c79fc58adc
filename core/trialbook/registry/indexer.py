"""Bringing the rows of one run in line with its directory: wholly, or by what was appended since.

The registry follows the files, never the process that writes them: the same code serves a run under way, a directory
that was copied from elsewhere, and a registry that is rebuilt. How far the files are in is kept with the run's row, as a
size and a checksum of all bytes up to there, and moves in the same transaction as the points.
"""

from __future__ import annotations

import hashlib
import sqlite3
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trialbook.config.run_format import Format1
from trialbook.contracts.files import MOST_OF_LINE, UnreadableFile, check_regular, open_regular, read_line
from trialbook.registry.connection import transaction
from trialbook.registry.record_shapes import LINES
from trialbook.registry.run_directory import RunDirectory
from trialbook.registry.run_files import count_lines
from trialbook.registry.run_row import (
    POINT_FILES,
    UNREADABLE,
    UPDATE,
    begins_with,
    facts_stamp,
    file_size,
    named_facts,
    run_facts,
    run_findings,
    run_key,
    whole_stamp,
)
from trialbook.registry.summary import Summary

#: Bytes of a file that are taken in by one transaction.
CHUNK = 1 << 18


@dataclass
class _Place:
    """The position up to which a file is in the registry."""

    size: int = 0
    check: int = 0


class RunIndexer:
    """Keeps the registry's rows of one run in line with its directory.

    Args:
        connection: the registry, in autocommit mode.
        root: the registry's folder; runs in it are known by their path from there.
        run: the directory, in which a run was started.

    Attributes:
        damage: what keeps the run from being read; it is listed as unreadable then, without points.
    """

    def __init__(self, connection: sqlite3.Connection, root: Path, run: RunDirectory) -> None:
        self.connection, self.run = connection, run
        self.path = run_key(root, run.path)
        self._id = 0
        self._places: dict[str, _Place] = {}
        self._summaries: dict[int, Summary] = {}
        self._metrics: dict[tuple[str, str], int] = {}
        self._mapping: Format1 | None = None
        self._newer = False
        self.damage: UnreadableFile | None = None

    def refresh(self) -> None:
        """Bring everything in line: facts, then points to the end of the files; a file that was changed is read again."""
        with self._listing_damage():
            self._upsert_facts()
            self._load()
        while self.append():
            pass

    def write_facts(self) -> None:
        """Replace the run's row by what its JSON files say now."""
        with self._listing_damage():
            self._upsert_facts()

    def append(self) -> bool:
        """Take in what was appended to the files, up to ``CHUNK`` bytes of each; whether there was anything.

        Starts over by itself where another process moved the rows in the meantime, or where a file has become shorter.
        """
        if self.damage or (self._id and self._sizes() == [place.size for place in self._places.values()]):
            return False
        fresh: dict[str, bytes] = {}
        with self._listing_damage():
            if not self._id or self._stored_places() != self._places or self._shrunk():
                self._load()
            fresh = {name: self._read(name) for name in POINT_FILES}
            for name, data in fresh.items():
                if data:
                    self._insert(name, data)
            self._write_places()
        return any(fresh.values())

    @contextmanager
    def _listing_damage(self) -> Iterator[None]:
        """One transaction; where a file of the run cannot be read it is undone, and the run is listed as unreadable."""
        try:
            with transaction(self.connection):
                yield
        except UnreadableFile as error:
            self.forget()
            with transaction(self.connection):
                self._list_as_unreadable(error)
        except BaseException:
            self.forget()
            raise

    def forget(self) -> None:
        """Distrust what is remembered of the registry's state, after an error or when a file was cut."""
        self._id = 0
        self._metrics.clear()

    def _upsert_facts(self) -> None:
        stamp = facts_stamp(self.run)
        columns, documents = run_facts(self.run)
        findings = run_findings(self.run) if columns["outcome"] != UPDATE else []
        for name in POINT_FILES:
            check_regular(self.run.lines(name))
        row = self._upsert({**columns, "stamp": stamp}, documents)
        self.connection.executemany(
            f"INSERT INTO finding VALUES ({', '.join('?' * 9)})", [(row, *finding) for finding in findings]
        )
        self.damage = None

    def _list_as_unreadable(self, error: UnreadableFile) -> None:
        """Keep of the run its name and what is wrong with it."""
        self.damage = error
        columns, documents = named_facts(self.run, UNREADABLE, str(error))
        sizes = {f"{name}_{what}": 0 for name in POINT_FILES for what in ("size", "check")}
        row = self._upsert({**columns, **sizes, "stamp": whole_stamp(self.run)}, documents)
        self._delete_points(row)

    def _upsert(self, columns: dict[str, Any], documents: dict[str, str]) -> int:
        """Put the run's row there, without findings; returns its number."""
        columns |= {column: self._document(body) for column, body in documents.items()}
        columns |= {"path": self.path}
        names, marks = ", ".join(columns), ", ".join(f":{name}" for name in columns)
        updates = ", ".join(f"{name} = excluded.{name}" for name in columns if name != "path")
        self.connection.execute(
            f"INSERT INTO run ({names}) VALUES ({marks}) ON CONFLICT (path) DO UPDATE SET {updates}", columns
        )
        row = self.connection.execute("SELECT id FROM run WHERE path = ?", (self.path,)).fetchone()
        self.connection.execute("DELETE FROM finding WHERE run = ?", row)
        return int(row[0])

    def _delete_points(self, row: int) -> None:
        for table in ("point", "summary"):
            self.connection.execute(f"DELETE FROM {table} WHERE run = ?", (row,))

    def _load(self) -> None:
        """Learn what the registry has; where the files do not begin with that any more, delete it."""
        find = "SELECT id FROM run WHERE path = ?"
        row = self.connection.execute(find, (self.path,)).fetchone()
        if row is None:
            self._upsert_facts()
            row = self.connection.execute(find, (self.path,)).fetchone()
        self._id = row[0]
        self._newer = self.run.is_newer()
        self._mapping = None if self._newer else self.run.mapping()
        self._places = self._stored_places()
        rows = self.connection.execute(
            "SELECT metric, first, last, min, max, min_step, max_step, first_step, last_step, count, not_finite "
            "FROM summary WHERE run = ?", (self._id,),
        )  # fmt: skip
        self._summaries = {metric: Summary(*values) for metric, *values in rows}
        if not all(begins_with(self.run.lines(name), place.size, place.check) for name, place in self._places.items()):
            self._delete_points(self._id)
            self._places = {name: _Place() for name in POINT_FILES}
            self._summaries = {}

    def _sizes(self) -> list[int]:
        return [file_size(self.run.lines(name)) for name in POINT_FILES]

    def _shrunk(self) -> bool:
        return any(size < place.size for size, place in zip(self._sizes(), self._places.values(), strict=True))

    def _stored_places(self) -> dict[str, _Place]:
        row = self.connection.execute(
            "SELECT metrics_size, metrics_check, timing_size, timing_check FROM run WHERE id = ? AND path = ?",
            (self._id, self.path),
        ).fetchone()
        if row is None:
            return {}
        return {name: _Place(row[2 * i], row[2 * i + 1]) for i, name in enumerate(POINT_FILES)}

    def _write_places(self) -> None:
        for name, place in self._places.items():
            self.connection.execute(
                f"UPDATE run SET {name}_size = ?, {name}_check = ? WHERE id = ?", (place.size, place.check, self._id)
            )

    def _read(self, name: str) -> bytes:
        """Whole lines that are not in yet; none of a run that only a newer program can read."""
        file = self.run.lines(name)
        if self._newer or file_size(file) <= self._places[name].size:
            return b""
        with open_regular(file) as stream:
            stream.seek(self._places[name].size)
            data = stream.read(CHUNK)
            if b"\n" not in data:
                data += stream.readline(MOST_OF_LINE)
        if b"\n" not in data and len(data) > MOST_OF_LINE:
            raise UnreadableFile(file, f"has a line of more than {MOST_OF_LINE >> 20} MiB")
        return data[: data.rfind(b"\n") + 1]

    def _insert(self, name: str, data: bytes) -> None:
        kind, points, touched = POINT_FILES[name], [], set()
        run, metrics, summaries = self._id, self._metrics, self._summaries
        for step, values in self._parsed(name, data):
            for metric, value in values.items():
                key = metrics.get((kind, metric)) or self._metric(kind, metric)
                points.append((run, step, key, value))
                if key not in summaries:
                    summaries[key] = Summary.empty(step, value)
                summaries[key].add(step, value)
                touched.add(key)
        self.connection.executemany("INSERT OR REPLACE INTO point VALUES (?, ?, ?, ?)", points)
        rows = [(run, key, *summaries[key].row()) for key in touched]
        self.connection.executemany(f"INSERT OR REPLACE INTO summary VALUES ({', '.join('?' * 12)})", rows)
        place = self._places[name]
        self._places[name] = _Place(place.size + len(data), zlib.crc32(data, place.check))

    def _parsed(self, name: str, data: bytes) -> list[tuple[int, dict[str, float]]]:
        file, mapping = self.run.lines(name), self._mapping if name == "metrics" else None
        found = []
        for place, line in enumerate(data.split(b"\n")[:-1]):
            try:
                record = read_line(line, file, place, LINES[name])
            except UnreadableFile as error:  # lines are only counted for the message
                before = count_lines(file, self._places[name].size)
                raise UnreadableFile(file, error.reason, before + place + 1) from error
            record = record if mapping is None else mapping.line(record)
            found.append((record["step"], record["values"]))
        return found

    def _metric(self, kind: str, name: str) -> int:
        self.connection.execute("INSERT OR IGNORE INTO metric (kind, name) VALUES (?, ?)", (kind, name))
        row = self.connection.execute("SELECT id FROM metric WHERE kind = ? AND name = ?", (kind, name)).fetchone()
        self._metrics[kind, name] = row[0]
        return int(row[0])

    def _document(self, body: str) -> int:
        digest = hashlib.sha256(body.encode()).hexdigest()
        self.connection.execute("INSERT OR IGNORE INTO document (sha256, body) VALUES (?, ?)", (digest, body))
        return int(self.connection.execute("SELECT id FROM document WHERE sha256 = ?", (digest,)).fetchone()[0])
