"""Contract of trackers: other programs that a run is reported to while it is under way."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    pass


@dataclass(frozen=True)
class TrackedRun:
    """A run as it is reported to a tracker.

    Args:
        name: ``<arm>-s<seed>-<id>``.
        path: its directory; a tracker may keep a folder of its own name in it.
        about: content of ``run.json``: ``experiment``, ``arm``, ``seed``, ``id``, ``question`` …
        config: the resolved configuration.
    """

    name: str
    path: Path
    about: Mapping[str, Any]
    config: Mapping[str, Any]


class Tracker(Protocol):
    """Reports runs to another program; all calls come from one thread. Injected, if asked for: ``runs: Path``.

    The constructor stores its options (keys of ``[tracker.NAME]``) and imports nothing heavy.
    """

    def start(self, run: TrackedRun) -> Collection[tuple[int, str]]:
        """Open the run, or continue with it; steps and metrics of the points that the tracker holds already."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Take points of the run that it does not hold."""

    def stop(self, status: str, results: Mapping[str, Any]) -> None:
        """Close the run: ``finished``, ``failed`` or ``interrupted`` (it may be resumed); results of a finished one."""
