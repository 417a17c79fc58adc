"""Windows of logs: by duration or by count, their content, what is known of them, and as numbers."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from itertools import groupby, pairwise
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from trialbook.contracts.datasets import content_hash
from trialbook_plugins.datasets._event_logs import OTHER, Log, LogEvent, moment, number_of
from trialbook_plugins.datasets._sensor_windows import cut
from trialbook_plugins.datasets.events import NUMBER, UNSEEN, EventWindow

_DAY = 86_400.0
Measure = Literal["duration", "count"]


@dataclass(frozen=True)
class Cutting:
    """The cutting of logs: windows of ``window`` seconds or events, the next one ``stride`` behind the last one's begin."""

    by: Measure
    window: float
    stride: float


@dataclass(frozen=True, eq=False)
class Span:
    """A window: events of a log from ``begin`` to ``end`` (seconds)."""

    log: Log
    first: int
    events: Sequence[LogEvent]
    begin: float
    end: float

    @cached_property
    def activity(self) -> str:
        """That of most events; of those that tie the first to come."""
        return Counter(event.activity for event in self.events).most_common(1)[0][0]

    @property
    def source(self) -> str:
        """File and line of the first event."""
        return f"{self.log.source}:{self.log.lines[self.first]}"


def cut_log(log: Log, cutting: Cutting, *, whole_days: bool) -> tuple[list[Span], int]:
    """Windows with at least one event, and how many had none.

    Args:
        log: all events.
        cutting: how.
        whole_days: no window holds events of two days.
    """
    spans: list[Span] = []
    empty = 0
    days = groupby(range(len(log.events)), key=lambda i: math.floor(log.events[i].time / _DAY) if whole_days else 0)
    for _, run in days:
        places = list(run)
        first, last = places[0], places[-1] + 1
        if cutting.by == "count":
            for start, stop in cut(last - first, int(cutting.window), int(cutting.stride), keep_short=False):
                events = log.events[first + start : first + stop]
                spans.append(Span(log, first + start, events, events[0].time, events[-1].time))
            continue
        times = np.array([event.time for event in log.events[first:last]])
        count = max(math.floor((times[-1] - times[0] - cutting.window) / cutting.stride) + 1, 1)
        begins = times[0] + cutting.stride * np.arange(count)
        low, high = np.searchsorted(times, begins), np.searchsorted(times, begins + cutting.window)
        empty += int((low == high).sum())
        for begin, start, stop in zip(begins.tolist(), low.tolist(), high.tolist(), strict=True):
            if stop > start:
                events = log.events[first + start : first + stop]
                spans.append(Span(log, first + start, events, begin, begin + cutting.window))
    return spans, empty


def span_content(span: Span) -> str:
    """Content hash of the raw events: times, sensors and states."""
    times = np.array([event.time for event in span.events])
    return content_hash(times, "\n".join(f"{event.sensor} {event.state}" for event in span.events))


def span_facts(span: Span, rooms: Mapping[str, str], key: str) -> dict[str, Any]:
    """Describe a window, as JSON can hold it; ``rooms`` is the room of each sensor.

    ``key``, ``activity`` (left out where there is none), ``resident``, ``start`` (ISO), ``seconds``, ``events`` (their number),
    ``first_sensor``, ``last_sensor``; where rooms are known ``rooms``, each with ``room`` and ``seconds``, in order of the first
    visit.
    """
    events = span.events
    facts: dict[str, Any] = {
        "key": key, "resident": span.log.name, "start": moment(span.begin).isoformat(timespec="seconds"),
        "seconds": round(span.end - span.begin, 3), "events": len(events), "first_sensor": events[0].sensor,
        "last_sensor": events[-1].sensor,
    }  # fmt: skip
    if (activity := span.activity) != OTHER:
        facts["activity"] = activity
    if stays := _stays(span, rooms):
        facts["rooms"] = [{"room": room, "seconds": round(seconds, 3)} for room, seconds in stays.items()]
    return facts


def _stays(span: Span, rooms: Mapping[str, str]) -> dict[str, float]:
    """Seconds in each room: from an event in it to the next event in any room, or to the end."""
    moved = [event for event in span.events if number_of(event.state) is None]
    seen = [(event.time, room) for event in moved if (room := rooms.get(event.sensor, ""))]
    stays: dict[str, float] = {}
    for (time, room), (behind, _) in pairwise([*seen, (span.end, "")]):
        stays[room] = stays.get(room, 0.0) + behind - time
    return stays


def rooms_of(sensors: Iterable[str], rooms: Mapping[str, str]) -> dict[str, str]:
    """The room of every sensor that has one: that of its name, or of the first pattern (``M01?``) that fits."""
    found = {}
    for sensor in set(sensors):
        fitting = [sensor] if sensor in rooms else [pattern for pattern in rooms if fnmatchcase(sensor, pattern)]
        if fitting:
            found[sensor] = rooms[fitting[0]]
    return found


@dataclass(frozen=True)
class Numbering:
    """Sensors and states as numbers, and the scale of each sensor's own numbers, as train has them."""

    sensors: Mapping[str, int]
    states: Mapping[str, int]
    scales: Mapping[str, tuple[float, float]]

    @property
    def levels(self) -> tuple[tuple[str, ...], ...]:
        """Names of sensors and of states."""
        return tuple(self.sensors), tuple(self.states)


def fit_numbering(spans: Sequence[Span]) -> Numbering:
    """The numbering of what stands in these windows, and the mean and standard deviation of each sensor's numbers."""
    states: set[str] = set()
    values: dict[str, list[float]] = {}
    seen = {event for span in spans for event in span.events}
    for event in sorted(seen):
        value = number_of(event.state)
        states.add(event.state if value is None else NUMBER)
        if value is not None:
            values.setdefault(event.sensor, []).append(value)
    scales = {sensor: (float(np.mean(given)), float(np.std(given)) or 1.0) for sensor, given in values.items()}
    sensors = [UNSEEN, *sorted({event.sensor for event in seen})]
    return Numbering(_places(sensors), _places([UNSEEN, *sorted(states)]), scales)


def _places(names: Sequence[str]) -> dict[str, int]:
    return {name: place for place, name in enumerate(names)}


def as_numbers(span: Span, numbering: Numbering) -> EventWindow:
    """A window as encoders read it."""
    times = np.array([event.time for event in span.events])
    given = [number_of(event.state) for event in span.events]
    states = [event.state if value is None else NUMBER for event, value in zip(span.events, given, strict=True)]
    angle = 2 * np.pi * (times % _DAY) / _DAY
    return EventWindow(
        sensor=np.array([numbering.sensors.get(event.sensor, 0) for event in span.events], dtype=np.int64),
        state=np.array([numbering.states.get(state, 0) for state in states], dtype=np.int64),
        value=_scaled([event.sensor for event in span.events], given, numbering),
        seconds=(times - span.begin).astype(np.float32),
        gap=np.diff(times, prepend=times[0]).astype(np.float32),
        clock=np.stack([np.sin(angle), np.cos(angle)], axis=1).astype(np.float32),
    )


def _scaled(sensors: Sequence[str], given: Sequence[float | None], numbering: Numbering) -> NDArray[np.float32]:
    """Numbers on the scale of their sensor; 0 where there is none, or the sensor brought none in train."""
    values = np.zeros(len(given), dtype=np.float32)
    for place, (sensor, value) in enumerate(zip(sensors, given, strict=True)):
        if value is not None and sensor in numbering.scales:
            mean, spread = numbering.scales[sensor]
            values[place] = (value - mean) / spread
    return values
