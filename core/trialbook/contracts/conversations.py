"""Conversations about images: the one format that datasets give, tasks train on and evaluations ask from.

A built dataset is a folder: ``train.jsonl``, ``val.jsonl`` … with one conversation a line, and the images beside them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from trialbook.contracts.datasets import content_hash
from trialbook.errors import TrialbookError

#: Where an image stands in the text of a turn. Images that no turn places stand before the text of the first.
IMAGE = "<image>"

Role = Literal["system", "user", "assistant"]
_ROLES = ("system", "user", "assistant")
_KEYS = ("id", "images", "turns", "answers", "answerable", "source", "kind", "hash")


@dataclass(frozen=True)
class Turn:
    """The text of one side: ``role`` is ``system``, ``user`` or ``assistant``."""

    role: Role
    text: str


@dataclass(frozen=True)
class Conversation:
    """A conversation about images.

    Args:
        id: unique in its dataset.
        images: paths relative to the dataset's folder, in the order in which the turns place them.
        turns: users and the assistant in turn, the assistant last; a system turn may come first.
        answers: every accepted answer to the last question, the one that the assistant gives first; empty where any answer
            would be wrong. With ten answers of ten annotators, all ten, repetitions included.
        answerable: whether the images hold the answer to the last question.
        source: the set that it comes from.
        kind: kind of the last question (``value``, ``count``, ``absent-field`` …), for tables of errors.
        hash: SHA-256 of what the images show and what is said, as hex; file names do not count.

    Raises:
        TrialbookError: no turn, turns out of order, an empty one, or more image places than images.
    """

    id: str
    images: tuple[str, ...]
    turns: tuple[Turn, ...]
    answers: tuple[str, ...] = ()
    answerable: bool = True
    source: str = ""
    kind: str = ""
    hash: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        said = [turn for turn in self.turns if turn.role != "system"]
        if [turn.role for turn in self.turns[1:]].count("system") or not said:
            raise TrialbookError(
                f"conversation '{self.id}': a system turn may only come first, and a question must follow"
            )
        for place, turn in enumerate(said):
            if turn.role != ("user", "assistant")[place % 2]:
                raise TrialbookError(f"conversation '{self.id}': user and assistant must take turns, the user first")
            if not turn.text.strip():
                raise TrialbookError(f"conversation '{self.id}': an empty {turn.role} turn")
        if len(said) % 2:
            raise TrialbookError(f"conversation '{self.id}': the last turn must be the assistant's")
        placed = sum(turn.text.count(IMAGE) for turn in said if turn.role == "user")
        if placed > len(self.images):
            raise TrialbookError(
                f"conversation '{self.id}': its turns place {placed} images, but it has {len(self.images)}"
            )

    @property
    def question(self) -> str:
        """The last question, without image places."""
        return next(turn.text for turn in reversed(self.turns) if turn.role == "user").replace(IMAGE, "").strip()

    @property
    def answer(self) -> str:
        """The last text of the assistant."""
        return self.turns[-1].text

    def as_dict(self) -> dict[str, Any]:
        """As a line of a JSONL file."""
        turns = [{"role": turn.role, "text": turn.text} for turn in self.turns]
        return {
            "id": self.id, "images": list(self.images), "turns": turns, "answers": list(self.answers),
            "answerable": self.answerable, "source": self.source, "kind": self.kind, "hash": self.hash,
        }  # fmt: skip

    def as_line(self) -> str:
        """One line of JSON, without its end."""
        return json.dumps(self.as_dict(), ensure_ascii=False)

    @classmethod
    def from_dict(cls, line: Any) -> Conversation:
        """From a line of a JSONL file.

        Raises:
            TrialbookError: a key is missing, unknown or of another type.
        """
        if not isinstance(line, Mapping):
            raise TrialbookError("a conversation must be an object")
        if unknown := sorted(set(line) - set(_KEYS)):
            raise TrialbookError(f"a conversation has no key '{unknown[0]}' (known: {', '.join(_KEYS)})")
        name = line.get("id")
        if not isinstance(name, str) or not name:
            raise TrialbookError("a conversation needs an 'id', a text that is not empty")
        for key in ("images", "answers"):
            values = line.get(key, [])
            if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
                raise TrialbookError(f"conversation '{name}': '{key}' must be a list of texts")
        for key in ("source", "kind", "hash"):
            if not isinstance(line.get(key, ""), str):
                raise TrialbookError(f"conversation '{name}': '{key}' must be a text")
        if not isinstance(line.get("answerable", True), bool):
            raise TrialbookError(f"conversation '{name}': 'answerable' must be true or false")
        turns = line.get("turns")
        if not isinstance(turns, list):
            raise TrialbookError(f"conversation '{name}': 'turns' must be a list")
        return cls(
            name, tuple(line.get("images", [])), tuple(_turn(name, turn) for turn in turns),
            tuple(line.get("answers", [])), line.get("answerable", True), line.get("source", ""), line.get("kind", ""),
            line.get("hash", ""),
        )  # fmt: skip


def is_published(line: Any) -> bool:
    """Return whether a line holds a conversation as published sets have them, see ``published_turns``."""
    return isinstance(line, Mapping) and "turns" not in line and ("conversations" in line or "messages" in line)


def from_published(line: Mapping[str, Any], name: str) -> Conversation:
    """A conversation from a line as published sets have them: ``conversations`` (or ``messages``) and ``image`` (or ``images``).

    Args:
        line: of the set.
        name: becomes the id.
    Raises:
        TrialbookError: a turn or an image is none.
    """
    if line.get("video") or line.get("videos"):
        raise TrialbookError(f"conversation '{name}': it shows a video, and only pictures are read")
    shown = line.get("image", line.get("images"))
    images = [] if shown is None or shown == "" else shown if isinstance(shown, list) else [shown]
    if not all(isinstance(image, str) for image in images):
        raise TrialbookError(f"conversation '{name}': 'image' must be a path or a list of paths")
    turns = published_turns(line.get("conversations", line.get("messages")))
    source = line.get("source", line.get("data_source", ""))
    answers = (turns[-1].text,) if turns else ()
    return Conversation(name, tuple(images), turns, answers, source=source if isinstance(source, str) else "")


def published_turns(given: Any) -> tuple[Turn, ...]:
    """Turns as published sets have them: ``from`` and ``value`` (LLaVA), ``role`` and ``content``, or ``user`` and ``assistant``
    as pairs (The Cauldron).

    Raises:
        TrialbookError: a turn is none of these.
    """
    if isinstance(given, Mapping):  # a table in columns, as some releases of the datasets library give it
        given = [dict(zip(given, cells, strict=True)) for cells in zip(*given.values(), strict=True)]
    if not isinstance(given, list):
        raise TrialbookError(f"a conversation must be a list of turns, not {given!r}")
    turns: list[Turn] = []
    for turn in given:
        if not isinstance(turn, Mapping):
            raise TrialbookError(f"a turn must be an object, not {turn!r}")
        if "user" in turn and "assistant" in turn:
            pairs = [("user", turn["user"]), ("assistant", turn["assistant"])]
        else:
            pairs = [(turn.get("from", turn.get("role")), turn.get("value", turn.get("content")))]
        for speaker, said in pairs:
            text = _parts_as_text(said)
            if speaker not in _SPEAKERS or text is None:
                raise TrialbookError(f"{dict(turn)!r} is no turn; it needs 'from' (human or gpt) and 'value'")
            turns.append(Turn(_SPEAKERS[speaker], text))
    return tuple(turns)


_SPEAKERS: dict[Any, Role] = {
    "human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "system": "system",
}  # fmt: skip


def _parts_as_text(said: Any) -> str | None:
    """Return what is said: a text, or parts of which some are images."""
    if not isinstance(said, list):
        return said if isinstance(said, str) else None
    texts: list[str] = []
    for part in said:
        whole = part if isinstance(part, Mapping) else {"text": part}
        text = IMAGE if whole.get("type") in ("image", "image_url") else whole.get("text")
        if not isinstance(text, str):
            return None
        texts.append(text)
    return "".join(texts)


def conversation_hash(conversation: Conversation, images: list[str]) -> str:
    """SHA-256 hex of what is shown and said.

    Args:
        conversation: what is said.
        images: content hashes of its images, in their order.
    """
    said = [f"{turn.role}\x1f{turn.text}" for turn in conversation.turns]
    return content_hash("conversation", *images, *said)


def _turn(name: str, turn: Any) -> Turn:
    if not isinstance(turn, Mapping) or set(turn) != {"role", "text"} or not isinstance(turn["text"], str):
        raise TrialbookError(f"conversation '{name}': a turn is an object with 'role' and 'text'")
    if turn["role"] not in _ROLES:
        raise TrialbookError(f"conversation '{name}': no role '{turn['role']}' (known: {', '.join(_ROLES)})")
    return Turn(turn["role"], turn["text"])
