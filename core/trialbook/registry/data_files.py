"""Comparison of the files that finished runs read with those of now: sizes and times first, hashes where these differ.

The files of a run are listed once for all runs that read the same (``.data_files/HASH.json`` in the directory of runs); the
run's ``files.json`` names the list. Hashes are remembered by size, times and inode (``.data_files/hashes.db``).
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import stat
import time
from collections.abc import Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from trialbook.contracts.data_files import NotedFiles, hash_of_names, state_of
from trialbook.contracts.files import read_json, write_whole
from trialbook.errors import TrialbookError
from trialbook.registry.run_directory import RunDirectory

_FOLDER = ".data_files"
#: A file that changed so short a time ago (in ns) may change again without its time showing it: its hash is not remembered.
_JUST_NOW = 1_000_000_000
_CHUNK = 1 << 20
#: Bytes that are hashed for a run, the smallest files first; of the files beyond, size and time alone tell.
MOST_HASHED = 8 << 30
#: Stands in place of the hash of such a file.
_UNHASHED = "?"


class DataFiles:
    """The files that runs read, as they were and as they are now; every file is looked at once.

    Args:
        runs: directory of all runs.
        data_root: where relative data paths start now; files that a run read below another one are looked for there.
    """

    def __init__(self, runs: Path, data_root: Path | None = None) -> None:
        self._runs, self._folder = runs, runs / _FOLDER
        self._root = "" if data_root is None else f"{data_root.absolute()}{os.sep}"
        self._changes: dict[tuple[str, str], dict[str, str]] = {}
        self._hashes: dict[str, str] = {}
        self._memory = _Memory(self._folder / "hashes.db")

    def write(self, run: RunDirectory, noted: NotedFiles) -> None:
        """Write down what a run has read, with hashes.

        A file that has changed since it was noted gets no hash, and counts as changed from then on.
        """
        inside = f"{self._runs.absolute()}{os.sep}"  # of the runs that it needs, their own ids tell
        files: dict[str, list[Any]] = {}
        read = 0
        for path, state in sorted(noted.files.items(), key=lambda one: (one[1][0], one[0])):
            if not path.startswith(inside):
                read += max(0, state[0])
                known = "" if state[0] < 0 else self._hash(path) if read <= MOST_HASHED else _UNHASHED
                files[path] = [*state, known if state_of(path) == state else ""]
        files = dict(sorted(files.items()))
        listings = [[folder, pattern, names] for (folder, pattern), names in sorted(noted.listings.items())]
        listings = [one for one in listings if not one[0].startswith(inside)]
        same = json.dumps([[(path, one[0], one[2]) for path, one in files.items()], listings])
        name = hashlib.sha256(same.encode("utf-8", "surrogateescape")).hexdigest()
        place = self._folder / f"{name}.json"
        if files or listings:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._memory.save()
            if not place.is_file():
                write_whole(place, json.dumps({"files": files, "listings": listings}))
        about = {"list": name, "files": len(files), "data_root": self._root}
        run.write("files", about if files or listings else {})

    def changed(self, run: RunDirectory) -> dict[str, str]:
        """Files that a run read and that are others now, or that it made for other runs: path to a hash of what is there.

        Empty where that is not known: for a run of an earlier version, one of another machine, or one whose data are all gone.
        """
        try:
            about = read_json(run.json("files")) if run.json("files").is_file() else {}
            name, root = about.get("list", ""), str(about.get("data_root", ""))
            found = self._changes_of(name, root) if isinstance(name, str) and name.isalnum() else {}
            found = found | self._changed_artifacts(run)
            self._memory.save()
            return found
        except (
            TrialbookError,
            AttributeError,
            TypeError,
            ValueError,
            LookupError,
            OSError,
            RecursionError,
            OverflowError,
        ):
            return {}  # 'registry check' reports what is damaged

    def _changes_of(self, name: str, root: str) -> dict[str, str]:
        """Changes of a list of files that were read where ``root`` was the data root."""
        if (name, root) not in self._changes:
            self._changes[name, root] = {}
            known = read_json(self._folder / f"{name}.json") or {"files": {}, "listings": []}

            def moved(path: str) -> str:
                inside = root and self._root and path.startswith(root)
                return f"{self._root}{path.removeprefix(root)}" if inside else path

            files = {moved(path): state for path, state in known["files"].items()}
            listings = [[moved(f"{folder}{os.sep}"), *rest] for folder, *rest in known["listings"]]
            self._changes[name, root] = self._changed_files(files) | _changed_listings(listings)
        return self._changes[name, root]

    def _changed_files(self, files: Mapping[str, Any]) -> dict[str, str]:
        changed, there = {}, 0
        for path, (size, time_ns, known) in files.items():
            now = state_of(path)
            there += now[0] >= 0
            if now == (size, time_ns) and (known or size < 0):
                continue
            of_state = known == _UNHASHED and now[0] >= 0
            is_now = f"{now[0]} bytes of {now[1]}" if of_state else self._hash(path) if now[0] >= 0 else ""
            if not known or is_now != known:
                changed[path] = is_now
        return changed if there or not any(size >= 0 for size, *_ in files.values()) else {}

    def _changed_artifacts(self, run: RunDirectory) -> dict[str, str]:
        """Files that were edited since the run finished; one that is gone is missed by those who need it."""
        made = (run.read("data") or {}).get("artifacts", {})
        finished, changed = state_of(run.json("results"))[1], {}
        for name, one in made.items():
            path = str((run.artifacts / name).absolute())
            size, time_ns = state_of(path)
            if (size == one["bytes"] and time_ns <= finished) or size < 0:
                continue
            if (is_now := self._hash(path)) != one["sha256"]:
                changed[path] = is_now
        return changed

    def _hash(self, path: str) -> str:
        """SHA-256 of a regular file, read only where it is not remembered; empty where there is none that can be read."""
        if path not in self._hashes:
            try:
                about = Path(path).stat()
                state = (about.st_size, about.st_mtime_ns, about.st_ctime_ns, about.st_ino)
                self._hashes[path] = self._memory.get(path, state) or self._read(path, state)
            except OSError:
                self._hashes[path] = ""
        return self._hashes[path]

    def _read(self, path: str, state: tuple[int, ...]) -> str:
        digest = hashlib.sha256()
        with open(path, "rb", buffering=0, opener=_regular) as stream:  # pathlib's has no opener
            while data := stream.read(_CHUNK):
                digest.update(data)
        found = digest.hexdigest()
        if time.time_ns() - max(state[1:3]) > _JUST_NOW:
            self._memory.put(path, state, found)
        return found


class _Memory:
    """Hashes of files by path and state, in a SQLite file that may be gone or damaged; then there are none.

    Args:
        file: the SQLite file.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._known: dict[str, tuple[str, str]] | None = None
        self._new: dict[str, tuple[str, str]] = {}

    def get(self, path: str, state: tuple[int, ...]) -> str:
        """The hash of a file in this state; empty where it is not known."""
        if self._known is None:
            self._known = {}
            with suppress(sqlite3.Error), closing(self._open()) as memory:
                rows = memory.execute("SELECT path, state, sha256 FROM hashes")
                self._known = {one: (text, sha256) for one, text, sha256 in rows}
        text, sha256 = self._known.get(path, ("", ""))
        return sha256 if text == str(state) else ""

    def put(self, path: str, state: tuple[int, ...], sha256: str) -> None:
        """Remember a hash, with the next ``save``."""
        self._new[path] = (str(state), sha256)

    def save(self) -> None:
        """Write down what is new; without effect where that cannot be."""
        if self._new:
            with suppress(sqlite3.Error, OSError), closing(self._open()) as memory, memory:
                rows = [(path, *known) for path, known in self._new.items()]
                memory.executemany("INSERT OR REPLACE INTO hashes VALUES (?, ?, ?)", rows)
            self._new.clear()

    def _open(self) -> sqlite3.Connection:
        """Open the file; one that is none of SQLite's is replaced.

        Raises:
            sqlite3.Error: it is busy or read-only, or there is no such folder.
        """
        try:
            return _opened(self._file)
        except sqlite3.OperationalError:
            raise
        except sqlite3.DatabaseError:
            self._file.unlink(missing_ok=True)
            return _opened(self._file)


def _opened(file: Path) -> sqlite3.Connection:
    memory = sqlite3.connect(file, timeout=1.0)
    try:
        memory.execute(
            "CREATE TABLE IF NOT EXISTS hashes (path TEXT PRIMARY KEY, state TEXT, sha256 TEXT) WITHOUT ROWID"
        )
    except sqlite3.Error:
        memory.close()
        raise
    return memory


def _regular(path: str, flags: int) -> int:
    """Open a regular file; a FIFO would be waited for."""
    handle = os.open(path, flags | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(f"{path} is no regular file")
    return handle


def _changed_listings(listings: list[list[str]]) -> dict[str, str]:
    found = {}
    for folder, pattern, known in listings:
        place = Path(folder)
        if place.is_dir() and (now := hash_of_names(place, place.glob(pattern))) != known:
            found[str(place / pattern)] = now
    return found
