"""Trackers: programs that are told what runs record. Each has a thread of its own, and what goes wrong there stays there."""

from __future__ import annotations

import json
import queue
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trialbook.config.settings import Settings
from trialbook.contracts.trackers import TrackedRun, Tracker
from trialbook.errors import TrialbookError, suggest
from trialbook.plugins.isolation import PLUGIN_ERRORS, describe_failure
from trialbook.registry.run_directory import RunDirectory

if TYPE_CHECKING:
    from trialbook.plugins.manager import Registered
    from trialbook.plugins.schema import SchemaBook

#: Seconds that the end of a run waits for a tracker, and that the end of everything waits for one that was interrupted.
PATIENCE, LAST_PATIENCE = 60.0, 5.0
#: Seconds that the beginning of a run waits for a tracker to be there: what it imports, the run must not import at once.
FIRST_PATIENCE = 10.0


class Follower:
    """A tracker with its thread, which begins with the first run. It is told of copies: it cannot change the run.

    Args:
        name: of the tracker.
        tracker: what is told.
    """

    def __init__(self, name: str, tracker: Tracker) -> None:
        self.name, self.tracker = name, tracker
        self.fault: str | None = None
        self._told = False
        self._open = False
        self._tasks: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def start(self, run: TrackedRun) -> None:
        """A run begins or resumes; what it recorded before is sent as far as the tracker does not know it."""
        file = RunDirectory(run.path).lines("metrics")
        before = file.read_bytes() if file.is_file() else b""
        self._open = True
        own = replace(run, about=deepcopy(dict(run.about)), config=deepcopy(dict(run.config)))
        begun = threading.Event()
        self._put(lambda: self._catch_up(own, before))
        self._put(begun.set)
        self._wait_for(begun, FIRST_PATIENCE)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """A record was made."""
        own = dict(values)
        self._put(lambda: self.tracker.log(step, own))

    def stop(self, status: str, results: Mapping[str, Any], patience: float) -> None:
        """A run ended; wait until the tracker has it all, but not longer than ``patience`` seconds."""
        if not self._open:
            return
        self._open = False
        done = threading.Event()
        own = deepcopy(dict(results))
        self._put(lambda: self.tracker.stop(status, own))
        self._put(done.set)
        if not self._wait_for(done, patience):
            self.fault = f"it is still behind after {patience:g} s"

    def close(self) -> None:
        """There are no more runs. One that is under way was interrupted."""
        self.stop("interrupted", {}, LAST_PATIENCE)
        self._put(None)

    def news(self) -> str | None:
        """That it failed and why, once."""
        if self.fault is None or self._told:
            return None
        self._told = True
        return f"tracker '{self.name}' is disabled, the run continues without it: {self.fault}"

    def _wait_for(self, event: threading.Event, patience: float) -> bool:
        """Wait until the thread is so far, or ended by a fault; False where that takes longer than so many seconds."""
        deadline = time.monotonic() + patience
        while self._thread is not None and self._thread.is_alive() and not event.wait(0.05):
            if time.monotonic() > deadline:
                return False
        return True

    def _put(self, task: Callable[[], None] | None) -> None:
        if self.fault is not None:
            return
        if self._thread is None:
            if task is None:
                return
            self._thread = threading.Thread(target=self._work, name=f"tracker {self.name}", daemon=True)
            self._thread.start()
        self._tasks.put(task)

    def _work(self) -> None:
        try:
            while (task := self._tasks.get()) is not None and self.fault is None:
                task()
        except PLUGIN_ERRORS as fault:
            self.fault = str(fault) if isinstance(fault, TrialbookError) else f"it {describe_failure(fault)}"

    def _catch_up(self, run: TrackedRun, before: bytes) -> None:
        known = self.tracker.start(run)
        for line in before.splitlines():
            record = json.loads(line)
            values = {name: value for name, value in record["values"].items() if (record["step"], name) not in known}
            if values:
                self.tracker.log(record["step"], values)


class Tracking:
    """All trackers of a plan. Every method returns a message for each tracker that failed since the last call.

    Args:
        followers: one for each.
        patience: seconds that the end of a run waits for each of them.
    """

    def __init__(self, followers: Sequence[Follower] = (), *, patience: float = 0.0) -> None:
        self.followers, self.patience = tuple(followers), patience

    def started(self, name: str, path: Path, config: Mapping[str, Any]) -> list[str]:
        """A run begins or resumes."""
        if self.followers:
            run = TrackedRun(name, path, RunDirectory(path).read("run") or {}, config)
            for one in self.followers:
                one.start(run)
        return self.news()

    def recorded(self, step: int, values: Mapping[str, float]) -> list[str]:
        """A record was made that no earlier process has made."""
        for one in self.followers:
            one.log(step, values)
        return self.news()

    def ended(self, status: str, results: Mapping[str, Any]) -> list[str]:
        """The run ended: ``finished`` or ``failed``."""
        for one in self.followers:
            one.stop(status, results, self.patience)
        return self.news()

    def close(self) -> list[str]:
        """There are no more runs."""
        for one in self.followers:
            one.close()
        return self.news()

    def news(self) -> list[str]:
        """A message for each tracker that failed, once."""
        return [said for one in self.followers if (said := one.news()) is not None]


def open_tracking(names: Sequence[str] | None, settings: Settings, book: SchemaBook) -> Tracking:
    """The trackers of these names, or those of ``runner.toml`` where None are given; nothing of them is imported yet.

    Raises:
        TrialbookError: ``runner.toml`` names one that there is not, or a table of it has a mistake.
    """
    offered = {one.name: one for one in book.host.trackers()}
    for name in [*settings.trackers, *settings.tracker]:
        if name not in offered:
            raise _mistake(
                settings, "trackers" if name in settings.trackers else "tracker", unknown_tracker(name, offered)
            )
    wanted = settings.trackers if names is None else names
    made = {name: _made(offered[name], settings, book) for name in dict.fromkeys([*wanted, *settings.tracker])}
    return Tracking([Follower(name, made[name]) for name in dict.fromkeys(wanted)], patience=PATIENCE)


def unknown_tracker(name: str, offered: Collection[str]) -> str:
    """That no plugin offers the tracker."""
    hint = suggest(name, offered)
    more = f"did you mean '{hint}'?" if hint else f"there are {', '.join(sorted(offered)) or 'none'}"
    return f"there is no tracker '{name}'; {more}"


def _made(registered: Registered, settings: Settings, book: SchemaBook) -> Tracker:
    """The tracker with the options of its table in ``runner.toml``."""
    from trialbook.plugins.schema import (  # late: a plan without trackers needs no schemas of them
        construct,
        table_problems,
    )
    from trialbook.plugins.signature import load_target

    options = settings.tracker.get(registered.name, {})
    if found := table_problems(options, book.of(registered)):
        raise _mistake(settings, "tracker", f"[tracker.{registered.name}] {found[0]}")
    try:
        made: Tracker = construct(load_target(registered.target), {"runs": settings.runs}, options)
    except ValueError as error:
        raise _mistake(settings, "tracker", f"[tracker.{registered.name}] {error}") from error
    return made


def _mistake(settings: Settings, key: str, message: str) -> TrialbookError:
    """A mistake in ``runner.toml``, at its line."""
    from trialbook.config.toml import read_toml

    if settings.file is None:
        return TrialbookError(message)
    positions = read_toml(settings.file).positions
    place = next((place for path, place in positions.items() if path[0] == key), None)
    return TrialbookError(f"{settings.file}:{place.line if place else 0}: {message}")
