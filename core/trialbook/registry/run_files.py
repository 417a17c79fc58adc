"""Writing files of a run beside its JSON: lines that a kill tore, arrays, artifacts."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from trialbook.contracts.files import open_regular


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
