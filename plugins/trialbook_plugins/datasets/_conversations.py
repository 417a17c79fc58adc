"""Conversations about pictures as rows: what all datasets of conversations share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache

import numpy as np

from trialbook.contracts.conversations import Conversation, Turn, conversation_hash
from trialbook.contracts.datasets import Modality, Rows
from trialbook.contracts.predictions import UNANSWERABLE
from trialbook_plugins.datasets._images import image_shape
from trialbook_plugins.datasets._splits import Column, PoolSplit, unknown_modality

MODALITIES = ("image", "conversation")


def conversation_column(said: Sequence[Conversation], group: Rows, image: Column) -> Column:
    """Conversations and the group of each; their hash is that of the group's pictures, in order, and of what is said.

    Args:
        said: conversations; their hashes are filled in.
        group: group of each.
        image: the pictures.
    """

    @cache
    def hashed() -> list[Conversation]:
        shown: dict[int, list[str]] = {}
        for place, own in zip(image.group.tolist(), image.content(), strict=True):
            shown.setdefault(place, []).append(own)
        return [
            replace(one, hash=conversation_hash(one, shown.get(place, [])))
            for place, one in zip(group.tolist(), said, strict=True)
        ]

    return Column(group, lambda rows: [hashed()[row] for row in rows], cache(lambda: [one.hash for one in hashed()]))


def describe_conversations(modality: str, size: int, splits: Callable[[], Mapping[str, PoolSplit]]) -> Modality:
    """Kind and shape of ``image`` or ``conversation``.

    Args:
        modality: one of the two.
        size: side of the pictures in pixels; 0 where sizes differ.
        splits: gives the splits, for the texts of the train split.
    Raises:
        TrialbookError: there is no such modality.
    """
    if modality == "image":
        return Modality("image", image_shape(size))
    if modality == "conversation":
        return Modality("conversation", corpus=lambda: texts_of(splits()["train"]))
    raise unknown_modality(modality, MODALITIES)


def texts_of(split: PoolSplit) -> list[str]:
    """Everything that is said in a split, in order."""
    said: list[Conversation] = split.read("conversation", np.arange(len(split.groups("conversation"))))
    return [turn.text for one in said for turn in one.turns]


def question_turns(question: str, answers: Sequence[str]) -> tuple[Turn, Turn]:
    """A question and its best answer, or that there is none."""
    return Turn("user", question), Turn("assistant", answers[0] if answers else UNANSWERABLE)
