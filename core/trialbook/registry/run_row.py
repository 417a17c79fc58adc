"""The registry's row of a run: all it knows beside the points, read from the run's files."""

from __future__ import annotations

import json
import os
import zlib
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from trialbook.config.run_format import FORMAT, NewerFormat
from trialbook.contracts.files import UnreadableFile, open_regular, to_json
from trialbook.contracts.findings import Finding
from trialbook.registry.record_shapes import LARGEST
from trialbook.registry.run_directory import JSON_FILES, RunDirectory

#: JSON files whose content is kept once however many runs share it, by column.
_DOCUMENTS = {"environment": "env", "components": "components", "data": "data"}
#: Outcome of a run that a newer program wrote: what to do about it.
UPDATE = "update trialbook"
#: Outcome of a run whose directory is damaged; the row's error says where and how.
UNREADABLE = "unreadable"
#: Files whose lines are points, by the kind of metric in them.
POINT_FILES = {"metrics": "metric", "timing": "timing"}
#: What ``run.json`` has in columns of their own; the rest is the ``plan`` document.
_OWN = (
    "format", "experiment", "name", "arm", "base_arm", "point", "seed", "id", "config", "inputs", "relative_path", "sources",
)  # fmt: skip


def run_key(root: Path, run: Path) -> str:
    """Return a run's key in the registry: its path from the registry's folder; the whole path where it lies elsewhere."""
    root, run = (Path(os.path.normpath(path.absolute())) for path in (root, run))
    return run.relative_to(root).as_posix() if run.is_relative_to(root) else str(run)


def facts_stamp(run: RunDirectory) -> str:
    """Sizes and times of the files that a run's row is made from, behind the format that this version reads."""
    return " ".join([str(FORMAT), *map(_state, (*(run.json(name) for name in JSON_FILES), run.error))])


def whole_stamp(run: RunDirectory) -> str:
    """The same with the files of points, for a run that is unreadable: once one of them is another, it is read again."""
    return " ".join([facts_stamp(run), *(_state(run.lines(name)) for name in POINT_FILES)])


def _state(file: Path) -> str:
    try:
        state = file.stat()
    except FileNotFoundError:
        return "-"
    except OSError as error:
        return f"error{error.errno}"
    return f"{state.st_size}.{state.st_mtime_ns}"


def run_facts(run: RunDirectory) -> tuple[dict[str, Any], dict[str, str]]:
    """Columns of a run's row, and the bodies of its documents, as its files say; of a newer program's run its name alone.

    Raises:
        UnreadableFile: one of them cannot be read, or is not what a run writes.
    """
    try:
        spec = run.read("run")
    except NewerFormat as newer:
        return named_facts(run, UPDATE, str(newer))
    if spec is None:
        raise UnreadableFile(run.json("run"), "leads nowhere")
    results, error = run.read("results"), run.read_error()
    sessions = run.read("sessions") or []
    plan = {key: value for key, value in spec.items() if key not in _OWN}
    documents = {"plan": _canonical(plan), "config": _canonical(spec.get("config", {}))}
    for column, name in _DOCUMENTS.items():
        documents[column] = _canonical(run.read(name) or {})
    finished = results is not None
    figures = {key: value for key, value in (results or {}).items() if key != "metrics"}
    columns = {
        "experiment": spec["experiment"], "name": spec.get("name") or run.path.name,
        "arm": spec["arm"], "base_arm": spec.get("base_arm") or spec["arm"],
        "point": _canonical(spec.get("point") or {}), "seed": spec["seed"], "hash": spec["id"],
        "outcome": "finished" if finished else "failed" if error is not None else None,
        "error": error, "results": _canonical(figures) if finished else None,
        "started": _epoch(sessions[0].get("started")) if sessions else None,
        "ended": _epoch(sessions[-1].get("ended")) if sessions else None,
        "seconds": session_seconds(sessions),
    }  # fmt: skip
    return columns, documents


def named_facts(run: RunDirectory, outcome: str, message: str) -> tuple[dict[str, Any], dict[str, str]]:
    """The same of a run that can only be listed, by the name of its directory.

    Args:
        run: its directory.
        outcome: ``UPDATE`` or ``UNREADABLE``.
        message: what keeps it from being read.
    """
    arm, _, seed_and_id = run.path.name.rpartition("-s")
    seed, _, digest = seed_and_id.partition("-")
    columns = {
        "experiment": run.path.parent.name, "name": run.path.name, "arm": arm, "base_arm": arm, "point": "{}",
        "seed": int(seed) if seed.isdecimal() and int(seed) <= LARGEST else 0, "hash": digest, "outcome": outcome,
        "error": message, "results": None, "started": None, "ended": None, "seconds": None,
    }  # fmt: skip
    return columns, dict.fromkeys(("plan", "config", *_DOCUMENTS), "{}")


def run_findings(run: RunDirectory) -> list[tuple[Any, ...]]:
    """Rows of what the doctor says of a run: place, check, severity, component, message, evidence, advice, step."""
    findings = [Finding.from_dict(one) for one in run.read("findings") or []]
    return [
        (place, one.check, one.severity, one.component, one.message, _canonical(one.evidence), one.advice, one.step)
        for place, one in enumerate(findings)
    ]


def session_seconds(sessions: list[dict[str, Any]]) -> float | None:
    """Seconds that a run was worked at, over all its sessions; None while one of them has no end."""
    spans = [(_epoch(session.get("started")), _epoch(session.get("ended"))) for session in sessions]
    known = [end - start for start, end in spans if start is not None and end is not None]
    return round(sum(known), 3) if spans and len(known) == len(spans) else None


def is_unchanged(run: RunDirectory, outcome: Any, stamp: Any, metrics_size: Any, timing_size: Any) -> bool:
    """Return whether the files' sizes and times are those that the registry saw; cheap, and enough after a copy or a kill."""
    if outcome == UNREADABLE:
        return bool(stamp == whole_stamp(run))
    sizes = (file_size(run.lines("metrics")), file_size(run.lines("timing")))
    return sizes == (metrics_size, timing_size) and bool(stamp == facts_stamp(run))


def _epoch(text: str | None) -> float | None:
    if text is None:
        return None
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).timestamp()


def _canonical(value: Any) -> str:
    plain = json.loads(to_json(value, indent=None))
    return json.dumps(plain, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def file_size(file: Path) -> int:
    """Size in bytes; 0 where there is no such file."""
    try:
        return file.stat().st_size
    except OSError:
        return 0


def begins_with(file: Path, size: int, check: int) -> bool:
    """Return whether the first ``size`` bytes of a file have this CRC-32."""
    if size > file_size(file):
        return False
    if size == 0:
        return True
    left, value = size, 0
    with open_regular(file) as stream:
        while left and (data := stream.read(min(left, 1 << 20))):
            value, left = zlib.crc32(data, value), left - len(data)
    return left == 0 and value == check
