"""A small home that is lived in: routines of residents, and what its sensors make of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

import numpy as np

from trialbook_plugins.datasets._event_logs import OTHER, LogEvent

_DAY, _HOUR, _MINUTE = 86_400.0, 3_600.0, 60.0
#: Midnight of the first day, a Monday.
_START = (datetime(2024, 1, 1) - datetime(1970, 1, 1)).total_seconds()

#: Room to its motion sensors; all rooms open on the hallway.
ROOMS: Mapping[str, tuple[str, ...]] = {
    "bedroom": ("M001", "M002"),
    "bathroom": ("M003",),
    "kitchen": ("M004", "M005"),
    "dining room": ("M006",),
    "living room": ("M007", "M008"),
    "office": ("M009",),
    "hallway": ("M010", "M011"),
}
DOOR = "D001"
THERMOMETERS = {"T001": "kitchen", "T002": "bathroom"}
#: Sensor to its room; thermometers and the front door too.
SENSOR_ROOMS: dict[str, str] = {
    **{sensor: room for room, sensors in ROOMS.items() for sensor in sensors}, DOOR: "hallway", **THERMOMETERS,
}  # fmt: skip
_OUTSIDE = "outside"


class Stay(NamedTuple):
    """A true stay: a resident does something in a room (or ``outside``) from ``start`` to ``stop``, in seconds since 1970."""

    activity: str
    room: str
    start: float
    stop: float


@dataclass(frozen=True)
class Habit:
    """The course of an activity: rooms with shares of its time, minutes that it lasts, movements a minute."""

    rooms: Mapping[str, float]
    minutes: float
    movements: float


HABITS: Mapping[str, Habit] = {
    "Sleep": Habit({"bedroom": 1.0}, 440, 0.05),
    "Bed_to_Toilet": Habit({"bathroom": 1.0}, 4, 2.0),
    "Personal_Hygiene": Habit({"bathroom": 1.0}, 18, 2.5),
    "Meal_Preparation": Habit({"kitchen": 0.9, "dining room": 0.1}, 25, 4.0),
    "Eating": Habit({"dining room": 1.0}, 20, 1.0),
    "Work": Habit({"office": 0.95, "kitchen": 0.05}, 130, 0.6),
    "Housekeeping": Habit({"living room": 0.4, "kitchen": 0.3, "bedroom": 0.3}, 40, 5.0),
    "Relax": Habit({"living room": 1.0}, 75, 0.5),
    "Leave_Home": Habit({_OUTSIDE: 1.0}, 90, 0.0),
}
_MORNING = ("Personal_Hygiene", "Meal_Preparation", "Eating", "Work")
_MIDDAY = (
    ("Meal_Preparation", "Eating", "Work"),
    ("Leave_Home", "Meal_Preparation", "Eating"),
    ("Housekeeping", "Relax"),
)
_EVENING = (("Leave_Home", "Relax"), ("Housekeeping", "Relax"), ("Work", "Relax"))
_NIGHT = ("Meal_Preparation", "Eating", "Relax", "Personal_Hygiene")


@dataclass(frozen=True)
class Noise:
    """The errors of sensors: share of events that are missed, and false alarms an hour."""

    missed: float
    false_alarms: float


def live(rng: np.random.Generator, days: int) -> list[Stay]:
    """Draw what one resident does in ``days`` days, stay by stay, without a gap; habits and hours are the resident's own."""
    wakes, pace = rng.normal(6.75, 0.75) * _HOUR, rng.uniform(0.8, 1.25)
    tempers = {activity: pace * rng.uniform(0.8, 1.25) for activity in HABITS}
    stays: list[Stay] = []
    now = _START
    for day in range(days):
        morning = _START + day * _DAY + wakes + rng.normal(0, 0.4) * _HOUR
        now = _night(rng, stays, now, morning)
        plan = [*_MORNING, *_MIDDAY[rng.integers(len(_MIDDAY))], *_EVENING[rng.integers(len(_EVENING))], *_NIGHT]
        for activity in plan:
            minutes = max(HABITS[activity].minutes * tempers[activity] * rng.lognormal(0, 0.3), 2.0)
            now = _spend(rng, stays, activity, now, minutes * _MINUTE)
            now = _spend(rng, stays, OTHER, now, rng.uniform(1, 6) * _MINUTE, {"hallway": 0.3, "living room": 0.7})
    return stays


def _night(rng: np.random.Generator, stays: list[Stay], now: float, morning: float) -> float:
    """Sleep until the morning (an hour at least), with a way to the toilet in most nights."""
    end = max(morning, now + _HOUR)
    if rng.random() < 0.7 and end - now > 3 * _HOUR:
        now = _spend(rng, stays, "Sleep", now, rng.uniform(0.3, 0.7) * (end - now))
        now = _spend(rng, stays, "Bed_to_Toilet", now, rng.uniform(2, 7) * _MINUTE)
    return _spend(rng, stays, "Sleep", now, end - now)


def _spend(
    rng: np.random.Generator, stays: list[Stay], activity: str, now: float, seconds: float,
    rooms: Mapping[str, float] | None = None,
) -> float:  # fmt: skip
    """Add the stays of an activity, room by room in parts of some minutes; the time at which it ends."""
    shares = rooms or HABITS[activity].rooms
    names, likely = list(shares), np.array(list(shares.values()))
    parts = 1 if len(names) == 1 else max(int(seconds // (4 * _MINUTE)), 2)
    edges = now + seconds * np.arange(parts + 1) / parts
    chosen = rng.choice(len(names), size=parts, p=likely / likely.sum())
    for place, start, stop in zip(chosen.tolist(), edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        stays.append(Stay(activity, names[place], start, stop))
    return float(now + seconds)


def sense(rng: np.random.Generator, stays: Sequence[Stay], noise: Noise) -> list[LogEvent]:
    """Return what the sensors report of these stays, in order of time, to the millisecond; no two events are of one time."""
    raw: list[tuple[float, str, str]] = []
    before = stays[0].room
    for stay in stays:
        if stay.room != before:
            raw += _way(rng, before, stay.room, stay.start)
        raw += _movements(rng, stay)
        before = stay.room
    raw += _temperatures(rng, stays)
    first, last = stays[0].start, stays[-1].stop
    raw = [one for one in raw if rng.random() >= noise.missed]
    motion = [sensor for sensors in ROOMS.values() for sensor in sensors]
    for time in rng.uniform(first, last, rng.poisson(noise.false_alarms * (last - first) / _HOUR)).tolist():
        sensor = motion[rng.integers(len(motion))]
        raw += [(time, sensor, "ON"), (time + rng.uniform(1, 4), sensor, "OFF")]
    return _labelled(sorted(one for one in raw if first <= one[0] < last), stays)


def _way(rng: np.random.Generator, origin: str, goal: str, time: float) -> list[tuple[float, str, str]]:
    """From room to room through the hallway, and through the front door where either is outside."""
    sensors = ROOMS["hallway"]
    passed = [(time + 2 * step, sensor, "ON") for step, sensor in enumerate(sensors)]
    passed += [(at + rng.uniform(1, 3), sensor, "OFF") for at, sensor, _ in passed]
    if _OUTSIDE in (origin, goal):
        at = time + 5
        passed += [(at, DOOR, "OPEN"), (at + rng.uniform(2, 6), DOOR, "CLOSE")]
    return passed


def _movements(rng: np.random.Generator, stay: Stay) -> list[tuple[float, str, str]]:
    """Motion sensors of the room, on and off again; the resident shows on coming in, and then as often as the activity has it."""
    if stay.room == _OUTSIDE:
        return []
    rate = HABITS[stay.activity].movements if stay.activity in HABITS else 1.5
    length = stay.stop - stay.start
    times = rng.uniform(stay.start, stay.stop, rng.poisson(rate * length / 60))
    times = np.concatenate([[stay.start + rng.uniform(0.5, 1) * min(8, length / 2)], times])
    sensors = ROOMS[stay.room]
    found = []
    for time in times.tolist():
        sensor = sensors[rng.integers(len(sensors))]
        found += [(time, sensor, "ON"), (time + rng.uniform(1, 5), sensor, "OFF")]
    return found


def _temperatures(rng: np.random.Generator, stays: Sequence[Stay]) -> list[tuple[float, str, str]]:
    """Every half hour each thermometer's degrees: warmer in the day, and where somebody cooks or showers."""
    warm = {"kitchen": "Meal_Preparation", "bathroom": "Personal_Hygiene"}
    starts, stops = (np.array([getattr(stay, end) for stay in stays]) for end in ("start", "stop"))
    found = []
    for sensor, room in THERMOMETERS.items():
        busy = np.array([stay.activity == warm[room] for stay in stays])
        for time in np.arange(stays[0].start + rng.uniform(0, 1800), stays[-1].stop, 1800.0).tolist():
            recent = np.clip(np.minimum(stops, time) - np.maximum(starts, time - _HOUR), 0, None)[busy].sum() / _HOUR
            degrees = 20 + 1.5 * np.sin(2 * np.pi * (time % _DAY / _DAY - 0.4)) + 4 * recent + rng.normal(0, 0.2)
            found.append((time, sensor, f"{degrees:.1f}"))
    return found


def _labelled(raw: Sequence[tuple[float, str, str]], stays: Sequence[Stay]) -> list[LogEvent]:
    """Events with the activity of their time, at whole milliseconds that ascend."""
    starts = np.array([stay.start for stay in stays])
    events: list[LogEvent] = []
    tick = 0
    for time, sensor, state in raw:
        tick = max(round(time * 1000), tick + 1)
        stay = stays[max(int(np.searchsorted(starts, tick / 1000, side="right")) - 1, 0)]
        events.append(LogEvent(tick / 1000, sensor, state, stay.activity))
    return events
