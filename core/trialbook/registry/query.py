"""Reading the registry: runs, their summaries, the documents that they share. Plain sqlite3, nothing heavy is imported."""

from __future__ import annotations

import json
import logging
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from trialbook.config.experiment_info import ExperimentInfo
from trialbook.config.run_format import FORMAT
from trialbook.contracts.findings import Finding
from trialbook.errors import TrialbookError, suggest
from trialbook.registry.connection import (
    UnusableRegistry,
    is_current,
    memory_registry,
    open_registry,
    read_registry,
)
from trialbook.registry.indexer import RunIndexer
from trialbook.registry.run_directory import RunDirectory, find_runs, list_folders
from trialbook.registry.run_row import UNREADABLE, UPDATE, is_unchanged, run_key

_LOG = logging.getLogger(__name__)
_COLUMNS = (
    "id, path, experiment, name, arm, base_arm, point, seed, hash, outcome, error, started, ended, seconds, "
    "plan, config, environment, components, data"
)


@dataclass(frozen=True)
class Run:
    """A row of the registry. ``plan`` … ``data`` are numbers of documents; see ``Registry.document``."""

    root: Path
    id: int
    path: str
    experiment: str
    name: str
    arm: str
    base_arm: str
    point_text: str
    seed: int
    hash: str
    outcome: str | None
    error: str | None
    started: float | None
    ended: float | None
    seconds: float | None
    plan: int
    config: int
    environment: int
    components: int
    data: int

    @property
    def directory(self) -> RunDirectory:
        """The run's directory."""
        return RunDirectory(self.root / self.path)

    @cached_property
    def status(self) -> str:
        """``finished`` and ``failed`` as recorded; for an open run what its directory shows now."""
        return self.outcome or self.directory.status()

    @property
    def point(self) -> dict[str, Any]:
        """Dotted key to value of the run's place in the grid."""
        found: dict[str, Any] = json.loads(self.point_text)
        return found


@contextmanager
def open_index(registry: Path) -> Iterator[Registry]:
    """The registry for reading: built where it is missing, and told of runs that are new to it or were killed.

    Where the file cannot be used (another program's, damaged, a full disk) everything is read from the run directories.

    Raises:
        TrialbookError: nothing was ever recorded here, or the registry turns out to be damaged.
    """
    if not has_runs(registry):
        raise TrialbookError(f"no run is recorded in {registry.parent}; 'mlrun run FILE' makes some")
    try:
        connection = _read_indexed(registry)
    except (UnusableRegistry, sqlite3.Error, OSError) as error:
        _LOG.warning("%s; read from the run directories instead", error)
        connection = memory_registry()
        index_into(connection, registry.parent, find_runs(registry.parent))
    try:
        yield Registry(connection, registry.parent)
    except sqlite3.DatabaseError as error:
        raise TrialbookError(f"{registry} is damaged ({error}); delete it and run 'mlrun registry sync'") from error
    finally:
        connection.close()


def _read_indexed(registry: Path) -> sqlite3.Connection:
    """The registry with all runs that lie beside it."""
    if not is_current(registry):
        from trialbook.registry.sync import sync  # late: the usual case needs no writing

        sync(registry)
    connection = read_registry(registry)
    try:
        if behind := stale_runs(connection, registry.parent):
            index_runs(registry, behind)
    except BaseException:
        connection.close()
        raise
    return connection


def index_runs(registry: Path, directories: Iterable[Path]) -> None:
    """Bring runs in line, as far as that can be done now.

    A registry that cannot be written is still worth reading, and a damaged directory must not hide the others: both are left
    for ``sync``, which reports them.
    """
    try:
        connection = open_registry(registry)
    except (UnusableRegistry, sqlite3.Error, OSError):
        return
    try:
        index_into(connection, registry.parent, directories)
    finally:
        connection.close()


def index_into(connection: sqlite3.Connection, root: Path, directories: Iterable[Path]) -> None:
    """Bring runs in line in an open registry; what cannot be taken in is left out."""
    for path in directories:
        with suppress(TrialbookError, OSError, ValueError, sqlite3.Error):
            RunIndexer(connection, root, RunDirectory(path)).refresh()


def has_runs(registry: Path) -> bool:
    """Return whether anything was ever recorded beside a registry."""
    return os.path.lexists(registry) or next(find_runs(registry.parent), None) is not None


def stale_runs(connection: sqlite3.Connection, root: Path) -> list[Path]:
    """Directories that the registry does not know, those of killed runs of which it has not everything, and those that it read
    under the names of another version.
    """
    known = {path for (path,) in connection.execute("SELECT path FROM run")}
    unknown = [run for path in list_folders(root) if path not in known and (run := RunDirectory(root / path)).is_run()]
    rows = connection.execute(
        "SELECT path, outcome, stamp, metrics_size, timing_size FROM run "
        f"WHERE outcome IS NULL OR outcome = '{UNREADABLE}' OR stamp NOT LIKE '{FORMAT} %'"
    )
    behind = [run for path, *seen in rows if not is_unchanged(run := RunDirectory(root / path), *seen)]
    return [run.path for run in (*unknown, *behind) if run.status() not in ("running", "missing")]


class Registry:
    """Questions to the registry.

    Args:
        connection: opened for reading.
        root: folder that relative paths of runs start from.
    """

    def __init__(self, connection: sqlite3.Connection, root: Path) -> None:
        self.connection, self.root = connection, root
        self._documents: dict[int, Any] = {}

    def runs(self, *, experiment: str | None = None) -> list[Run]:
        """All runs, or those of an experiment, oldest first."""
        where, values = ("WHERE experiment = ?", (experiment,)) if experiment is not None else ("", ())
        rows = self.connection.execute(f"SELECT {_COLUMNS} FROM run {where} ORDER BY started, id", values)
        return [Run(self.root, *row) for row in rows]

    def count(self, experiment: str) -> int:
        """Number of runs of an experiment."""
        row = self.connection.execute("SELECT count(*) FROM run WHERE experiment = ?", (experiment,)).fetchone()
        return int(row[0])

    def experiments(self) -> list[str]:
        """Names of all experiments, the one with the newest run last."""
        rows = self.connection.execute("SELECT experiment FROM run GROUP BY experiment ORDER BY max(started), max(id)")
        return [name for (name,) in rows]

    def find(self, text: str) -> list[Run]:
        """Runs that ``text`` may mean: a path, a name, an id, or the beginning of a name; the first of these that fits."""
        keys = (run_key(self.root, Path(text)), text.rstrip("/"))
        runs = self.runs()
        tests: tuple[Callable[[Run], bool], ...] = (
            lambda run: run.path in keys,
            lambda run: text in (run.name, f"{run.experiment}/{run.name}"),
            lambda run: run.hash == text,
            lambda run: run.name.startswith(text) or f"{run.experiment}/{run.name}".startswith(text),
            lambda run: len(text) >= 3 and run.hash.startswith(text),
        )
        return next((found for test in tests if (found := [run for run in runs if test(run)])), [])

    def one(self, text: str) -> Run:
        """The one run that ``text`` means.

        Raises:
            TrialbookError: none or several fit.
        """
        found = self.find(text)
        if not found:
            hint = suggest(text, [run.name for run in self.runs()])
            raise TrialbookError(
                f"no run '{text}'; " + (f"did you mean '{hint}'?" if hint else "'mlrun ls' lists them")
            )
        if len(found) > 1:
            names = ", ".join(f"{run.experiment}/{run.name}" for run in found[:5]) + (" …" if len(found) > 5 else "")
            raise TrialbookError(f"'{text}' fits {len(found)} runs: {names}")
        return found[0]

    def document(self, number: int) -> Any:
        """A document that runs share: configuration, environment, components, data or plan."""
        if number not in self._documents:
            row = self.connection.execute("SELECT body FROM document WHERE id = ?", (number,)).fetchone()
            self._documents[number] = json.loads(row[0]) if row else {}
        return self._documents[number]

    def info(self, run: Run) -> ExperimentInfo:
        """Return the description that the experiment gave of itself when the run was made."""
        return ExperimentInfo.from_json(self.document(run.plan))

    def info_of(self, runs: Sequence[Run]) -> ExperimentInfo:
        """The same of several runs: that of the newest one that can be read."""
        readable = [run for run in runs if run.outcome not in (UNREADABLE, UPDATE)]
        return self.info((readable or list(runs))[-1])

    def metric_names(self, runs: Iterable[Run], kind: str = "metric") -> list[str]:
        """Names of what these runs recorded, in the order in which they became known."""
        rows = self.connection.execute(
            "SELECT DISTINCT metric.id, metric.name FROM summary JOIN metric ON metric.id = metric "
            f"WHERE metric.kind = ? AND run IN ({_numbers(runs)}) ORDER BY metric.id", (kind,),
        )  # fmt: skip
        return [name for _, name in rows]

    def summaries(self, runs: Sequence[Run], names: Sequence[str], columns: str, kind: str = "metric") -> list[Any]:
        """Rows (run, metric name, *columns) of the summaries of these metrics of these runs."""
        ids = self._metric_ids(names, kind)
        chosen = ", ".join(f"summary.{column.strip()}" for column in columns.split(","))
        rows = self.connection.execute(
            f"SELECT run, metric, {chosen} FROM summary WHERE run IN ({_numbers(runs)}) "
            f"AND metric IN ({', '.join(map(str, ids))})"
        )
        return [(run, ids[metric], *values) for run, metric, *values in rows]

    def values_at(self, steps: dict[int, int], names: Sequence[str]) -> list[tuple[int, str, float | None]]:
        """(run, metric name, value) of these metrics at one step of each run: ``steps`` maps run to step."""
        ids = self._metric_ids(names, "metric")
        found = []
        for run, step in steps.items():
            rows = self.connection.execute(
                f"SELECT metric, value FROM point WHERE run = ? AND step = ? AND metric IN ({', '.join(map(str, ids))})",
                (run, step),
            )
            found += [(run, ids[metric], value) for metric, value in rows]
        return found

    def findings(self, runs: Iterable[Run]) -> dict[int, list[Finding]]:
        """Run (by number) to what the doctor says of it, the worst first; runs without a finding are left out."""
        rows = self.connection.execute(
            'SELECT run, "check", severity, component, message, evidence, advice, step FROM finding '
            f"WHERE run IN ({_numbers(runs)}) ORDER BY run, place"
        )
        found: dict[int, list[Finding]] = {}
        for run, check, severity, component, message, evidence, advice, step in rows:
            finding = Finding(check, severity, component, message, json.loads(evidence), advice, step)
            found.setdefault(run, []).append(finding)
        return found

    def _metric_ids(self, names: Sequence[str], kind: str) -> dict[int, str]:
        wanted = set(names)
        rows = self.connection.execute("SELECT id, name FROM metric WHERE kind = ?", (kind,))
        return {number: name for number, name in rows if name in wanted}


def _numbers(runs: Iterable[Run]) -> str:
    """Row numbers for an IN clause; they are our own integers, and more than SQLite takes as parameters."""
    return ", ".join(str(run.id) for run in runs)
