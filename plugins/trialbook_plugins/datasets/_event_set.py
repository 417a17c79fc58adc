"""Data sets of windows of event logs: what those of files and the generated ones share."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import permutations
from typing import Any, Literal

import numpy as np

from trialbook import TrialbookError
from trialbook.contracts.datasets import LeftOut, Modality, Rows
from trialbook_plugins.captioners.sensor_templates import Style
from trialbook_plugins.datasets._captioned import all_texts
from trialbook_plugins.datasets._event_logs import Log, moment
from trialbook_plugins.datasets._event_windows import (
    Cutting,
    Measure,
    Numbering,
    Span,
    as_numbers,
    cut_log,
    fit_numbering,
    rooms_of,
    span_content,
    span_facts,
)
from trialbook_plugins.datasets._sensor_text import caption_column, make_captioners
from trialbook_plugins.datasets._sensor_windows import Sieve, class_numbers, deal_by_time, deal_units
from trialbook_plugins.datasets._splits import (
    Column,
    Pool,
    PooledDataset,
    PoolSplit,
    refuse_overlap,
    shares_of,
    unknown_modality,
)
from trialbook_plugins.datasets.events import EventWindow

SplitBy = Literal["time", "day", "resident"]
_TELLING = 3
"""Events of a window that can hardly be those of another home by chance, where clocks show whole seconds."""


@dataclass(frozen=True)
class EventOptions:
    """The keys that all data sets of event logs have; see ``sensor-events``."""

    by: Measure
    window: float
    stride: float | None
    activities: Sequence[str] | None
    split_by: SplitBy
    margin: float
    val: float
    test: float
    seed: int
    style: Style
    captions: int
    allow_overlap: bool


class EventSet(PooledDataset):
    """Windows of event logs (``sensor``) with captions (``text``).

    Args:
        options: how logs are cut, dealt and told of.
        sieve: takes what is left out.
    Raises:
        TrialbookError: an option is out of its range.
    """

    modalities = {"sensor": "events", "text": "text"}

    def __init__(self, options: EventOptions, sieve: Sieve) -> None:
        window, stride = options.window, options.window if options.stride is None else options.stride
        if window <= 0 or stride <= 0:
            raise TrialbookError(f"window ({window}) and stride ({stride}) must be above 0")
        if options.by == "count" and (window != round(window) or stride != round(stride)):
            raise TrialbookError(
                f"window ({window}) and stride ({stride}) must be whole numbers of events where by = 'count'"
            )
        if options.margin < 0:
            raise TrialbookError(f"margin ({options.margin}) must not be below 0 seconds")
        self.options = options
        self.cutting = Cutting(options.by, window, stride)
        self.shares = shares_of(options.val, options.test)
        self._captioners = make_captioners(options.style, options.captions)
        self._sieve = sieve

    @abstractmethod
    def logs(self) -> Sequence[Log]:
        """A log for each home or resident."""

    @abstractmethod
    def room_map(self) -> Mapping[str, str]:
        """Sensor, or pattern of sensors, to its room."""

    def describe(self, modality: str) -> Modality:
        """Kind of ``sensor`` or ``text``, with the names of sensors and states."""
        if modality == "text":
            return Modality("text", corpus=lambda: all_texts(self.splits()["train"], "text"))
        if modality != "sensor":
            raise unknown_modality(modality, tuple(self.modalities))
        return Modality("events", levels=self._numbering.levels)

    @property
    def preparation(self) -> tuple[object, ...]:  # type: ignore[override]
        """Numbers of sensors and states."""
        return (self._numbering,)

    @property
    def left_out(self) -> Sequence[LeftOut]:
        """The rows that were left out, where they stood, and why."""
        self.splits()
        return self._sieve.left_out

    @cached_property
    def class_names(self) -> tuple[str, ...]:
        """Activities in the order of their names."""
        return tuple(sorted({span.activity for span in self._spans}))

    @cached_property
    def _spans(self) -> list[Span]:
        spans: list[Span] = []
        for log in self.logs():
            found, empty = cut_log(log, self.cutting, whole_days=self.options.split_by == "day")
            if empty:
                self._sieve.drop(log.source, f"{empty} windows of {self.cutting.window:g} s without any event")
            spans += found
        wanted = self.options.activities
        known = sorted({span.activity for span in spans})
        if unknown := [name for name in wanted or () if name not in known]:
            raise TrialbookError(f"activities: no window is of '{unknown[0]}'; there are {', '.join(known)}")
        kept = [span for span in spans if wanted is None or span.activity in wanted]
        if not kept:
            raise TrialbookError(f"no window is left: window ({self.cutting.window:g}) is longer than every log")
        return kept

    @cached_property
    def _dealt(self) -> dict[str, Rows]:
        """Windows of each split."""
        spans, by = self._spans, self.options.split_by
        if by == "time":
            dealt = self._by_time()
        else:
            days = [f" {moment(span.begin):%Y-%m-%d}" if by == "day" else "" for span in spans]
            units = [f"{span.log.name}{day}" for span, day in zip(spans, days, strict=True)]
            dealt = deal_units(units, [span.activity for span in spans], self.shares, self.options.seed, stratify=False)
        self._sieve.tell(spans[0].log.source)
        return dealt

    def _by_time(self) -> dict[str, Rows]:
        """Each log by its own time."""
        parts: dict[str, list[Rows]] = {}
        for log in {id(span.log): span.log for span in self._spans}.values():
            places = np.array([place for place, span in enumerate(self._spans) if span.log is log])
            start, stop = (np.array([getattr(self._spans[i], end) for i in places]) for end in ("begin", "end"))
            dealt = deal_by_time(start, stop, self.shares, self.options.margin)
            for name, rows in dealt.items():
                parts.setdefault(name, []).append(places[rows])
            if lost := len(places) - sum(map(len, dealt.values())):
                self._sieve.drop(log.source, f"{lost} windows at the times at which splits end")
        return {name: np.concatenate(rows) for name, rows in parts.items()}

    @cached_property
    def _numbering(self) -> Numbering:
        return fit_numbering([self._spans[i] for i in self._dealt["train"]])

    def _cut(self) -> dict[str, PoolSplit]:
        if not self.options.allow_overlap:
            self._refuse_leaked_windows()
        spans, numbering = self._spans, self._numbering
        keys = [span_content(span) for span in spans]
        rooms = rooms_of((event.sensor for span in spans for event in span.events), self.room_map())
        facts = [span_facts(span, rooms, key) for span, key in zip(spans, keys, strict=True)]

        def read(rows: Rows) -> list[EventWindow]:
            return [as_numbers(spans[row], numbering) for row in rows]

        sensor = Column(np.arange(len(spans)), read, lambda: keys)
        activities = [span.activity for span in spans]
        names = [span.log.name for span in spans]
        labels: dict[str, Any] = {
            "label": activities, "class": class_numbers(activities, self.class_names), "recording": names, "subject": names,
            "facts": facts,
        }  # fmt: skip
        pool = Pool(len(spans), {"sensor": sensor, "text": caption_column(self._captioners, facts, sensor)}, labels)
        splits = {name: pool.split(name, groups) for name, groups in self._dealt.items()}
        if not self.options.allow_overlap:
            refuse_overlap(splits, ("sensor",), spans[0].log.source)
        return splits

    def _refuse_leaked_windows(self) -> None:
        """Stop where all events of a window stand in another split, whatever the windows and logs are that they stand in."""
        told = {
            name: {event[:3] for i in rows for event in self._spans[i].events} for name, rows in self._dealt.items()
        }
        for first, second in permutations(told, 2):
            windows = [self._spans[i] for i in self._dealt[second] if len(self._spans[i].events) >= _TELLING]
            if found := [span for span in windows if all(event[:3] in told[first] for event in span.events)]:
                raise TrialbookError(
                    f"all events of {len(found)} windows of split '{second}' stand in '{first}', too, the first window is that "
                    f"from {found[0].source} on; fix the data or set allow_overlap = true"
                )
