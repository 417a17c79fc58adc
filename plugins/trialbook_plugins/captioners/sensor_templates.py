"""Captioner ``sensor-templates``: windows of sensor data in words, by rules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from string import Formatter
from typing import Any, Literal

from trialbook import TrialbookError
from trialbook.contracts.datasets import content_hash

from ._phrases import phrases_of

Style = Literal["label", "plain", "detailed", "story"]

#: Style -> its templates. One applies where all its phrases are known; the first group that has such is drawn from.
TEMPLATES: dict[Style, tuple[tuple[str, ...], ...]] = {
    "label": (
        ("{activity}", "the activity is {activity}", "sensor data of {activity}", "this is {activity}"),
        ("no known activity", "an activity that is not known"),
    ),
    "plain": (
        (
            "{activity} in the {room} {when}",
            "{when}, {activity}, mostly in the {room}",
            "somebody in the {room} {when}: {activity}",
        ),
        (
            "{activity} with {movement} movement",
            "{movement} movement, mostly along {axis}: {activity}",
            "{activity}, which shows {movement} movement along {axis}",
        ),
        ("somebody is mostly in the {room} {when}", "{when} there is movement in the {room}"),
        ("{movement} movement, mostly along {axis}", "there is {movement} movement along {axis}"),
        ("{activity} {when}", "{when}: {activity}"),
        ("{activity}", "this is {activity}"),
        ("something goes on {when}", "{when} something goes on"),
    ),
    "detailed": (
        (
            "{activity} from {clock} on a {day}, for {duration}: {stays}; {events} events, from {first_sensor} to {last_sensor}",
            "on a {day} at {clock}, {events} events in {duration}, {first_sensor} first, {last_sensor} last, {stays}: {activity}",
        ),
        (
            "{activity} for {duration}, {movement} movement, mostly along {axis}",
            "{duration} of {activity}: {movement} movement, most of it along {axis}",
        ),
        (
            "from {clock} on a {day}, for {duration}: {stays}; {events} events, from sensor {first_sensor} to {last_sensor}",
            "on a {day} at {clock}, {events} events within {duration} ({first_sensor} first, {last_sensor} last), {stays}",
        ),
        (
            "{activity} from {clock} on a {day}, for {duration}: {events} events, from sensor {first_sensor} to {last_sensor}",
            "on a {day} at {clock}, {events} events from {first_sensor} to {last_sensor} within {duration}: {activity}",
        ),
        ("{duration}, {movement} movement, mostly along {axis}", "{movement} movement along {axis} for {duration}"),
        ("{activity}, {movement} movement, mostly along {axis}", "{movement} movement along {axis}: {activity}"),
        (
            "from {clock} on a {day}, for {duration}: {events} events, from sensor {first_sensor} to {last_sensor}",
            "on a {day} at {clock}, {events} events from {first_sensor} to {last_sensor} within {duration}",
        ),
    ),
    "story": (
        (
            "It is {day}, {clock}. Somebody is in the {first_room} and goes on to {other_rooms}. The next {duration} are about "
            "{activity}, and the {room} sees most of it.",
            "A {day}, {when}. First the {first_room}, then {other_rooms}: after {duration} it is clear that this was {activity}.",
        ),
        (
            "It is {day}, {clock}. Somebody stays in the {room} for {duration}, and what is going on there is {activity}.",
            "A {day}, {when}. Nothing moves but in the {room}; {duration} pass with {activity}.",
        ),
        (
            "Somebody begins to move. There is {movement} movement, most of it along {axis}, for {duration}: it is {activity}.",
            "For {duration} the sensor feels {movement} movement along {axis}. What is going on is {activity}.",
        ),
        (
            "It is {day}, {clock}. Somebody is in the {first_room} and goes on to {other_rooms}. {duration} pass, most of them "
            "in the {room}.",
            "A {day}, {when}. First the {first_room}, then {other_rooms}; after {duration} it is over.",
        ),
        (
            "It is {day}, {clock}. Somebody stays in the {room} for {duration}.",
            "A {day}, {when}. Nothing moves but in the {room}; {duration} pass.",
        ),
        ("There is {movement} movement, most of it along {axis}.", "The sensor feels {movement} movement along {axis}."),
        ("It is {day}, {clock}. {events} events within {duration} tell of what goes on.",),
    ),
}  # fmt: skip


class SensorTemplates:
    """Windows of sensor data in words, by rules: what is done, where, when and how.

    A style is an ordered list of groups of templates; of the first group with a template for which everything is known, one is
    chosen by the facts' ``key`` (the content of the window), so that a window has the same caption wherever it stands.
    ``label`` says the activity alone; ``plain`` adds room and part of the day, or movement; ``detailed`` times, stays, sensors
    and counts; ``story`` tells it in sentences.

    Facts that are understood, all of them optional: ``activity``, ``start`` (ISO time), ``seconds``, ``events`` (how many),
    ``rooms`` (``room`` and ``seconds`` of each), ``first_sensor``, ``last_sensor``, ``axis``, ``movement``, ``key``.

    Args:
        style: how much is told, and how.
        activity: tell the activity where it is known; without, captions tell only what sensors saw.
        variant: takes another template of the group: variants 0 and 1 of a window differ where there are two.
    Raises:
        TrialbookError: ``activity`` is false with style ``label``, ``variant`` is below 0; or, of facts, nothing that the style
            has a template for is known.
    """

    def __init__(self, *, style: Style = "plain", activity: bool = True, variant: int = 0) -> None:
        if style == "label" and not activity:
            raise TrialbookError("style 'label' says nothing but the activity: activity must be true")
        if variant < 0:
            raise TrialbookError(f"variant ({variant}) must not be below 0")
        self.style = style
        self.activity = activity
        self.variant = variant
        self._groups = [[(text, _phrases(text)) for text in group] for group in TEMPLATES[style]]

    @property
    def uses(self) -> tuple[str, ...]:
        """Names of the phrases that the style's templates have."""
        named = {name for group in self._groups for _, names in group for name in names}
        return tuple(sorted(named if self.activity else named - {"activity"}))

    def caption(self, facts: Sequence[Mapping[str, Any]]) -> list[str]:
        """One text for each window.

        Raises:
            TrialbookError: nothing is known that the style has a template for.
        """
        return [self._one(window) for window in facts]

    def _one(self, facts: Mapping[str, Any]) -> str:
        known = phrases_of(facts)
        if not self.activity:
            known.pop("activity", None)
        for group in self._groups:
            if fitting := [text for text, names in group if names <= known.keys()]:
                draw = int(content_hash(self.style, str(facts.get("key", "")))[:8], 16)
                text = fitting[(draw + self.variant) % len(fitting)].format_map(known)
                return text[0].upper() + text[1:] if self.style == "story" else text
        told = ", ".join(sorted(known)) or "nothing"
        raise TrialbookError(
            f"style '{self.style}' has no template for a window of which {told} is known; take another style"
        )


def _phrases(template: str) -> frozenset[str]:
    return frozenset(name for _, name, _, _ in Formatter().parse(template) if name)
