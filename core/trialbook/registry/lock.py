"""The lock of a run's directory: one process works in it, and everyone can see whether that process lives."""

from __future__ import annotations

import fcntl
import json
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from trialbook.contracts.files import UnreadableFile, check_regular, open_regular, read_json
from trialbook.errors import TrialbookError
from trialbook.registry.record_shapes import or_none, table, text, whole
from trialbook.registry.run_files import remove_leftovers

_HOLDER = table({"host": text, "pid": whole, "started": or_none(text)})


class RunLocked(TrialbookError):
    """Another process is at work in the run's directory.

    Args:
        message: says so.
        holder: the process, as far as it is known.
    """

    def __init__(self, message: str, holder: str = "another process") -> None:
        super().__init__(message)
        self.holder = holder


class RunLock:
    """Held from ``acquire`` to ``release`` or until the process ends, however it ends.

    Args:
        file: the lock file; made where it is not there.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._handle: int | None = None

    def acquire(self) -> None:
        """Take the lock. A short wait covers another command that is just looking whether it is held.

        What killed processes left half-written in the directory is deleted.

        Raises:
            RunLocked: another process holds it.
            UnreadableFile: something that is no file has its name.
        """
        check_regular(self._file)
        handle = os.open(self._file, os.O_RDWR | os.O_CREAT, 0o644)
        deadline = time.monotonic() + 0.2
        while not self._taken(handle):
            if time.monotonic() > deadline:
                os.close(handle)
                holder = _read_holder(self._file)
                who = f"process {holder['pid']} on {holder['host']}" if holder else "another process"
                raise RunLocked(f"{self._file.parent} is in use by {who}; wait for it or end it first", who)
            time.sleep(0.01)
        facts = {"host": os.uname().nodename, "pid": os.getpid(), "started": _process_start(os.getpid())}
        os.ftruncate(handle, 0)
        os.pwrite(handle, json.dumps(facts).encode(), 0)
        self._handle = handle
        remove_leftovers(self._file.parent)

    def _taken(self, handle: int) -> bool:
        free = _try_lock(handle, exclusive=True)
        return not _holder_lives(self._file) if free is None else free

    def release(self) -> None:
        """Give the lock back; without effect where it is not held."""
        if self._handle is not None:
            with suppress(OSError):  # a full disk must not keep a run from ending
                os.ftruncate(self._handle, 0)
            os.close(self._handle)
            self._handle = None


def is_locked(file: Path) -> bool:
    """Return whether a process holds the lock; where the file system has no locks, whether the process that wrote it lives."""
    try:
        stream = open_regular(file)
    except (FileNotFoundError, UnreadableFile):
        return False
    with stream:
        free = _try_lock(stream.fileno(), exclusive=False)
    return _holder_lives(file) if free is None else not free


def _holder_lives(file: Path) -> bool:
    holder = _read_holder(file)
    if holder.get("host") != os.uname().nodename:
        return False
    start = _process_start(holder["pid"])
    return start is not None and start == holder["started"]


def _try_lock(handle: int, *, exclusive: bool) -> bool | None:
    """True if the lock was free, False if another holds it, None where there are no locks."""
    try:
        fcntl.flock(handle, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _read_holder(file: Path) -> dict[str, Any]:
    """Host, pid and start time of whoever wrote the lock last; empty where it was given back."""
    try:
        facts: dict[str, Any] = read_json(file, _HOLDER) or {}
    except UnreadableFile:
        return {}
    return facts


def _process_start(pid: int) -> str | None:
    """Start time of a process in the system's own units, or None where it is not there; "?" where it cannot be known."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return None
    except PermissionError:
        pass
    return "?"
