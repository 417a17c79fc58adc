"""Spans of work on a run: ``sessions.json``, one entry for each process that took it up."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any

from trialbook.registry.facts import session_seconds
from trialbook.rundir import LINE_FILES, RunDirectory, read_json, to_json, write_whole


def open_session(run: RunDirectory, changed: Mapping[str, Any]) -> None:
    """Begin a span of work; the one before has no end if it was killed, and then ended at its last line.

    Args:
        run: the run's directory.
        changed: what of the environment is not as it was, key to [before, now].
    """
    sessions = read_json(run.json("sessions")) or []
    if sessions and sessions[-1]["ended"] is None:
        last = max(run.lines(name).stat().st_mtime for name in LINE_FILES)
        sessions[-1] |= {"ended": max(sessions[-1]["started"], now(last)), "killed": True}
    sessions.append({"started": now(), "ended": None, "host": socket.gethostname(), "pid": os.getpid()})
    if changed:
        sessions[-1]["changed"] = dict(changed)
    write_whole(run.json("sessions"), to_json(sessions))


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
