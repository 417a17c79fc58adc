"""Plugins that keep a command waiting are named while they do; they are not ended."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from trialbook.errors import printable

#: Seconds after which a plugin is named, between looks, and after which nobody looks any more.
LIMIT, PERIOD, IDLE = 10.0, 0.5, 2.0


class SlowPlugins:
    """Looks at what a plugin is doing, from a thread that lives as long as there is something to look at."""

    def __init__(self) -> None:
        self._doing: list[tuple[str, str, float]] = []
        self._told: set[tuple[str, str]] = set()
        self._last = 0.0
        self._thread: threading.Thread | None = None

    @contextmanager
    def watching(self, plugin: str, doing: str) -> Iterator[None]:
        """Name the plugin on the standard error if the block takes longer than ``LIMIT``.

        Args:
            plugin: its name.
            doing: what it does, as in ``importing acme.plugin``.
        """
        self._last = time.monotonic()
        self._doing.append((plugin, doing, self._last))
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._look, name="looking at plugins", daemon=True)
            self._thread.start()
        try:
            yield
        finally:
            self._doing.pop()

    def _look(self) -> None:
        while self._doing or time.monotonic() - self._last < IDLE:
            time.sleep(PERIOD)
            for plugin, doing, since in list(self._doing):
                if time.monotonic() - since >= LIMIT and (plugin, doing) not in self._told:
                    self._told.add((plugin, doing))
                    text = (
                        f"plugin '{plugin}' has been {doing} for {LIMIT:g} s; waiting for it (Ctrl-C ends the command)"
                    )
                    with suppress(OSError, ValueError, AttributeError):  # nobody reads the standard error
                        sys.stderr.write(f"{printable(text)}\n")
