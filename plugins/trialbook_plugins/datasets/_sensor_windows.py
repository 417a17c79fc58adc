"""Windows of recordings, and splits of them that no recording stands in twice."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from trialbook import TrialbookError
from trialbook.contracts.datasets import LeftOut, Rows
from trialbook_plugins.datasets._splits import SPLITS

_LOG = logging.getLogger(__name__)
_SHOWN = 3


@dataclass
class Sieve:
    """The rows left out of a data set: bad ones, which stop the reading unless they may be skipped, and others.

    Args:
        skip_bad: leave bad rows out instead of stopping.
    """

    skip_bad: bool
    left_out: list[LeftOut] = field(default_factory=list)

    def bad(self, where: str, why: str) -> None:
        """A bad row at ``where`` (file and line).

        Raises:
            TrialbookError: bad rows may not be skipped.
        """
        if not self.skip_bad:
            raise TrialbookError(f"{where}: {why}; fix the data or set skip_bad = true")
        self.left_out.append(LeftOut(where, why))

    def drop(self, where: str, why: str) -> None:
        """Note something that is left out though nothing is wrong with it."""
        self.left_out.append(LeftOut(where, why))

    def tell(self, source: object) -> None:
        """Log how much was left out."""
        if self.left_out:
            examples = "; ".join(f"{one.where}: {one.why}" for one in self.left_out[:_SHOWN])
            _LOG.warning("%s: left out %d: %s", source, len(self.left_out), examples)


def cut(length: int, window: int, stride: int, *, keep_short: bool) -> list[tuple[int, int]]:
    """First and behind-last sample of every whole window in a recording.

    Args:
        length: samples of the recording.
        window: samples of a window; 0 takes the whole recording.
        stride: samples from one window's begin to the next's.
        keep_short: a recording shorter than a window is a window of its own length; else it has none.
    """
    if not length:
        return []
    if window == 0 or (length < window and keep_short):
        return [(0, length)]
    return [(start, start + window) for start in range(0, length - window + 1, stride)]


def deal_units(
    units: Sequence[str], classes: Sequence[str], shares: Mapping[str, float], seed: int, *, stratify: bool
) -> dict[str, Rows]:
    """Deal windows into splits so that those of one unit (a recording, a subject) stay together.

    Units are dealt by a hash of their name, so that a unit mostly keeps its place when others come or go. With ``stratify`` every
    class is dealt by itself, and each split gets a unit of it as long as there are enough: train first, then test, then val.

    Args:
        units: unit of each window; of content, where copies of a unit under another name must stay together.
        classes: class of each window; a unit counts to that of most of its windows.
        shares: split name to share of the units.
        seed: another seed deals differently.
        stratify: deal every class by itself.
    Returns:
        split name to ascending windows, ``train`` first.
    Raises:
        TrialbookError: a split with a share above 0 gets no unit.
    """
    names = [name for name in SPLITS if shares.get(name, 0) > 0]
    of_unit: dict[str, list[str]] = {}
    for unit, one in zip(units, classes, strict=True):
        of_unit.setdefault(unit, []).append(one)
    strata: dict[str, list[str]] = {}
    for unit, seen in of_unit.items():
        strata.setdefault(max(sorted(set(seen)), key=seen.count) if stratify else "", []).append(unit)
    place: dict[str, str] = {}
    for members in strata.values():
        order = sorted(members, key=lambda unit: hashlib.sha256(f"{seed}\x00{unit}".encode()).digest())
        counts = _counts(len(order), {name: shares[name] for name in names})
        place |= dict(zip(order, (name for name in names for _ in range(counts[name])), strict=True))
    dealt = {
        name: np.array([i for i, unit in enumerate(units) if place[unit] == name], dtype=np.int64) for name in names
    }
    if empty := [name for name in names if not len(dealt[name])]:
        raise TrialbookError(f"split '{empty[0]}' would be empty: {len(of_unit)} units are too few for {dict(shares)}")
    return dealt


def _counts(units: int, shares: Mapping[str, float]) -> dict[str, int]:
    """Units of each split: by share, but at least one each as long as there are enough."""
    wanted = [name for name in ("train", "test", "val") if name in shares][:units]
    counts = {
        name: max(round(units * share), int(name in wanted)) if name != "train" else 0 for name, share in shares.items()
    }
    while sum(counts.values()) > units - 1:
        largest = max(counts, key=lambda name: counts[name])
        counts[largest] -= 1
    counts["train"] = units - sum(counts.values())
    return counts


def deal_by_time(
    start: NDArray[np.float64], stop: NDArray[np.float64], shares: Mapping[str, float], margin: float
) -> dict[str, Rows]:
    """Deal windows into splits by time: train first, then val, then test, with nothing in the margin after each boundary.

    Boundaries stand where the windows before them are the share of theirs. A window that reaches over a boundary or begins within
    the margin behind it is in no split.

    Args:
        start: begin of each window [W].
        stop: end of each window [W]; not before its begin.
        shares: split name to share of the windows.
        margin: at least 0, in the unit of ``start``.
    Raises:
        TrialbookError: a split with a share above 0 gets no window.
    """
    names = [name for name in SPLITS if shares.get(name, 0) > 0]
    ordered = np.sort(start)
    edges, share = [-np.inf], 0.0
    for name in names[:-1]:
        share += shares[name]
        edges.append(ordered[min(round(share * len(ordered)), len(ordered) - 1)])
    dealt = {}
    for place, name in enumerate(names):
        begin = edges[place] + (margin if place else 0)
        end = edges[place + 1] if place + 1 < len(edges) else np.inf
        dealt[name] = np.flatnonzero((start >= begin) & (start < end) & (stop <= end))
        if not len(dealt[name]):
            raise TrialbookError(f"split '{name}' would be empty: {len(start)} windows are too few for {dict(shares)}")
    return dealt


def class_numbers(labels: Sequence[str], names: Sequence[str]) -> NDArray[np.int64]:
    """Place of each label in ``names``."""
    place = {name: number for number, name in enumerate(names)}
    return np.array([place[label] for label in labels], dtype=np.int64)
