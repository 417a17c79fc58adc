"""Contract of trackers: other places that are told of a run while it goes on."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    pass


@dataclass(frozen=True)
class TrackedRun:
    """A run as a tracker is told of it.

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
    """What a component of ``mlrun_trackers`` offers; all calls come from one thread. Wired, if asked for: ``runs: Path``.

    The constructor stores its options (keys of ``[tracker.NAME]``) and imports nothing heavy.
    """

    def start(self, run: TrackedRun) -> Collection[tuple[int, str]]:
        """Open the run, or go on with it; steps and metrics of the points that the tracker holds already."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Take points of the run that it does not hold."""

    def stop(self, status: str, results: Mapping[str, Any]) -> None:
        """Close the run: ``finished``, ``failed`` or ``interrupted`` (it may go on); results of a finished one."""
