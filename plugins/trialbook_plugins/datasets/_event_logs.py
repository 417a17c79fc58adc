"""Logs of sensor events as CASAS publishes them: read with file and line in every complaint, and written."""

from __future__ import annotations

import math
import re
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
_MARKED = re.compile(r"""([^="']+)=["']?(begin|end)["']?""", re.IGNORECASE)


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


class _Row(NamedTuple):
    """A line: where and when, what a sensor reported, and the words of its annotation; or why it cannot be read."""

    line: int
    time: float = 0.0
    sensor: str = ""
    state: str = ""
    note: Sequence[str] = ()
    why: str = ""


def read_log(file: Path, name: str, states: Collection[str], sieve: Sieve) -> Log:
    """A log: ``date time sensor state`` a line, between tabs or spaces, and behind it what it says of activities.

    That is ``Activity begin`` or ``Activity="begin"`` where one begins, and ``end`` where it ends; or, where no line says so, the
    activity of each event, on more than half of the lines.

    Args:
        file: the log.
        name: of the home or resident.
        states: what sensors report beside numbers, in capitals.
        sieve: takes bad lines: torn ones, unknown states, times before that of the line before, ends without a begin.
    """
    rows = [_row(number, line, states) for number, line in enumerate(read_text(file).splitlines(), 1) if line.strip()]
    events: list[LogEvent] = []
    lines: list[int] = []
    running: dict[str, int] = {}  # activity to the line of its begin, the latest last
    is_labelled = _has_labels(rows)
    for row in rows:
        try:
            if row.why:
                raise ValueError(row.why)
            marks = [] if is_labelled else _annotations(row.note)
            if events and row.time < events[-1].time:
                raise ValueError(f"its time is {events[-1].time - row.time:.6g} s before that of the event before")
            _check_marks(marks, running)
        except ValueError as error:
            sieve.bad(f"{file}:{row.line}", str(error))
            continue
        running |= {activity: row.line for activity, mark in marks if mark == "begin"}
        activity = _label(row.note) if is_labelled else next(reversed(running), OTHER)
        events.append(LogEvent(row.time, row.sensor, row.state, activity))
        lines.append(row.line)
        for activity in (activity for activity, mark in marks if mark == "end"):
            del running[activity]
    for activity, number in running.items():
        sieve.bad(f"{file}:{number}", f"'{activity}' begins and never ends")
    return Log(name, str(file), events, lines)


def _row(number: int, line: str, states: Collection[str]) -> _Row:
    try:
        return _Row(number, *_event(line, states))
    except ValueError as error:
        return _Row(number, why=str(error))


def _event(line: str, states: Collection[str]) -> tuple[float, str, str, Sequence[str]]:
    date, time, sensor, state, note = _fields(line, states)
    whole, dot, fraction = time.partition(".")
    try:
        moment = datetime.fromisoformat(f"{date} {whole}")
        micro = int(fraction.ljust(6, "0")[:6]) if dot else 0
    except ValueError:
        raise ValueError(f"'{date} {time}' is no time (YYYY-MM-DD HH:MM:SS.ffffff)") from None
    if moment.tzinfo is not None:
        raise ValueError(f"'{date} {time}' has a time zone; times of a log are those of the home's clock")
    if state.upper() not in states and number_of(state) is None:
        raise ValueError(
            f"unknown state '{state}' of sensor {sensor}; known are numbers and {', '.join(sorted(states))}"
        )
    at = (moment - _EPOCH).total_seconds()
    return (at * 1_000_000 + micro) / 1_000_000, sensor, state.upper(), note


def _fields(line: str, states: Collection[str]) -> tuple[str, str, str, str, Sequence[str]]:
    """Date, time, sensor, state and the words behind them; a sensor's name may have spaces."""
    parts = [part.strip() for part in line.split("\t") if part.strip()]
    head = parts[0].split()
    if len(head) + len(parts) >= 5 and len(head) <= 2:  # date and time, in one field or two
        date, time, sensor, state, *note = [*head, *parts[1:]]
        if len(time.split()) == len(state.split()) == 1:
            return date, time, "_".join(sensor.split()), state, " ".join(note).split()
    cells = line.split()
    if len(cells) < 4:
        raise ValueError(f"{len(cells)} fields, where a line has date, time, sensor and state")
    place = 3
    if cells[3].upper() not in states and number_of(cells[3]) is None:
        place = next((i for i, cell in enumerate(cells) if i > 3 and cell.upper() in states), 3)
    return cells[0], cells[1], "_".join(cells[2:place]), cells[place], cells[place + 1 :]


def _has_labels(rows: Sequence[_Row]) -> bool:
    """Return whether events carry the name of their activity: none says that one begins or ends, and most have some words."""
    notes = [row.note for row in rows if row.note]
    marks = any(cell.lower() in _MARKS or _MARKED.fullmatch(cell) for note in notes for cell in note)
    named = [note for note in notes if any(letter.isalpha() for letter in "".join(note))]
    return not marks and len(named) == len(notes) and 2 * len(notes) > len(rows)


def _label(note: Sequence[str]) -> str:
    """The activity that an event carries."""
    label = "_".join(note)
    return OTHER if label.lower() in ("", "other_activity") else label


def _annotations(cells: Sequence[str]) -> list[tuple[str, str]]:
    """Activities with what becomes of them, from ``Sleep end Toilet begin`` or ``Sleep="end"``."""
    found, words = [], list[str]()
    for cell in cells:
        marked = _MARKED.fullmatch(cell)
        if marked or (cell.lower() in _MARKS and words):
            name, mark = (marked[1], marked[2]) if marked else ("", cell)
            found.append(("_".join(filter(None, [*words, name])), mark.lower()))
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
