"""Ctrl-C during a command that runs experiments: once ends the run at the next safe point, twice ends the process at once."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType, TracebackType
from typing import Any

from trialbook.registry.ranks import world_size

#: Exit status of a process that was interrupted from the keyboard.
INTERRUPTED = 130
_ONCE = "\nmlrun: the run ends behind this step or evaluation; Ctrl-C again ends it at once\n"
_TWICE = "\nmlrun: ended at once; the same command resumes from the last checkpoint\n"


class Interrupt:
    """A context manager within which Ctrl-C is taken as said above.

    While steps are done, the first one is only noted, and raised as KeyboardInterrupt by the next ``safe_point``. At any other
    time it is raised at once. Where several processes do a run, and outside of the main thread, Ctrl-C stays as it is.
    """

    def __init__(self) -> None:
        self.asked = False
        self._stepping = False
        self._before: Any = None

    def __enter__(self) -> Interrupt:
        if world_size() == 1 and threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGINT, self._take)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._before is not None:  # behind an interruption the process is about to end, and may do so at once
            signal.signal(signal.SIGINT, signal.SIG_DFL if self.asked else self._before)

    @contextmanager
    def stepping(self) -> Iterator[None]:
        """While within, wait with the interruption until a safe point."""
        self._stepping = True
        try:
            yield
            self.safe_point()
        finally:
            self._stepping = False

    def safe_point(self) -> None:
        """Raise KeyboardInterrupt if one was asked for."""
        if self.asked:
            raise KeyboardInterrupt

    def _take(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            _say(_TWICE)
            os._exit(INTERRUPTED)
        self.asked = True
        if not self._stepping:
            raise KeyboardInterrupt
        _say(_ONCE)


def _say(text: str) -> None:
    """Write past Python's streams, which may be in the midst of writing."""
    cursor = "\x1b[?25h" if sys.stderr is not None and sys.stderr.isatty() else ""  # bars may have hidden it
    with suppress(OSError):
        os.write(2, f"{cursor}{text}".encode())
