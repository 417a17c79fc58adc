"""Spans of work on a run: ``sessions.json``, one entry for each process that took it up, and what changed between them."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any

from trialbook.registry.facts import session_seconds
from trialbook.rundir import LINE_FILES, RunDirectory, read_json, to_json, write_whole

#: Parts of ``env.json`` that are added when the device is known.
LATER = ("device", "compute")
#: What may change without touching a run: files come and go, and one GPU is as good as another of its name.
_INCIDENTAL = ("git.untracked", "device.index", "device.visible")
#: Ways to say that there is nothing.
_NOTHING: tuple[Any, ...] = (None, "", [], {})


def open_session(run: RunDirectory) -> None:
    """Begin a span of work; the one before has no end if it was killed, and then ended at its last line."""
    sessions = read_json(run.json("sessions")) or []
    if sessions and sessions[-1]["ended"] is None:
        last = max(run.lines(name).stat().st_mtime for name in LINE_FILES)
        sessions[-1] |= {"ended": max(sessions[-1]["started"], now(last)), "killed": True}
    sessions.append({"started": now(), "ended": None, "host": socket.gethostname(), "pid": os.getpid()})
    write_whole(run.json("sessions"), to_json(sessions))


def note_changes(run: RunDirectory, changed: Mapping[str, Any]) -> None:
    """Note what of the environment is not as it was when the run was begun, key to [before, now]."""
    sessions = read_json(run.json("sessions")) or [{}]
    sessions[-1]["changed"] = {**sessions[-1].get("changed", {}), **changed}
    write_whole(run.json("sessions"), to_json(sessions))


def changes_between(before: Mapping[str, Any] | None, now: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Dotted keys whose values differ in a way that can touch a run -> [before, now]."""
    found: dict[str, Any] = {}
    for key in {**(before or {}), **now}:
        full, old, new = f"{prefix}{key}", (before or {}).get(key), now.get(key)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            found |= changes_between(old, new, f"{full}.")
        elif full in _INCIDENTAL or (old in _NOTHING and new in _NOTHING):
            continue
        elif json.loads(to_json(old)) != json.loads(to_json(new)):
            found[full] = [old, new]
    return found


def close_session(run: RunDirectory) -> float | None:
    """End the span that is open, if one is; seconds of all of them."""
    sessions = read_json(run.json("sessions")) or []
    if sessions and sessions[-1]["ended"] is None:
        sessions[-1]["ended"] = now()
        write_whole(run.json("sessions"), to_json(sessions))
    return session_seconds(sessions)


def now(moment: float | None = None) -> str:
    """UTC, to the millisecond, in ISO 8601; of ``moment``, in seconds since 1970, if it is given."""
    when = datetime.now(timezone.utc) if moment is None else datetime.fromtimestamp(moment, timezone.utc)
    return when.isoformat(timespec="milliseconds")
