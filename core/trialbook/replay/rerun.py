"""Doing one recorded run again, in a directory of its own."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from trialbook.config.runspec import Plan
from trialbook.contracts.data_files import NotedFiles
from trialbook.contracts.records import Item, Record
from trialbook.engine.inventory import components_of
from trialbook.errors import TrialbookError
from trialbook.execution.run_services import RunServices
from trialbook.execution.run_session import RunSession
from trialbook.execution.trackers import Tracking
from trialbook.plugins.provenance import source_hash
from trialbook.registry.environment import environment
from trialbook.registry.ranks import is_first_process
from trialbook.registry.recorder import NullRecorder, Recorder
from trialbook.registry.run_directory import RunDirectory
from trialbook.replay.environment_diff import Change, device_now
from trialbook.replay.recorded_run import RecordedRun

#: Folder below that of all runs in which runs are repeated; it is hidden, so that nothing takes them for other runs.
FOLDER = ".reproduced"


class Repetition:
    """Does one recorded run again in a directory of its own; neither the registry nor observers hear of it.

    Args:
        services: under which it is done.
        recorded: the run.
        place: its directory.
        say: told what there is to say on the way.
    """

    def __init__(self, services: RunServices, recorded: RecordedRun, place: Path, say: Callable[[str], Any]) -> None:
        self.services, self.recorded, self.place, self.say = services, recorded, place, say
        self.changes: list[Change] = []

    def repeat(self) -> str:
        """Do it, from its start or from where an interrupted repetition stopped; what there is to say of its end.

        Raises:
            TrialbookError: it came to no record.
        """
        self.services.peers.first(self._make_room)
        spec, progress = self.recorded.spec, self.services.progress
        progress.plan_started(Plan(self.recorded.experiment, (spec,)), 0)
        try:
            outcome = RunSession(spec, self._recorder(), self.recorded.inputs, self.services, Tracking()).run()
        except _Enough:
            return _went_on(self.recorded)
        finally:
            progress.close()
        again = RunDirectory(self.place)
        if not is_first_process():
            return ""
        if outcome.state == "busy":
            raise TrialbookError(outcome.message)
        if outcome.state == "failed" and next(again.read_lines("metrics"), None) is None:
            remove_repetition(self.place, self.services.settings.runs)
            raise TrialbookError(f"{self.recorded.run.path.name} could not be repeated: {outcome.message}")
        return _ended(self.recorded, again)

    def _recorder(self) -> Recorder | NullRecorder:
        """One without a registry."""
        if not is_first_process():
            return NullRecorder(self.place)
        return _Recorder(self.place, self.recorded, self._data_changed)

    def _data_changed(self, change: Change) -> None:
        self.changes.append(change)
        self.say(f"{change}; the records can hardly be equal")

    def _make_room(self) -> None:
        """Remove what an earlier repetition left, but continue with one that was interrupted and would be the same today."""
        left = RunDirectory(self.place)
        status = left.status()
        if status == "running":
            raise TrialbookError(f"another process is repeating this run in {self.place}; wait for its end")
        if status == "killed" and self._would_be(left):
            self.say("an interrupted repetition continues where it stopped")
        elif self.place.exists():
            shutil.rmtree(self.place)

    def _would_be(self, left: RunDirectory) -> bool:
        """Return whether a repetition that was begun had the configuration, sources and versions that it would have now."""
        then = left.read("env") or {}
        now = {**environment(self.services.settings), "device": device_now(self.services.settings)}
        sources = {part: one.get("source") for part, one in (left.read("components") or {}).items()}
        same = all(then.get(key) == now[key] for key in ("hardware", "device", "platform", "versions"))
        spec = left.read("run")
        return same and sources == self._sources() and spec == self.recorded.spec.to_json()

    def _sources(self) -> dict[str, Any]:
        found = components_of(self.recorded.spec)
        return {part: source_hash(self.services.host.find(*named).target) for part, named in found.items()}


class _Enough(BaseException):
    """The repetition has made every record of a run that did not reach its end."""


class _Recorder(Recorder):
    """Writes a repetition down: as far as its run came, and with an eye on the data."""

    def __init__(self, directory: Path, recorded: RecordedRun, data_changed: Callable[[Change], None]) -> None:
        super().__init__(directory, None)
        unfinished = recorded.status != "finished" and recorded.processes == 1
        self._enough = sum(1 for _ in recorded.run.read_lines("metrics")) if unfinished else None
        self._data, self._data_changed = recorded.run.read("data") or {}, data_changed

    def describe(self, data: Mapping[str, Any]) -> None:
        """As ever, and say so if the data are not those of the run."""
        super().describe(data)
        then, now = (facts.get("dataset", {}).get("fingerprint") for facts in (self._data, data))
        if then and now and then != now:
            self._data_changed(Change("data fingerprint", then, now))

    def note_files(self, noted: NotedFiles) -> None:
        """Not written down: a repetition is compared with its run, and never kept."""

    def add(self, item: Item) -> bool:
        """As ever, but stop behind the last record of a run that was killed or failed."""
        if isinstance(item, Record) and self._enough is not None and self.recorded >= self._enough:
            raise _Enough
        return super().add(item)


def remove_repetition(place: Path, runs: Path) -> None:
    """Delete a repetition, and the folders above it that are empty then."""
    shutil.rmtree(place, ignore_errors=True)
    for folder in (place.parent, runs / FOLDER):
        with suppress(OSError):
            folder.rmdir()


def _went_on(recorded: RecordedRun) -> str:
    if recorded.status == "failed":
        return f"the run failed behind its last record ({_error(recorded.run)}); the repetition would have gone on"
    return "the run was killed behind its last record; the repetition stops there too"


def _ended(recorded: RecordedRun, again: RunDirectory) -> str:
    """Say how the two ended; empty where both finished."""
    errors = [_error(run) for run in (recorded.run, again)]
    if again.status() != "failed":
        return "" if recorded.status == "finished" else f"the run was {recorded.status}; the repetition reached its end"
    if recorded.status != "failed":
        return f"the run was {recorded.status}; the repetition failed: {errors[1]}"
    if errors[0] == errors[1]:
        return f"both failed in the same way: {errors[0]}"
    return f"the run failed with: {errors[0]}; the repetition with: {errors[1]}"


def _error(run: RunDirectory) -> str:
    """The last line of why a run failed."""
    text = (run.read_error() or "").strip()
    return text.splitlines()[-1] if text else "unknown"
