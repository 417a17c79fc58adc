"""What the processes of a run tell one another beside their collectives: what the first decides, and that one has failed.

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
from dataclasses import asdict, dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from trialbook.errors import TrialbookError
from trialbook.hookcheck import FAULTS
from trialbook.ranks import rank, world_size
from trialbook.runlock import RunBusy

if TYPE_CHECKING:
    from torch.distributed.distributed_c10d import Store

Value = TypeVar("Value")

#: Seconds between two looks at the store: while nothing is expected, and while it is.
_LOOK, _SOON = 0.5, 0.05
#: Seconds that a process has to come to an end by itself once another has failed.
_GRACE = 3.0
#: Seconds that the others give the first to write down why the run failed, and that it then gives them to say so.
_RECORDING, _LEAVING = 4.0, 2.0
#: Seconds that the first process, which may hold the store, waits at the end of the command for the others.
_GOODBYE = 10.0


@dataclass(frozen=True)
class Failure:
    """Why a run ended before its end.

    Args:
        rank: of the process that failed.
        message: in a line.
        text: with the place in the code, for ``error.txt``.
        interrupted: from the keyboard; the run goes on another time.
    """

    rank: int
    message: str
    text: str
    interrupted: bool = False

    @property
    def whole(self) -> str:
        """The message, with the process that it comes from."""
        return f"process {self.rank}: {self.message}" if self.rank else self.message

    @property
    def told(self) -> str:
        """The text, with the process that it comes from."""
        if not self.rank or self.text == self.message:
            return self.whole if self.text == self.message else self.text
        return f"process {self.rank}:\n{self.text}"


class PeerFailed(TrialbookError):
    """Another process failed; this one has come to an end too."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.whole)
        self.failure = failure


class Peers:
    """The processes that do the runs of a command together; one alone is its own first process. A context manager.

    All of them call the same methods in the same order.
    """

    def __init__(self) -> None:
        self.rank, self.count = rank(), world_size()
        self._opened: Store | None = None
        self._asked = self._works = 0
        self.work: Work | None = None

    def first(self, decide: Callable[[], Value]) -> Value:
        """What the first process finds out, on all of them; an error that it meets is raised on all of them.

        Nobody waits in a collective meanwhile: it may take hours.

        Args:
            decide: gives JSON-able data; called by the first process alone.
        Raises:
            TrialbookError: the first process is gone, or another one that works with it has failed.
        """
        if self.count == 1:
            return decide()
        self._asked += 1
        key = f"first {self._asked}"
        if self.rank:
            self._wait_for(key)
            return _heard(json.loads(self.store.get(key)))  # type: ignore[no-any-return]
        try:
            value = decide()
        except BaseException as error:
            self.store.set(key, json.dumps({"error": _kind_of(error), "message": str(error)}))
            raise
        self.store.set(key, json.dumps({"value": value}))
        return value

    def working(self, describe: Callable[[BaseException], Failure], record: Callable[[Failure], None]) -> Work:
        """A context manager around what they compute together.

        Args:
            describe: what an error means.
            record: writes a failure down; called in the first process where that cannot come to an end by itself.
        """
        self._works += 1
        self.work = Work(self, self._works, describe, record)
        return self.work

    def leave_group(self, status: int = 1) -> None:
        """Give the process group up, if torch has made one: behind a failure it is half done, and the next run makes another.

        Args:
            status: of the process, which ends here if the group hangs in something that others will not enter.
        """
        if self.count == 1 or "torch.distributed" not in sys.modules:
            return
        from trialbook.engine.group import leave_group

        leaving = threading.Thread(target=leave_group, daemon=True)
        leaving.start()
        leaving.join(_GRACE)
        if leaving.is_alive():
            _quit(status)

    @property
    def store(self) -> Store:
        """Opened on first use."""
        if self._opened is None:
            from trialbook.engine.group import open_store  # late: a command for one process needs no torch

            self._opened = open_store()
        return self._opened

    def _wait_for(self, key: str) -> None:
        while not self._has(key):
            if self.work is not None and (cause := self.work.cause()):
                raise PeerFailed(cause)
            time.sleep(_SOON)

    def _has(self, key: str) -> bool:
        try:
            return bool(self.store.check([key]))
        except RuntimeError as error:
            raise TrialbookError(f"the first process of this run, or its launcher, is gone ({_line(error)})") from error

    def __enter__(self) -> Peers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._opened is None:
            return
        if error is None or isinstance(error, SystemExit):
            with suppress(RuntimeError):  # the store is gone with the launcher: nobody is left to wait for
                self._opened.add("goodbye", 1)
                _until(lambda: self.rank or self.store.add("goodbye", 0) == self.count, _GOODBYE)
        self.leave_group(130 if isinstance(error, KeyboardInterrupt) else 1)


class Work:
    """One run's work on all processes; see ``Peers.working``."""

    def __init__(
        self, peers: Peers, number: int, describe: Callable[[BaseException], Failure], record: Callable[[Failure], None]
    ) -> None:
        self._peers, self._describe, self._record = peers, describe, record
        self._failed, self._ended, self._noted, self._gone = (
            f"{what} {number}" for what in ("failed", "ended", "noted", "gone")
        )
        self._over = threading.Event()
        self._ending = threading.Lock()

    def __enter__(self) -> None:
        if self._peers.count > 1:
            self._store = self._peers.store
            threading.Thread(target=self._watch, name="looking at other processes", daemon=True).start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._peers.work = None
        if self._peers.count == 1:
            return
        with self._ending:  # the thread may have begun to end this process
            self._over.set()
        own = None if error is None else self._failure(error)
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

    def cause(self) -> Failure | None:
        """The failure that came first, if there is any."""
        try:
            told = json.loads(self._store.get(self._failed)) if self._store.check([self._failed]) else None
        except RuntimeError as error:
            told = asdict(Failure(0, lost := f"the first process, or its launcher, is gone ({_line(error)})", lost))
        return Failure(**told) if told else None

    def _failure(self, error: BaseException) -> Failure:
        if isinstance(error, FAULTS):
            return self._describe(error)
        return Failure(self._peers.rank, "interrupted", "interrupted", interrupted=True)

    def _all_ended(self, own: Failure | None) -> Failure | None:
        """Wait until all are at the end: for long where all is well, else as long as grace is given, and end the process then.

        The others have nothing to wait for where all is well: the first goes on to tell them what came of the run.
        """
        if own is None and self._peers.rank:
            return None
        cause, since = self.cause(), time.monotonic()
        while self._count(self._ended) < self._peers.count:
            if cause is None:
                cause, since = self.cause(), time.monotonic()
            elif cause.interrupted:
                break
            elif time.monotonic() - since > _GRACE:
                self._end(cause)
            time.sleep(_SOON)
        return cause or self.cause()

    def _watch(self) -> None:
        """End this process if another has failed and this one does not come to its end."""
        cause: Failure | None = None
        while cause is None:
            if self._over.wait(_LOOK):
                return
            cause = self.cause()
        if not self._over.wait(_GRACE):
            with self._ending:
                if not self._over.is_set():
                    self._end(cause)

    def _end(self, cause: Failure) -> NoReturn:
        """Say why, let the first process write it down, and leave without looking back: threads and collectives hang."""
        sys.stderr.write(f"mlrun: {cause.whole}\n")
        try:
            if self._peers.rank == 0:
                if not cause.interrupted:
                    self._record(cause)
                self._store.set(self._noted, "1")
                _until(lambda: self._count(self._gone) >= self._peers.count - 1, _LEAVING)
            else:
                _until(lambda: self._store.check([self._noted]), _RECORDING)
                self._store.add(self._gone, 1)
        except Exception as error:  # nothing may keep it from ending
            sys.stderr.write(f"mlrun: {_line(error)}\n")
        _quit(130 if cause.interrupted else 1)

    def _count(self, key: str) -> int:
        try:
            return int(self._store.add(key, 0))
        except RuntimeError:
            return 0  # the store is gone, which is a failure by itself


def _heard(told: dict[str, Any]) -> Any:
    """What the first process has said, or the error that it met."""
    if "error" not in told:
        return told["value"]
    if told["error"] == "interrupted":
        raise KeyboardInterrupt
    kinds: dict[str, type[Exception]] = {"busy": RunBusy, "system": OSError}
    raise kinds.get(told["error"], TrialbookError)(told["message"])


def _kind_of(error: BaseException) -> str:
    kinds = {RunBusy: "busy", OSError: "system", KeyboardInterrupt: "interrupted"}
    return next((name for kind, name in kinds.items() if isinstance(error, kind)), "other")


def _until(there: Callable[[], Any], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not there() and time.monotonic() < deadline:
        time.sleep(_SOON)


def _quit(status: int) -> NoReturn:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).strip().splitlines()[0]
