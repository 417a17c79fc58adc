"""Joint work of several processes, ended on all of them when it fails on one.

A process that fails leaves the others in a collective that it will not enter. So all of them look into a key-value store
twice a second, and those that do not come to an end by themselves are ended, with the message of the one that failed.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn

from trialbook.execution.failure import Failure, PeerFailed, first_line
from trialbook.plugins.isolation import PLUGIN_ERRORS

if TYPE_CHECKING:
    from torch.distributed.distributed_c10d import Store

#: Seconds between two looks at the store while nothing is expected, and while it is.
LOOK, SOON = 0.5, 0.05
#: Seconds that a process has to come to an end by itself once another has failed.
GRACE = 3.0
#: Seconds that the others give the first to write down why the run failed, and that it then gives them to say so.
_RECORDING, _LEAVING = 4.0, 2.0


class JointWork:
    """A context manager around what the processes of a run compute together.

    An error on one of them comes out of it on all that come to an end by themselves within a few seconds; the others are ended.

    Args:
        number: of the work, the same on all processes.
        rank, count: this process, and how many there are.
        store: opens the store that they share.
        describe: what an error means.
        record: writes a failure down; called in the first process where that cannot come to an end by itself.
    Raises:
        PeerFailed: another process failed, and this one had come to its end.
    """

    def __init__(
        self, number: int, rank: int, count: int, store: Callable[[], Store],
        describe: Callable[[BaseException], Failure], record: Callable[[Failure], None],
    ) -> None:  # fmt: skip
        self._rank, self._count, self._open, self._describe, self._record = rank, count, store, describe, record
        self._failed, self._ended, self._noted, self._gone = (
            f"{what} {number}" for what in ("failed", "ended", "noted", "gone")
        )
        self._cause: Failure | None = None
        self._over = threading.Event()
        self._ending = threading.Lock()

    def __enter__(self) -> None:
        if self._count > 1:
            self._store = self._open()
            threading.Thread(target=self._watch, name="looking at other processes", daemon=True).start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._count == 1:
            return
        with self._ending:  # the thread may have begun to end this process
            self._over.set()
        own = None if error is None else self._failure(error)
        with suppress(RuntimeError):  # the store is gone, which ``cause`` says
            if own is not None:
                self._store.compare_set(self._failed, "", json.dumps(asdict(own)))
            self._store.add(self._ended, 1)
        if own is not None and own.interrupted:
            return
        cause = self._all_ended(own)
        if cause is None:
            return
        if cause.interrupted:
            raise KeyboardInterrupt
        if own is None or (cause.rank != own.rank and cause.message != own.message):
            raise PeerFailed(cause) from error

    @property
    def over(self) -> bool:
        """True once this process has left it."""
        return self._over.is_set()

    def cause(self) -> Failure | None:
        """The failure that came first, if there is any."""
        try:
            if self._cause is None and self._store.check([self._failed]):
                self._cause = Failure(**json.loads(self._store.get(self._failed)))
        except RuntimeError as error:
            lost = f"the first process, or its launcher, is gone ({first_line(error)})"
            self._cause = self._cause or Failure(0, lost, lost)
        return self._cause

    def _failure(self, error: BaseException) -> Failure:
        if isinstance(error, PLUGIN_ERRORS):
            return self._describe(error)
        return Failure(self._rank, "interrupted", "interrupted", interrupted=True)

    def _all_ended(self, own: Failure | None) -> Failure | None:
        """Wait until all are at the end: for long where all is well, else as long as grace is given, and end the process then.

        The others have nothing to wait for where all is well: the first tells them later what came of the run.
        """
        if own is None and self._rank:
            return None
        cause, since = self.cause(), time.monotonic()
        while self._number(self._ended) < self._count:
            if cause is None:
                cause, since = self.cause(), time.monotonic()
            elif cause.interrupted:
                break
            elif time.monotonic() - since > GRACE:
                self._end(cause)
            time.sleep(SOON)
        return cause or self.cause()

    def _watch(self) -> None:
        """End this process if another has failed and this one does not come to its end."""
        cause: Failure | None = None
        while cause is None:
            if self._over.wait(LOOK):
                return
            cause = self.cause()
        if not self._over.wait(GRACE):
            with self._ending:
                if not self._over.is_set():
                    self._end(cause)

    def _end(self, cause: Failure) -> NoReturn:
        """Say why, let the first process write it down, and leave without looking back: threads and collectives hang."""
        sys.stderr.write(f"mlrun: {cause.full_message}\n")
        if self._rank == 0 and not cause.interrupted:
            try:
                self._record(cause)
            except Exception as error:  # a full disk, say; nothing may keep it from ending
                sys.stderr.write(f"mlrun: {first_line(error)}\n")
        with suppress(RuntimeError):  # the store is gone
            if self._rank == 0:
                self._store.set(self._noted, "1")
                until(lambda: self._number(self._gone) >= self._count - 1, _LEAVING)
            else:
                until(lambda: self._store.check([self._noted]), _RECORDING)
                self._store.add(self._gone, 1)
        end_process(130 if cause.interrupted else 1)

    def _number(self, key: str) -> int:
        try:
            return int(self._store.add(key, 0))
        except RuntimeError:
            return 0  # the store is gone, which is a failure by itself


def until(there: Callable[[], Any], seconds: float) -> None:
    """Wait until something is there, or so many seconds are over."""
    deadline = time.monotonic() + seconds
    while not there() and time.monotonic() < deadline:
        time.sleep(SOON)


def end_process(status: int) -> NoReturn:
    """Leave at once, whatever threads and collectives hang."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
