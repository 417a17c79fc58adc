"""Facts of a window of sensor data as phrases that templates are filled with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any

_PARTS_OF_DAY = (
    (5, "night"),
    (8, "early morning"),
    (12, "morning"),
    (14, "midday"),
    (18, "afternoon"),
    (22, "evening"),
)


def phrases_of(facts: Mapping[str, Any]) -> dict[str, str]:
    """Every phrase that the facts allow, by the name that templates give it; what is not known has none."""
    found: dict[str, str] = {}
    for name, value in facts.items():
        if isinstance(value, str) and value and name not in ("key", "start"):
            found[name] = in_words(value)
        elif isinstance(value, int) and not isinstance(value, bool):
            found[name] = str(value)
    if facts.get("seconds"):
        found["duration"] = in_time(float(facts["seconds"]))
    if facts.get("start"):
        found |= _when(datetime.fromisoformat(str(facts["start"])))
    if facts.get("rooms"):
        found |= _where(facts["rooms"])
    return found


@lru_cache(maxsize=4096)
def in_words(name: str) -> str:
    """A name of a file or an annotation as words: ``Meal_Preparation`` is "meal preparation"; ``M017`` stays."""
    words = name.replace("_", " ").replace("-", " ").split()
    return " ".join(word if any(letter.isdigit() for letter in word) else word.lower() for word in words)


def in_time(seconds: float) -> str:
    """A duration in its largest unit: "40 seconds", "1 minute", "2.5 hours"."""
    for unit, length in (("hour", 3600), ("minute", 60), ("second", 1)):
        if seconds >= length or unit == "second":
            amount = seconds / length
            digits = f"{amount:.0f}" if amount >= 10 else f"{amount:.1f}".removesuffix(".0")
            return f"{digits} {unit}" + ("" if digits == "1" else "s")
    raise AssertionError


def part_of_day(hour: int) -> str:
    """Return what the time around this hour (0 to 23) is called."""
    return next((name for end, name in _PARTS_OF_DAY if hour < end), "night")


def _when(start: datetime) -> dict[str, str]:
    day = f"{start:%A}"
    part = part_of_day(start.hour)
    when = f"at {part}" if part in ("night", "midday") else f"in the {part}"
    return {"clock": f"{start:%H:%M}", "day": day, "when": when}


def _where(rooms: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Rooms in the order in which they were entered, and the one with the most time."""
    names = [in_words(str(one["room"])) for one in rooms]
    longest = max(rooms, key=lambda one: one["seconds"])
    stays = [f"{in_time(one['seconds'])} in the {name}" for one, name in zip(rooms, names, strict=True)]
    found = {
        "rooms": listed([f"the {name}" for name in names]),
        "room": in_words(str(longest["room"])),
        "stays": listed(stays),
    }
    if len(names) > 1:
        found |= {"first_room": names[0], "other_rooms": listed([f"the {name}" for name in names[1:]])}
    return found


def listed(parts: Sequence[str]) -> str:
    """Parts as a list in words: "a, b and c"."""
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
