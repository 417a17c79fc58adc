"""Files of published sets: rows of JSON, the files of splits, pictures that lie in one of several folders."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from trialbook import TrialbookError
from trialbook_plugins.datasets._paths import read_text
from trialbook_plugins.datasets._splits import SPLITS


def read_json(file: Path) -> Any:
    """What a JSON file holds.

    Raises:
        TrialbookError: it cannot be read, or is no JSON; with file and line.
    """
    try:
        return json.loads(read_text(file))
    except json.JSONDecodeError as error:
        raise TrialbookError(f"{file}:{error.lineno}: not JSON: {error.msg}") from error


def find_rows(file: Path, key: str | None) -> list[Any]:
    """The rows of a published JSON file: its list, or that under ``key``.

    Raises:
        TrialbookError: there is none.
    """
    found = read_json(file)
    rows = found.get(key) if key is not None and isinstance(found, dict) else found
    if not isinstance(rows, list):
        raise TrialbookError(f"{file}: there is no list of questions" + (f" under '{key}'" if key else ""))
    return rows


def texts(value: Any) -> tuple[str, ...] | None:
    """A text or a list of texts as texts; numbers are written out; None for anything else."""
    given = value if isinstance(value, list) else [value]
    if not all(isinstance(one, str | int | float) and not isinstance(one, bool) for one in given):
        return None
    return tuple(str(one) for one in given)


def first_file(candidates: Iterable[Path]) -> Path:
    """The first of the files that is there; the last one where none is."""
    path = Path()
    for path in candidates:
        if path.is_file():
            return path
    return path


def split_files(
    folder: Path, given: Mapping[str, str | None], find: Callable[[str], list[Path]]
) -> dict[str, list[Path]]:
    """Split name to its files: the one that is given, or those that ``find`` finds.

    Raises:
        TrialbookError: a file that is given is not there.
    """
    files: dict[str, list[Path]] = {}
    for split in SPLITS:
        name = given.get(split)
        if name is not None and not (folder / name).is_file():
            raise TrialbookError(f"'{split}_file' ({name}): there is no file {folder / name}")
        files[split] = [folder / name] if name is not None else find(split)
    return {split: found for split, found in files.items() if found}
