"""Files that a run's data come from: datasets name them as they read them, so that a later look finds what was edited since.

A dataset calls ``note_files`` for every file that it reads (before it does), and ``find_files`` in place of a glob. Outside of
a run neither costs more than looking at the files.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class NotedFiles:
    """Files and listings that were read.

    Args:
        files: absolute path to size in bytes and time of the last change in ns; (-1, 0) for a file that was not there.
        listings: absolute folder and pattern to a hash of the names found there.
    """

    files: dict[str, tuple[int, int]] = field(default_factory=dict)
    listings: dict[tuple[str, str], str] = field(default_factory=dict)

    def add(self, other: NotedFiles) -> None:
        """Take over what was noted elsewhere; of a file that was noted before, the state of then stands."""
        self.files = {**other.files, **self.files}
        self.listings = {**other.listings, **self.listings}


_NOTED: ContextVar[NotedFiles | None] = ContextVar("noted", default=None)


@contextmanager
def noting_files() -> Iterator[NotedFiles]:
    """Collect what is noted inside; what is noted in an inner context is noted in the outer one, too."""
    outer, noted = _NOTED.get(), NotedFiles()
    token = _NOTED.set(noted)
    try:
        yield noted
    finally:
        _NOTED.reset(token)
        if outer is not None:
            outer.add(noted)


def note_files(files: Iterable[Path]) -> None:
    """Say that the data depend on the content of these files, which are about to be read; without effect outside of a run."""
    if (noted := _NOTED.get()) is None:
        return
    for file in files:
        path = str(file.absolute())
        if path not in noted.files:
            noted.files[path] = state_of(path)


def find_files(folder: Path, pattern: str) -> list[Path]:
    """The files and folders in ``folder`` that a glob pattern finds, sorted; the data depend on which there are."""
    found = sorted(folder.glob(pattern))
    if (noted := _NOTED.get()) is not None:
        noted.listings.setdefault((str(folder.absolute()), pattern), hash_of_names(folder, found))
    return found


def hash_of_names(folder: Path, found: Iterable[Path]) -> str:
    """SHA-256 of the names of files below a folder."""
    names = "\0".join(sorted(file.relative_to(folder).as_posix() for file in found))
    return hashlib.sha256(names.encode("utf-8", "surrogateescape")).hexdigest()


def state_of(path: str | Path) -> tuple[int, int]:
    """Size in bytes and time of the last change in ns of a file; (-1, 0) where there is none."""
    try:
        about = os.stat(path)  # noqa: PTH116  # of many thousand files
    except OSError:
        return -1, 0
    return about.st_size, about.st_mtime_ns
