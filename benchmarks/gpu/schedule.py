"""Runs parts as processes with deadlines, several beside one another where speed does not count."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.gpu.catalogue import Part
from benchmarks.gpu.rows import read_rows

_LOOK = 0.1
"""Seconds between looks at the processes."""
_LEAST = 5.0
"""Seconds below which a part is not begun."""
_TOLD = 40
"""Lines of what a part printed that are kept where it failed: the last ones, or those on where it stood when its time was up."""
_STOOD = "Timeout ("
"""Begins what ``faulthandler`` prints then."""
_GRACE = 5.0
"""Seconds that a process has to say where it stands after its limit, before it is killed."""


@dataclass
class Result:
    """The result of a part.

    Args:
        part: it is.
        state: ``done``, ``failed``, ``out of time`` or ``not run``.
        seconds: that it took.
        rows: found until then.
        facts: of what was used.
        said: the end of what it printed, where it failed.
    """

    part: Part
    state: str
    seconds: float = 0.0
    rows: list[dict[str, Any]] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    said: str = ""


@dataclass
class _Running:
    part: Part
    process: subprocess.Popen[bytes]
    folder: Path
    started: float
    limit: float

    def seconds(self) -> float:
        return time.monotonic() - self.started


class Schedule:
    """Parts in their order, within a budget.

    Args:
        parts: to be run.
        command: what does a part, given the part, its folder and its limit in seconds.
        folder: for all parts.
        budget: seconds for all of them together.
        jobs: parts beside one another at most.
        patience: parts may take so many times their limit.
    """

    def __init__(
        self, parts: Sequence[Part], command: Callable[[Part, Path, float], Sequence[str]], folder: Path, budget: float,
        jobs: int = 1, patience: float = 1.0,
    ) -> None:  # fmt: skip
        self.command, self.folder, self.jobs, self.patience = command, folder, jobs, patience
        self.end = time.monotonic() + budget
        self._waiting, self._running = list(parts), list[_Running]()

    def results(self) -> Iterator[Result]:
        """Yield what came of each part, as they end; processes are ended with their children if this is."""
        try:
            while self._waiting or self._running:
                while self._waiting and self._may_start(self._waiting[0]):
                    part = self._waiting.pop(0)
                    if self._left(part) < _LEAST:
                        yield Result(part, "not run", said="no time was left")
                    else:
                        self._running.append(self._start(part))
                for one in [one for one in self._running if self._ended(one)]:
                    self._running.remove(one)
                    yield self._result(one)
                time.sleep(_LOOK)
        finally:
            for one in self._running:
                _kill(one.process)

    def _may_start(self, part: Part) -> bool:
        if part.alone or any(one.part.alone for one in self._running):
            return not self._running
        return len(self._running) < self.jobs

    def _left(self, part: Part) -> float:
        return min(part.seconds * self.patience, self.end - time.monotonic() - _GRACE)

    def _start(self, part: Part) -> _Running:
        folder, limit = self.folder / part.name.replace("/", "-"), self._left(part)
        folder.mkdir(parents=True)
        beside = 1 if part.alone else self.jobs
        threads = {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // beside))}
        with (folder / "printed.txt").open("wb") as printed:
            process = subprocess.Popen(
                self.command(part, folder, limit), stdout=printed, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                env={**os.environ, **threads}, start_new_session=True,
            )  # fmt: skip
        return _Running(part, process, folder, time.monotonic(), limit)

    def _ended(self, one: _Running) -> bool:
        if one.process.poll() is not None:
            return True
        if one.seconds() < one.limit + _GRACE:
            return False
        _kill(one.process)
        return True

    def _result(self, one: _Running) -> Result:
        seconds, status = one.seconds(), one.process.wait()
        _kill(one.process)  # what it may have left behind
        rows, facts = read_rows(one.folder / "rows.jsonl")
        state = "done" if status == 0 else "out of time" if seconds >= one.limit else "failed"
        said = "" if status == 0 else _told((one.folder / "printed.txt").read_text(errors="replace"))
        return Result(one.part, state, seconds, rows, facts, said)


def _told(printed: str) -> str:
    """Return what of it says why a part was not done."""
    _, stood, where = printed.rpartition(_STOOD)
    kept = (stood + where).splitlines()[:_TOLD] if stood else printed.splitlines()[-_TOLD:]
    return "\n".join(kept)


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End a process and all that it started."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    process.wait()


def python(*words: str) -> list[str]:
    """A command of this interpreter."""
    return [sys.executable, *words]
