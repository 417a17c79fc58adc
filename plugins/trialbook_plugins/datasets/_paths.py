"""The location of a dataset's files."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from trialbook import TrialbookError
from trialbook.contracts.data_files import note_files


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
    note_files([file])
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
    except (ValueError, RecursionError) as error:  # numbers of thousands of digits, brackets in brackets
        raise TrialbookError(f"{file}: JSON that cannot be read: {error}") from error


def read_jsonl(file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Objects of a JSON Lines file, each with its line.

    Raises:
        TrialbookError: the file cannot be read, or a line is no JSON object; with file and line.
    """
    for line, text in enumerate(read_text(file).split("\n"), start=1):
        if not text.strip():
            continue
        try:
            row = json.loads(text)
        except json.JSONDecodeError as error:
            raise TrialbookError(f"{file}:{line}: not JSON: {error.msg} at column {error.colno}") from error
        except (ValueError, RecursionError) as error:
            raise TrialbookError(f"{file}:{line}: JSON that cannot be read: {error}") from error
        if not isinstance(row, dict):
            raise TrialbookError(f"{file}:{line}: a row must be an object, not {text.strip()[:40]}")
        yield line, row
