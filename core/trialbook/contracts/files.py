"""Small files that are read and written whole, and lines of JSON."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from trialbook.errors import TrialbookError


def read_json(file: Path) -> Any:
    """Content of a JSON file, or None where there is no such file.

    Raises:
        TrialbookError: the file is not JSON.
    """
    try:
        return json.loads(file.read_bytes())
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise TrialbookError(f"{file} is not valid JSON ({error}); restore it or delete the run") from error


def to_json(value: Any, *, indent: int | None = 2) -> str:
    """Strict JSON: a float that is not finite becomes null, since JSON has no word for it."""
    return json.dumps(_finite(value), indent=indent, ensure_ascii=False, allow_nan=False, default=str)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value


def write_whole(file: Path, text: str) -> None:
    """Replace ``file`` so that a reader, and whoever comes after a crash, finds the old text or the new one, never half."""
    aside = file.with_name(f".{file.name}.{os.getpid()}")
    with aside.open("w", encoding="utf-8", newline="") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    aside.replace(file)
    sync_folder(file.parent)


def sync_folder(folder: Path) -> None:
    """Make a rename in ``folder`` durable, where the system can."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def read_lines(file: Path) -> Iterator[dict[str, Any]]:
    """Lines of a JSON Lines file; a torn last line is left out."""
    try:
        stream = file.open("rb")
    except FileNotFoundError:
        return
    with stream:
        for line in stream:
            if line.endswith(b"\n"):
                yield json.loads(line)
