"""A thread that keeps the registry behind a run under way, off the path of its steps."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from trialbook.contracts.files import UnreadableFile
from trialbook.errors import TrialbookError
from trialbook.registry.connection import UnusableRegistry, is_current, open_registry
from trialbook.registry.indexer import RunIndexer
from trialbook.registry.run_directory import RunDirectory

#: Seconds between looks at the files, and between attempts while the registry fails.
PERIOD, RETRY = 0.2, 3.0
#: Seconds that the end of a run waits beyond its patience for a registry that does not answer.
_HANGS = 10.0


def _import_all(registry: Path) -> None:
    """Import on this thread what making or migrating the registry needs: pandas comes with it, and others may import that now."""
    with suppress(TrialbookError, sqlite3.Error, OSError):  # the thread meets it again and reports it
        if not is_current(registry):
            import sqlite_utils  # noqa: F401


class BackgroundFollower:
    """Follows one run's files into the registry until it is closed. A registry that fails is reported and tried again.

    Args:
        registry: the SQLite file.
        run: the directory, in which a run was started.
        warn: told once when the registry begins to fail; called from the thread.
        patience: seconds that ``close`` spends on a registry that fails.
    """

    def __init__(
        self, registry: Path, run: RunDirectory, warn: Callable[[str], None], *, patience: float = 10.0
    ) -> None:
        self._registry, self._run, self._warn, self._patience = registry, run, warn, patience
        self._wake = threading.Event()
        self._facts, self._cut = True, False
        self._closing: float | None = None
        self._failing = False
        _import_all(registry)
        self._thread = threading.Thread(target=self._work, name=f"registry of {run.path.name}", daemon=True)
        self._thread.start()

    def facts_changed(self) -> None:
        """The run's JSON files were written: take them in soon."""
        self._facts = True
        self._wake.set()

    def file_cut(self) -> None:
        """A file was cut and may have been written on: compare it with the registry from its start."""
        self._cut = True
        self._wake.set()

    def close(self) -> None:
        """Take in the rest and stop; a registry that fails, or hangs, to the end stays behind until it is synchronised."""
        self._facts = True
        self._closing = time.monotonic() + self._patience
        self._wake.set()
        self._thread.join(self._patience + _HANGS)
        if self._thread.is_alive():
            self._report(TimeoutError(f"it has not answered for {self._patience + _HANGS:g} s"))

    def _work(self) -> None:
        connection: sqlite3.Connection | None = None
        follower: RunIndexer | None = None
        while True:
            try:
                if connection is None or follower is None:
                    connection = open_registry(self._registry, patience=min(5.0, self._patience))
                    follower = RunIndexer(connection, self._registry.parent, self._run)
                self._follow(follower)
                if follower.damage is not None:
                    self._report(follower.damage)
                else:
                    self._failing = False
                if self._closing is not None and not self._facts:
                    break
                self._wait(PERIOD)
            except Exception as error:  # whatever the registry does, the run continues
                hopeless = self._failing and isinstance(error, UnusableRegistry)
                self._report(error)
                self._facts = True
                if connection is not None:
                    connection.close()
                connection = follower = None
                if self._closing is not None and (hopeless or time.monotonic() > self._closing):
                    break
                self._wait(RETRY if self._closing is None else 0.1)
        if connection is not None:
            connection.close()

    def _follow(self, follower: RunIndexer) -> None:
        if self._cut:
            self._cut = False
            follower.forget()
        if self._facts:
            self._facts = False
            follower.write_facts()
        while follower.append():
            pass

    def _wait(self, seconds: float) -> None:
        if self._closing is None or self._failing:
            self._wake.wait(seconds)
        self._wake.clear()

    def _report(self, error: Exception) -> None:
        if not self._failing:
            self._failing = True
            with suppress(OSError):  # where the disk is full, the warning has no room either
                self._warn(
                    str(error)
                    if isinstance(error, UnreadableFile)
                    else f"the registry {self._registry} cannot be written ({error}); nothing is lost: "
                    "the run's directory has it all, and 'mlrun registry sync' brings the registry up to date"
                )
