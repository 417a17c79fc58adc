"""Windows of recordings of several channels, and the splits that they go to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from trialbook import TrialbookError
from trialbook.contracts.datasets import Rows, content_hash
from trialbook_plugins.datasets._leakage import find_leaked_windows
from trialbook_plugins.datasets._sensor_windows import Sieve, cut, deal_by_time, deal_units
from trialbook_plugins.datasets._series_recording import Recording
from trialbook_plugins.datasets._splits import SPLITS, split_name

SplitBy = Literal["recording", "subject", "time", "given"]


class Window(NamedTuple):
    """Samples [T, C] of a recording, as recorded, from its sample ``start`` on."""

    recording: Recording
    start: int
    values: NDArray[np.float32]


@dataclass(frozen=True)
class Dealing:
    """The dealing of windows into splits; see the keys of the dataset ``sensor-series``."""

    by: SplitBy
    shares: Mapping[str, float]
    seed: int
    stratify: bool


def cut_all(
    recordings: Sequence[Recording], window: int, stride: int, sieve: Sieve, *, keep_short: bool
) -> list[Window]:
    """All windows, recording by recording; recordings without any are noted in ``sieve``."""
    windows = []
    for one in recordings:
        cuts = cut(len(one.values), window, stride, keep_short=keep_short)
        if not cuts:
            sieve.drop(one.source, f"{len(one.values)} samples, fewer than a window's {window}")
        windows += [Window(one, begin, one.values[begin:end]) for begin, end in cuts]
    return windows


def deal_windows(windows: Sequence[Window], dealing: Dealing, sieve: Sieve) -> dict[str, Rows]:
    """Windows of each split, ``train`` first; those that reach over a boundary in time are noted in ``sieve``.

    Raises:
        TrialbookError: what the windows are to be dealt by is not known of one of them, or a split is empty.
    """
    if dealing.by == "given":
        return _given(windows, dealing)
    if dealing.by == "time":
        return _by_time(windows, dealing, sieve)
    return _by_unit(windows, dealing)


def _by_unit(windows: Sequence[Window], dealing: Dealing) -> dict[str, Rows]:
    units = _subjects(windows) if dealing.by == "subject" else _contents(windows)
    labels = [window.recording.label for window in windows]
    return deal_units(units, labels, dealing.shares, dealing.seed, stratify=dealing.stratify)


def _subjects(windows: Sequence[Window]) -> list[str]:
    for window in windows:
        if not window.recording.subject:
            raise TrialbookError(
                f"split_by 'subject': {window.recording.source} names none; say where it stands in 'subject'"
            )
    return [window.recording.subject for window in windows]


def _contents(windows: Sequence[Window]) -> list[str]:
    """The content of each window's recording: copies of a recording under other names are one."""
    pieces: dict[str, dict[int, Recording]] = {}
    for window in windows:
        pieces.setdefault(window.recording.unit, {})[window.recording.first] = window.recording
    keys = {unit: content_hash(*(one.values for one in parts.values())) for unit, parts in pieces.items()}
    return [keys[window.recording.unit] for window in windows]


def _given(windows: Sequence[Window], dealing: Dealing) -> dict[str, Rows]:
    """The splits that recordings come with; where val is missing, its share of train's recordings."""
    for window in windows:
        if not window.recording.split:
            raise TrialbookError(
                f"split_by 'given': {window.recording.source} comes with no split; name its column in 'split'"
            )
    names = np.array([split_name(window.recording.split, window.recording.source) for window in windows])
    dealt = {name: np.flatnonzero(names == name) for name in SPLITS if name in names}
    if "train" not in dealt:
        raise TrialbookError(f"split_by 'given': no recording is of train; there are {', '.join(dealt)}")
    share = dealing.shares["val"]
    if "val" not in dealt and share > 0:
        train = dealt["train"]
        inner = Dealing("recording", {"train": 1 - share, "val": share}, dealing.seed, dealing.stratify)
        dealt |= {name: train[rows] for name, rows in _by_unit([windows[i] for i in train], inner).items()}
    return {name: dealt[name] for name in SPLITS if name in dealt}


def _by_time(windows: Sequence[Window], dealing: Dealing, sieve: Sieve) -> dict[str, Rows]:
    """Whole recordings in order of time; of a single one its windows."""
    if len({window.recording.unit for window in windows}) == 1:
        start = np.array([float(window.recording.first + window.start) for window in windows])
        stop = start + [len(window.values) for window in windows]
    else:
        start = stop = _order(windows)
    dealt = deal_by_time(start, stop, dealing.shares, margin=0.0)
    if lost := len(windows) - sum(map(len, dealt.values())):
        sieve.drop(windows[0].recording.source, f"{lost} windows reach over the time at which a split ends")
    return dealt


def _order(windows: Sequence[Window]) -> NDArray[np.float64]:
    """Place of each window's recording in order of time."""
    first: dict[str, str] = {}
    for one in (window.recording for window in windows):
        if not one.time:
            raise TrialbookError(
                f"split_by 'time': the time of {one.source} is not known; say where it stands in 'time'"
            )
        first[one.unit] = min(first.get(one.unit, one.time), one.time)
    place = {unit: number for number, unit in enumerate(sorted(first, key=lambda unit: (first[unit], unit)))}
    return np.array([float(place[window.recording.unit]) for window in windows])


def refuse_leaked_windows(windows: Sequence[Window], dealt: Mapping[str, Rows], source: object) -> None:
    """Stop where a window of val or test stands somewhere in what train has of a recording, at any offset.

    Raises:
        TrialbookError: says how many, and where the first is from.
    """
    spans: dict[int, tuple[Recording, int, int]] = {}
    for window in (windows[i] for i in dealt["train"]):
        begin, end = window.start, window.start + len(window.values)
        one, low, high = spans.get(id(window.recording), (window.recording, begin, end))
        spans[id(one)] = (one, min(low, begin), max(high, end))
    for name in (name for name in dealt if name != "train"):
        tested = [windows[i] for i in dealt[name]]
        found = find_leaked_windows(
            [one.values for one in tested], (one.values[low:high] for one, low, high in spans.values())
        )
        if found:
            raise TrialbookError(
                f"{source}: {len(found)} windows of split '{name}' stand in recordings of train, the first from "
                f"{tested[found[0]].recording.source}; fix the data or set allow_overlap = true"
            )
