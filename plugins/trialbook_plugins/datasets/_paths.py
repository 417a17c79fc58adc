"""The location of a dataset's files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from trialbook import TrialbookError


def locate(data_root: Path | None, path: str) -> Path:
    """``path`` if absolute, else ``path`` under the data root.

    Raises:
        TrialbookError: the path is relative and there is no data root.
    """
    given = Path(path).expanduser()
    if given.is_absolute():
        return given
    if data_root is None:
        raise TrialbookError(
            f"'{path}' is relative to the data root and none is set: "
            "set the variable TRIALBOOK_DATA, or data_root in runner.toml, to the folder that holds your data"
        )
    return data_root / given


def read_text(file: Path) -> str:
    """Text of a UTF-8 file, with or without a byte order mark.

    Raises:
        TrialbookError: there is no such file, or it is not UTF-8.
    """
    try:
        return file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise TrialbookError(f"{file}: not UTF-8 at byte {error.start}; save the file as UTF-8") from error
    except OSError as error:
        raise TrialbookError(f"{file}: cannot be read ({error.strerror})") from error


def read_json(file: Path) -> Any:
    """Content of a JSON file.

    Raises:
        TrialbookError: it cannot be read, or is no JSON; with file and line.
    """
    try:
        return json.loads(read_text(file))
    except json.JSONDecodeError as error:
        raise TrialbookError(f"{file}:{error.lineno}: not JSON: {error.msg}") from error
