"""Turns of a conversation as the messages of a chat template, with images in their places."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from trialbook.contracts.conversations import IMAGE, Turn

_SHOWN = "\ue000\ue002\ue001"
"""The text that a template sees in the place of an image: nothing that it could take for its own."""


class Message(NamedTuple):
    """A message as a template sees it: ``parts`` are texts and numbers of images, each with the turn that it is of."""

    role: str
    parts: tuple[tuple[str | int, int], ...]
    turn: int

    @property
    def content(self) -> str:
        """Its text, with a mark for each image."""
        return "".join(part if isinstance(part, str) else _SHOWN for part, _ in self.parts)


def messages_of(turns: Sequence[Turn], images: int, *, system: bool) -> list[Message]:
    """The messages of a conversation; texts lose their outer white space.

    Args:
        turns: of system, user and assistant.
        images: how many there are; those that no user places stand before the text of the first, places beyond them are
            text.
        system: whether there is a place for a system turn; else its text stands before that of the first user.
    """
    placed = sum(turn.text.count(IMAGE) for turn in turns if turn.role == "user")
    loose, number = max(0, images - placed), 0
    messages: list[Message] = []
    for place, turn in enumerate(turns):
        parts: list[str | int] = [turn.text.strip()]
        if turn.role == "user":
            parts = _with_images(turn.text.strip(), loose, number, images)
            number += sum(isinstance(part, int) for part in parts)
            loose = 0
        held = tuple((part, place) for part in parts if part != "")
        if messages and messages[-1].role == "system" and not system:
            held = ((f"{messages.pop().content}\n\n", place - 1), *held)
        messages.append(Message(turn.role, held, place))
    return messages


def _with_images(text: str, loose: int, number: int, images: int) -> list[str | int]:
    """A user's text with the images that it places, from ``number`` on, ``loose`` ones first."""
    parts: list[str | int] = list(range(number, number + loose))
    number += loose
    pieces = text.split(IMAGE)
    room = min(len(pieces) - 1, images - number)
    for place, piece in enumerate([*pieces[:room], IMAGE.join(pieces[room:])]):
        if place:
            parts.append(number + place - 1)
        parts.append(piece)
    return parts
