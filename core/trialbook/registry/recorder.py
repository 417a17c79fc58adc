"""Writing down a run as it happens: its directory first, the registry behind it.

A record is one write of one line, done before ``add`` returns: the kernel has it, and killing the process loses nothing.
``metrics.jsonl`` holds only what a repetition reproduces, so the file of a run that was killed and resumed is byte for byte
that of a run never killed. NaN and infinities stand in the line files as ``NaN``, ``Infinity`` and ``-Infinity``.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any

from trialbook.contracts.data_files import NotedFiles
from trialbook.contracts.files import check_regular, read_lines, to_json, write_whole
from trialbook.contracts.findings import Finding
from trialbook.contracts.records import Arrays, Artifact, Event, Facts, Item, ModuleStats, Predictions, Record, Timing
from trialbook.registry.background import BackgroundFollower
from trialbook.registry.data_files import DataFiles
from trialbook.registry.environment import LATER, changes_between, close_session, note_changes, now, open_session
from trialbook.registry.lock import RunLock
from trialbook.registry.run_directory import LINE_FILES, RunDirectory
from trialbook.registry.run_files import count_lines, cut_torn_line, write_arrays, write_artifact
from trialbook.registry.summary import summarise

if TYPE_CHECKING:
    from trialbook.config.runspec import RunSpec

_encode = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, default=float).encode


class Recorder:
    """Records one run; a context manager that holds the run's lock.

    Args:
        directory: the run's directory; made where it is not there.
        registry: the SQLite file that follows, or None for none.
        patience: seconds that ``close`` spends on a registry that cannot be written.
    Raises:
        RunLocked: on entering, where another process holds the lock.
        UnreadableFile: on entering, where a file of the run is damaged.
        TrialbookError: on entering, where another version of the program recorded the run.
    """

    def __init__(self, directory: Path, registry: Path | None, *, patience: float = 10.0) -> None:
        self.run = RunDirectory(Path(directory))
        self._registry, self._patience = registry, patience
        self._lock = RunLock(self.run.lock)
        self._handles: dict[str, int] = {}
        self._replay: IO[bytes] | None = None
        self._recorded = 0
        self._follower: BackgroundFollower | None = None

    def __enter__(self) -> Recorder:
        self.run.path.mkdir(parents=True, exist_ok=True)
        self._lock.acquire()
        try:
            self.run.check_resumable()
            for name in LINE_FILES:
                check_regular(self.run.lines(name))
            for name in LINE_FILES:
                file = self.run.lines(name)
                cut_torn_line(file)
                self._handles[name] = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
            self._recorded = count_lines(self.run.lines("metrics"))
        except BaseException:
            self._close_files()
            self._lock.release()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def recorded(self) -> int:
        """Number of records in ``metrics.jsonl``."""
        return self._recorded

    def start(self, spec: RunSpec, environment: Mapping[str, Any], components: Mapping[str, Mapping[str, Any]]) -> None:
        """Write down what is run and where, or note that the run continues and what has changed since.

        Args:
            spec: the run.
            environment: as ``trialbook.registry.environment.environment`` returns it.
            components: part name to where its component comes from.
        Raises:
            UnreadableFile: a file of the run is damaged; then nothing is written.
        """
        around = dict(environment)
        patch = around.pop("patch", None)
        if self.run.is_run() and (damage := self.run.find_damage()):
            raise damage
        for file in (self.run.json("results"), self.run.error, *self.run.errors_of_processes()):
            file.unlink(missing_ok=True)
        if self.run.is_run():
            known = self.run.read("env") or {}
            before = {key: value for key, value in known.items() if key not in LATER}
            before["components"] = self.run.read("components")
            changed = changes_between(before, {**around, "components": components})
        else:
            changed = {}
            self._write_start(spec, around, patch, components)
        open_session(self.run)
        if self._registry is not None:
            self._follower = BackgroundFollower(self._registry, self.run, self._warn, patience=self._patience)
        self._environment_changed(changed)

    def surround(self, facts: Mapping[str, Any]) -> None:
        """Add to ``env.json`` what is known of where a run takes place once its device is there; note what has changed since.

        Args:
            facts: as ``trialbook.engine.compute.compute_facts`` returns them.
        """
        before = self.run.read("env") or {}
        if any(key not in before for key in facts):
            self.run.write("env", {**facts, **before})
            if self._follower:
                self._follower.facts_changed()
        known = {key: value for key, value in facts.items() if key in before}
        self._environment_changed(changes_between({key: before[key] for key in known}, known))

    def _environment_changed(self, changed: Mapping[str, Any]) -> None:
        """Note that the run continues in another environment than it was begun in, if it does."""
        if changed:
            note_changes(self.run, changed)
            copy = {
                last: changed.get(f"git.{last}") for last in ("commit", "dirty")
            }  # said once, not for each component
            own = [key for key in changed if key.startswith("git.") or changed[key] != copy.get(key.rpartition(".")[2])]
            names = ", ".join(sorted(own))
            self.add(Event(0, "environment-changed", f"resumed in another environment: {names} changed", changed))

    def describe(self, data: Mapping[str, Any]) -> None:
        """Merge into ``data.json``: the dataset's fingerprint and splits, parameters by part. Changes are an event."""
        before = self._merge(data)
        known = {key: value for key, value in data.items() if key in before}  # what is new is no change
        if changed := changes_between(before, {**before, **known}):
            self.add(
                Event(0, "data-changed", f"resumed with other data: {', '.join(sorted(changed))} changed", changed)
            )

    def _merge(self, facts: Mapping[str, Any]) -> dict[str, Any]:
        """Merge into ``data.json``; returns what stood there."""
        before = self.run.read("data") or {}
        self.run.write("data", {**before, **facts})
        if self._follower:
            self._follower.facts_changed()
        return before

    def note_files(self, noted: NotedFiles, data_root: Path | None) -> None:
        """Write down which files the run reads, and what they are now."""
        DataFiles(self.run.path.parent.parent, data_root).write(self.run, noted)

    def rewind(self, records: int) -> None:
        """The run continues at a place where it had made so many records; those behind it are made again.

        A record that is made again and is equal to the one in the file is not written twice. At the first that differs
        the rest of the file is cut, an event says so, and writing continues. May be called again, to keep what stands up
        to a later place.
        """
        self._stop_replay()
        if records > self._recorded:
            message = f"{records - self._recorded} records before the checkpoint are not in metrics.jsonl any more"
            self.add(Event(0, "records-lost", message))
        elif records < self._recorded:
            self._replay = self.run.lines("metrics").open("rb")
            for _ in range(records):
                self._replay.readline()

    def add(self, item: Item) -> bool:
        """Write one item; when this returns, killing the process does not lose it (but arrays, which are made again).

        Returns:
            Whether it is new: false for a record that an earlier process has written already.
        Raises:
            OSError: the disk is full or gone.
        """
        if isinstance(item, Record):
            line = f"{_encode({'step': item.step, 'values': dict(item.values)})}\n".encode()
            if self._replay is not None and self._replayed(line, item.step):
                return False
            self._write("metrics", line)
            self._recorded += 1
        elif isinstance(item, Timing):
            facts = {"step": item.step, "time": round(time.time(), 3), "values": dict(item.values)}
            self._write("timing", f"{_encode(facts)}\n".encode())
        elif isinstance(item, ModuleStats):
            split = {"split": item.split} if item.split else {}
            seen = {"step": item.step, "kind": item.kind, **split, "values": dict(item.values)}
            self._write("stats", f"{_encode(seen)}\n".encode())
        elif isinstance(item, Facts):
            self._merge(self._with_earlier(item.values))
        elif isinstance(item, Arrays):
            write_arrays(self.run.arrays(item.name), item.values, item.step)
        elif isinstance(item, Artifact):
            made = {item.name: write_artifact(self.run.artifacts / item.name, item.write)}
            self._merge(self._with_earlier({"artifacts": made}))
        elif isinstance(item, Predictions):
            lines = (to_json(row.as_dict(), indent=None) for row in item.rows)
            write_whole(self.run.predictions, "".join(f"{line}\n" for line in lines))
        else:
            event = {"time": now(), "step": item.step, "kind": item.kind, "message": item.message, "data": item.data}
            self._write("events", f"{to_json(event, indent=None)}\n".encode())
        return True

    def _with_earlier(self, facts: Mapping[str, Any]) -> dict[str, Any]:
        """Facts that the run finds out as it goes, with what an earlier process found that this one had not to do again.

        They are no news of the data if they differ: the shapes of an encoder are seen by the process that encodes.
        """
        before = self.run.read("data") or {}
        both = [
            key for key, value in facts.items() if isinstance(value, Mapping) and isinstance(before.get(key), Mapping)
        ]
        return {**facts, **{key: {**before[key], **facts[key]} for key in both}}

    def diagnosed(self, findings: Sequence[Finding]) -> None:
        """Replace ``findings.json``: what the doctor says of the run as far as it has come."""
        self.run.write("findings", [finding.as_dict() for finding in findings])
        if self._follower:
            self._follower.facts_changed()

    def finish(self, results: Mapping[str, Any]) -> dict[str, Any]:
        """Write ``results.json``: the run is finished.

        ``results.json`` holds the status, seconds of work, a summary of every metric, ``<name>_start`` and ``<name>_end``
        for each entry of the experiment's ``[results]`` table, and ``results``. It is returned as well.
        """
        for handle in self._handles.values():
            os.fsync(handle)
        metrics = summarise(self.run.read_lines("metrics"))
        seconds = close_session(self.run)
        wanted = self.run.read("run").get("results") or {}
        found = {name: metrics[metric] for name, metric in wanted.items() if metric in metrics}
        ends = {f"{name}_start": summary.first for name, summary in found.items()}
        ends |= {f"{name}_end": summary.last for name, summary in found.items()}
        whole: dict[str, Any] = {"status": "finished", **dict(sorted(ends.items())), "seconds": seconds}
        whole |= {"metrics": {name: summary.as_dict() for name, summary in metrics.items()}, **results}
        self.run.write("results", whole)
        if self._follower:
            self._follower.facts_changed()
        return whole

    def fail(self, error: str) -> None:
        """Write ``error.txt``: the run ended with an error."""
        close_session(self.run)
        write_whole(self.run.error, error.rstrip() + "\n")
        if self._follower:
            self._follower.facts_changed()

    def settle(self) -> None:
        """Let the registry catch up, and follow no longer."""
        if self._follower is not None:
            self._follower.close()
            self._follower = None

    def close(self) -> None:
        """Let the registry catch up and give the directory back; a run neither finished nor failed then counts as killed."""
        self._stop_replay()
        try:
            if self._handles and self.run.is_run():
                close_session(self.run)
        finally:
            self.settle()
            self._close_files()
            self._lock.release()

    def _close_files(self) -> None:
        for handle in self._handles.values():
            os.close(handle)
        self._handles.clear()

    def _write_start(
        self, spec: RunSpec, environment: dict[str, Any], patch: str | None, components: Mapping[str, Any]
    ) -> None:
        import tomli_w

        write_whole(self.run.config, tomli_w.dumps(dict(spec.config)))
        self.run.write("env", environment)
        if patch:
            write_whole(self.run.patch, patch)
        self.run.write("components", components)
        self.run.write("run", spec.to_json())  # last: from here on this is a run

    def _replayed(self, line: bytes, step: int) -> bool:
        """Return whether the record is in the file already; if another is there, cut that and all behind it."""
        assert self._replay is not None
        start = self._replay.tell()
        known = self._replay.readline()
        if known == line:
            return True
        self._stop_replay()
        if known:
            kept = count_lines(self.run.lines("metrics"), start)
            cut, self._recorded = self._recorded - kept, kept
            os.ftruncate(self._handles["metrics"], start)
            if self._follower:
                self._follower.file_cut()
            message = f"resuming gave another record at step {step}: {cut} records were cut and are made again"
            lines = {"before": known.decode().strip(), "now": line.decode().strip()}
            self.add(Event(step, "resume-diverged", message, lines))
        return False

    def _stop_replay(self) -> None:
        if self._replay is not None:
            self._replay.close()
            self._replay = None

    def _write(self, name: str, line: bytes) -> None:
        handle = self._handles[name]
        written = os.write(handle, line)
        if written < len(line):
            os.ftruncate(handle, os.fstat(handle).st_size - written)  # half a line would spoil the next
            raise OSError(f"{self.run.lines(name)}: {len(line)} bytes could not be written; is the disk full?")

    def _warn(self, message: str) -> None:
        self.add(Event(0, "registry-behind", message))


class NullRecorder:
    """Stands where the first process has its ``Recorder``, and writes nothing.

    Args:
        directory: the run's directory, which the first process writes.
    """

    def __init__(self, directory: Path) -> None:
        self.run = RunDirectory(directory)

    def __enter__(self) -> NullRecorder:
        return self

    def __exit__(self, *error: object) -> None:
        return None

    @property
    def recorded(self) -> int:
        """Number of records that the first process has written so far."""
        file = self.run.lines("metrics")
        return sum(1 for _ in read_lines(file)) if file.exists() else 0

    def start(self, spec: RunSpec, environment: Mapping[str, Any], components: Mapping[str, Mapping[str, Any]]) -> None:
        """Written by the first process."""

    def surround(self, facts: Mapping[str, Any]) -> None:
        """Written by the first process."""

    def describe(self, data: Mapping[str, Any]) -> None:
        """Written by the first process."""

    def note_files(self, noted: NotedFiles, data_root: Path | None) -> None:
        """Written by the first process."""

    def rewind(self, records: int) -> None:
        """Done by the first process."""

    def add(self, item: Item) -> bool:
        """Written by the first process."""
        return True

    def diagnosed(self, findings: Sequence[Finding]) -> None:
        """Written by the first process."""

    def finish(self, results: Mapping[str, Any]) -> dict[str, Any]:
        """Written by the first process."""
        return dict(results)

    def fail(self, error: str) -> None:
        """Written by the first process."""

    def settle(self) -> None:
        """Done by the first process."""
