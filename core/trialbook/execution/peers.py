"""Messages between the processes of a run beside their collectives: what the first of them decides."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from trialbook.errors import TrialbookError
from trialbook.execution.failure import Failure, PeerFailed, first_line
from trialbook.execution.joint_work import GRACE, LOOK, SOON, JointWork, end_process, until
from trialbook.registry.lock import RunLocked
from trialbook.registry.ranks import rank, world_size

if TYPE_CHECKING:
    from torch.distributed.distributed_c10d import Store

Value = TypeVar("Value")

#: Seconds that the first process, which may hold the store, waits at the end of the command for the others.
_GOODBYE = 10.0


class Peers:
    """The processes that do the runs of a command together; one alone is its own first process. A context manager.

    All of them call the same methods in the same order.
    """

    def __init__(self) -> None:
        self.rank, self.count = rank(), world_size()
        self._opened: Store | None = None
        self._asked = self._met = self._works = 0
        self.work: JointWork | None = None

    def first(self, decide: Callable[[], Value]) -> Value:
        """Return on all processes what the first finds out; an error that it meets is raised on all of them.

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

    def meet(self) -> None:
        """Wait until all processes are here, however long that takes."""
        if self.count == 1:
            return
        self._met += 1
        key = f"met {self._met}"
        if self.store.add(key, 1) == self.count:
            self.store.set(f"all {key}", "1")
        self._wait_for(f"all {key}")

    def working(self, describe: Callable[[BaseException], Failure], record: Callable[[Failure], None]) -> JointWork:
        """A context manager around what they compute together; see ``JointWork``."""
        self._works += 1
        self.work = JointWork(self._works, self.rank, self.count, lambda: self.store, describe, record)
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
        leaving.join(GRACE)
        if leaving.is_alive():
            end_process(status)

    @property
    def store(self) -> Store:
        """Opened on first use."""
        if self._opened is None:
            from trialbook.engine.group import open_store  # late: a command for one process needs no torch

            self._opened = open_store()
        return self._opened

    def _wait_for(self, key: str) -> None:
        pause = SOON
        while not self._has(key):
            if self.work and not self.work.over and (cause := self.work.cause()):
                raise PeerFailed(cause)
            time.sleep(pause := min(pause * 1.1, LOOK))

    def _has(self, key: str) -> bool:
        try:
            return bool(self.store.check([key]))
        except RuntimeError as error:
            raise TrialbookError(
                f"the first process of this run, or its launcher, is gone ({first_line(error)})"
            ) from error

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
                until(lambda: self.rank or self.store.add("goodbye", 0) == self.count, _GOODBYE)
        self.leave_group(130 if isinstance(error, KeyboardInterrupt) else 1)


def _heard(told: dict[str, Any]) -> Any:
    """Return what the first process has said, or raise the error that it met."""
    if "error" not in told:
        return told["value"]
    if told["error"] == "interrupted":
        raise KeyboardInterrupt
    kinds: dict[str, type[Exception]] = {"busy": RunLocked, "system": OSError}
    raise kinds.get(told["error"], TrialbookError)(told["message"])


def _kind_of(error: BaseException) -> str:
    kinds = {RunLocked: "busy", OSError: "system", KeyboardInterrupt: "interrupted"}
    return next((name for kind, name in kinds.items() if isinstance(error, kind)), "other")
