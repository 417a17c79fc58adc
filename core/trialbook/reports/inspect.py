"""Looking at single runs: the list, everything about one, the difference of two; and deleting them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from trialbook.analysis.selection import flatten
from trialbook.contracts.files import UnreadableFile
from trialbook.errors import printable
from trialbook.registry.connection import UnusableRegistry, memory_registry, open_registry
from trialbook.registry.lock import RunLock
from trialbook.registry.query import Registry, Run
from trialbook.registry.run_row import run_key
from trialbook.registry.sync import delete_runs
from trialbook.reports.tables import NOTHING, Column, Table, render, show_duration, show_value

_COLOURS = {"running": "cyan", "failed": "red", "killed": "yellow", "missing": "dim", "unreadable": "red"}
_SUMMARY = "first, last, min, max, min_step, max_step, first_step, last_step, count, not_finite"

#: Most characters of a value in a table.
_WIDEST = 56


def list_table(runs: Sequence[Run]) -> Table:
    """Runs, one a row."""
    columns = [
        Column("experiment"), Column("arm"), Column("seed", right=True), Column("status"), Column("id"),
        Column("started", show=_moment), Column("seconds", "time", right=True, show=show_duration), Column("name"),
    ]  # fmt: skip
    rows = [[r.experiment, r.arm, r.seed, r.status, r.hash, r.started, r.seconds, r.name] for r in runs]
    return Table(columns, rows, styles={i: _COLOURS[r.status] for i, r in enumerate(runs) if r.status in _COLOURS})


def run_facts_of(registry: Registry, run: Run) -> dict[str, Any]:
    """Everything that the registry and the run's events say of a run."""
    names = _SUMMARY.split(", ")
    figures = {
        kind: {
            metric: dict(zip(names, values, strict=True))
            for _, metric, *values in registry.summaries([run], registry.metric_names([run], kind), _SUMMARY, kind)
        }
        for kind in ("metric", "timing")
    }
    return {
        "name": run.name, "experiment": run.experiment, "arm": run.arm, "seed": run.seed, "id": run.hash,
        "status": run.status, "error": run.error, "path": str(run.directory.path),
        "started": run.started, "ended": run.ended, "seconds": run.seconds,
        "question": registry.info(run).question, "config": registry.document(run.config),
        "metrics": figures["metric"], "timing": figures["timing"],
        "components": registry.document(run.components), "data": registry.document(run.data),
        "environment": registry.document(run.environment),
        **_events(run),
    }  # fmt: skip


def _events(run: Run) -> dict[str, Any]:
    """The run's events; where they cannot be read, what is wrong with their file."""
    try:
        return {"events": list(run.directory.read_lines("events"))}
    except UnreadableFile as error:
        return {"events": [], "unreadable": str(error)}


def show_text(facts: Mapping[str, Any], *, terminal: bool = False) -> str:
    """The facts of a run as a page for people."""
    head = [f"{facts['experiment']}/{facts['name']}  {facts['status']}", f"{facts['path']}"]
    head.append(f"started {_moment(facts['started'])}, took {show_duration(facts['seconds'])}")
    blocks = [printable("\n".join(head))]
    if facts["error"]:
        blocks.append(f"Error\n{_indented(printable(facts['error'].rstrip()))}")
    figures = {**facts["metrics"], **facts["timing"]}
    if figures:
        columns = [Column("metric"), *(Column(n, right=True) for n in ("first", "last", "min", "max", "count"))]
        rows = [[name, *(values[c.name] for c in columns[1:])] for name, values in figures.items()]
        blocks.append(render(Table(columns, rows), "table", terminal=terminal))
    if facts["components"]:
        columns = [Column(name) for name in ("part", "target", "plugin", "version", "commit", "source")]
        rows = [[part, *(_short(c.get(col.name)) for col in columns[1:])] for part, c in facts["components"].items()]
        blocks.append(render(Table(columns, rows), "table", terminal=terminal))
    for title in ("config", "data", "environment"):
        lines = [f"{key} = {_value(value)}" for key, value in flatten(facts[title]).items() if key]
        if lines:
            blocks.append(f"{title.capitalize()}\n" + _indented(printable("\n".join(lines))))
    if facts["events"]:
        lines = [f"{event['time']}  step {event['step']}  {event['message']}" for event in facts["events"]]
        blocks.append("Events\n" + _indented(printable("\n".join(lines))))
    if "unreadable" in facts:
        blocks.append(f"Events\n{_indented(printable(facts['unreadable']))}")
    return "\n\n".join(blocks)


def diff_table(registry: Registry, first: Run, second: Run) -> Table:
    """Every key in which two runs differ: configuration, components, environment, data, last metrics."""
    sheets = [_sheet(registry, run) for run in (first, second)]
    keys = dict.fromkeys([*sheets[0], *sheets[1]])
    rows = [[key, sheets[0].get(key), sheets[1].get(key)] for key in keys if sheets[0].get(key) != sheets[1].get(key)]
    names = [first.name, second.name] if first.name != second.name else [first.path, second.path]
    columns = [Column("key"), *(Column(side, name, show=_clipped) for side, name in zip("ab", names, strict=True))]
    return Table(columns, rows)


def remove_runs(registry: Path, runs: Sequence[Run]) -> None:
    """Delete the directories of runs, and their rows where the registry can be opened.

    Raises:
        RunLocked: a process works in one of them; those before it are deleted.
    """
    try:
        connection = open_registry(registry)
    except UnusableRegistry:
        connection = memory_registry()
    try:
        for run in runs:
            if run.directory.path.is_dir():
                lock = RunLock(run.directory.lock)
                with suppress(UnreadableFile):  # what is no file is nobody's lock
                    lock.acquire()
                try:
                    shutil.rmtree(run.directory.path)
                finally:
                    lock.release()
            delete_runs(connection, [run_key(registry.parent, run.directory.path)])
    finally:
        connection.close()


def _sheet(registry: Registry, run: Run) -> dict[str, Any]:
    figures = registry.summaries([run], registry.metric_names([run]), "last")
    return {
        "arm": run.arm, "seed": run.seed, "status": run.status,
        **flatten(registry.document(run.config)),
        **flatten(registry.document(run.components), "components."),
        **flatten(registry.document(run.environment), "environment."),
        **flatten(registry.document(run.data), "data."),
        **{f"last {metric}": value for _, metric, value in figures},
    }  # fmt: skip


def _moment(seconds: float | None) -> str:
    return NOTHING if seconds is None else datetime.fromtimestamp(seconds).strftime("%Y-%m-%d %H:%M:%S")


def _clipped(value: Any) -> str:
    """A value in a table for people: a long one is cut, its whole is in the JSON."""
    text = _value(value)
    return text if len(text) <= _WIDEST else f"{text[: _WIDEST - 1]}…"


def _value(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else show_value(value)


def _short(value: Any) -> Any:
    return value[:48] if isinstance(value, str) and ":" in value else value[:12] if isinstance(value, str) else value


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.splitlines())
