"""Writing files of a run beside its JSON: arrays, artifacts, lines that a kill tore, and what a kill left half-written."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from trialbook.contracts.files import open_regular

#: Name of a temporary file (``write_whole``, arrays; artifacts), with the process that writes it.
_LEFTOVER = re.compile(r"\..+\.(\d+)|\.(\d+)\..+")


def remove_leftovers(run: Path) -> None:
    """Delete what killed processes left half-written in a run directory, whose lock the caller holds."""
    _remove_dead([*run.glob(".*"), *run.glob("*/.*")])
    for partial in run.glob("checkpoints/.writing-*"):
        shutil.rmtree(partial, ignore_errors=True)


def remove_old_leftovers(folder: Path, seconds: float = 3600.0) -> None:
    """Delete temporary files in a folder that nobody locks: those of processes that are gone, older than an hour."""
    with suppress(OSError):
        _remove_dead([one for one in folder.glob(".*") if time.time() - one.lstat().st_mtime > seconds])


def _remove_dead(files: list[Path]) -> None:
    for file in files:
        found = _LEFTOVER.fullmatch(file.name)
        if found and not _is_alive(int(found[1] or found[2])):
            with suppress(OSError):
                file.unlink()


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # it is another user's
        return True
    return True


def cut_torn_line(file: Path) -> int:
    """Cut what stands behind the last line break (a write that a kill interrupted); returns how many bytes were cut."""
    try:
        with file.open("r+b") as stream:
            size = stream.seek(0, os.SEEK_END)
            end, keep = size, 0
            while end > 0:
                start = max(0, end - 65536)
                stream.seek(start)
                at = stream.read(end - start).rfind(b"\n")
                if at >= 0:
                    keep = start + at + 1
                    break
                end = start
            if keep < size:
                stream.truncate(keep)
            return size - keep
    except FileNotFoundError:
        return 0


def write_arrays(file: Path, values: Mapping[str, Any], step: int) -> None:
    """Replace a file of named arrays, as a whole."""
    from safetensors.numpy import save  # late: a run that leaves none need not import it

    file.parent.mkdir(exist_ok=True)
    aside = file.with_name(f".{file.name}.{os.getpid()}")
    aside.write_bytes(save(dict(values), metadata={"step": str(step)}))
    aside.replace(file)


def write_artifact(file: Path, write: Callable[[Path], None]) -> dict[str, Any]:
    """Put a file there as a whole; returns its size in bytes and its SHA-256."""
    file.parent.mkdir(exist_ok=True)
    aside = file.with_name(f".{os.getpid()}.{file.name}")
    write(aside)
    digest = hashlib.sha256()
    with aside.open("rb") as stream:
        while data := stream.read(1 << 20):
            digest.update(data)
        os.fsync(stream.fileno())
    aside.replace(file)
    return {"bytes": file.stat().st_size, "sha256": digest.hexdigest()}


def count_lines(file: Path, size: int | None = None) -> int:
    """Lines in a file, or in its first ``size`` bytes."""
    count, left = 0, size
    with open_regular(file) as stream:
        while data := stream.read(1 << 20 if left is None else min(left, 1 << 20)):
            count += data.count(b"\n")
            left = None if left is None else left - len(data)
    return count
