"""Logs of sensor events as CASAS publishes them: read with file and line in every complaint, and written."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from trialbook import TrialbookError
from trialbook_plugins.datasets._paths import read_text
from trialbook_plugins.datasets._sensor_windows import Sieve

#: Label of events outside of every annotated activity.
OTHER = "Other"
#: States that sensors report in words; others are numbers, or unknown.
STATES = ("ON", "OFF", "OPEN", "CLOSE", "CLOSED", "PRESENT", "ABSENT", "START", "STOP")
_EPOCH = datetime(1970, 1, 1)
_MARKS = ("begin", "end")


class LogEvent(NamedTuple):
    """A sensor's report: seconds since 1970 by the home's clock, its state in words or as a number, the activity."""

    time: float
    sensor: str
    state: str
    activity: str = OTHER


@dataclass(frozen=True, eq=False)
class Log:
    """All events of one home, in order of time.

    Args:
        name: of the home or resident.
        source: the file, or what made it.
        events: in order of time.
        lines: line of each event in the file.
    """

    name: str
    source: str
    events: Sequence[LogEvent]
    lines: Sequence[int]


def moment(time: float) -> datetime:
    """Date and time of the home's clock."""
    return _EPOCH + timedelta(seconds=time)


def number_of(state: str) -> float | None:
    """The number that a state is; None for a word."""
    try:
        value = float(state)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def read_log(file: Path, name: str, states: Collection[str], sieve: Sieve) -> Log:
    """A log: ``date time sensor state`` a line, between tabs or spaces, and where an activity begins or ends ``Activity begin``.

    Args:
        file: the log.
        name: of the home or resident.
        states: what sensors report beside numbers, in capitals.
        sieve: takes bad lines: torn ones, unknown states, times before that of the line before, ends without a begin.
    """
    events: list[LogEvent] = []
    lines: list[int] = []
    running: dict[str, int] = {}  # activity to the line of its begin, the latest last
    for number, line in enumerate(read_text(file).splitlines(), 1):
        cells = line.split()
        if not cells:
            continue
        try:
            time, sensor, state = _event(cells, states)
            marks = _annotations(cells[4:])
            if events and time < events[-1].time:
                raise ValueError(f"its time is {events[-1].time - time:.6g} s before that of the event before")
            _check_marks(marks, running)
        except ValueError as error:
            sieve.bad(f"{file}:{number}", str(error))
            continue
        running |= {activity: number for activity, mark in marks if mark == "begin"}
        events.append(LogEvent(time, sensor, state, next(reversed(running), OTHER)))
        lines.append(number)
        for activity in (activity for activity, mark in marks if mark == "end"):
            del running[activity]
    for activity, number in running.items():
        sieve.bad(f"{file}:{number}", f"'{activity}' begins and never ends")
    return Log(name, str(file), events, lines)


def _event(cells: Sequence[str], states: Collection[str]) -> tuple[float, str, str]:
    if len(cells) < 4:
        raise ValueError(f"{len(cells)} fields, where a line has date, time, sensor and state")
    date, time, sensor, state = cells[:4]
    whole, dot, fraction = time.partition(".")
    try:
        at = (datetime.fromisoformat(f"{date} {whole}") - _EPOCH).total_seconds()
        micro = int(fraction.ljust(6, "0")[:6]) if dot else 0
    except ValueError:
        raise ValueError(f"'{date} {time}' is no time (YYYY-MM-DD HH:MM:SS.ffffff)") from None
    if state.upper() not in states and number_of(state) is None:
        raise ValueError(
            f"unknown state '{state}' of sensor {sensor}; known are numbers and {', '.join(sorted(states))}"
        )
    return (at * 1_000_000 + micro) / 1_000_000, sensor, state.upper()


def _annotations(cells: Sequence[str]) -> list[tuple[str, str]]:
    """Activities with what becomes of them, from ``Sleep end Toilet begin``."""
    found, words = [], list[str]()
    for cell in cells:
        if cell.lower() in _MARKS and words:
            found.append(("_".join(words), cell.lower()))
            words = []
        else:
            words.append(cell)
    if words:
        raise ValueError(f"annotation '{' '.join(cells)}' does not say begin or end")
    return found


def _check_marks(marks: Sequence[tuple[str, str]], running: Collection[str]) -> None:
    begun = set(running)
    for activity, mark in marks:
        if mark == "begin" and activity in begun:
            raise ValueError(f"'{activity}' begins a second time before it ends")
        if mark == "end" and activity not in begun:
            raise ValueError(f"'{activity}' ends and has not begun")
        begun.symmetric_difference_update({activity})


def write_log(file: Path, events: Sequence[LogEvent]) -> None:
    """Write events as CASAS publishes them; reading gives the same events, times to the microsecond.

    Raises:
        TrialbookError: an event has a name that such a file cannot hold.
    """
    rows = []
    for place, event in enumerate(events):
        if any(not name or len(name.split()) != 1 for name in (event.sensor, event.state, event.activity)):
            raise TrialbookError(f"{file}: names in a log must not be empty or have spaces: {event}")
        before = events[place - 1].activity if place else OTHER
        behind = events[place + 1].activity if place + 1 < len(events) else OTHER
        marks = [event.activity, "begin"] if event.activity not in (OTHER, before) else []
        marks += [event.activity, "end"] if event.activity not in (OTHER, behind) else []
        note = f"\t{' '.join(marks)}" if marks else ""
        rows.append(f"{moment(event.time):%Y-%m-%d %H:%M:%S.%f}\t{event.sensor}\t{event.state}{note}\n")
    file.write_text("".join(rows), encoding="utf-8")
