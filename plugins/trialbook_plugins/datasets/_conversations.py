"""Conversations about pictures as rows: what all datasets of conversations share."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache

import numpy as np

from trialbook.contracts.conversations import Conversation, Turn, conversation_hash
from trialbook.contracts.datasets import Dataset, Modality, Rows, Split
from trialbook.contracts.predictions import UNANSWERABLE
from trialbook_plugins.datasets._images import image_shape
from trialbook_plugins.datasets._splits import Column, Pool, PooledDataset, PoolSplit, unknown_modality

MODALITIES = ("image", "conversation")


class PictureConversations(PooledDataset):
    """Conversations (``conversation``) about the pictures (``image``) of another dataset, split by split.

    Args:
        pictures: the other dataset.
        source: what the conversations give as their source.
    """

    modalities = {"image": "image", "conversation": "conversation"}

    def __init__(self, pictures: Dataset, source: str) -> None:
        self.pictures, self.source = pictures, source

    @abstractmethod
    def converse(self, name: str, split: Split) -> Pool:
        """The pictures of a split, and conversations about them."""

    def describe(self, modality: str) -> Modality:
        """Kind and shape of ``image`` or ``conversation``."""
        if modality == "image":
            return self.pictures.describe("image")
        if modality == "conversation":
            return Modality("conversation", corpus=lambda: texts_of(self.splits()["train"]))
        raise unknown_modality(modality, MODALITIES)

    def _cut(self) -> dict[str, PoolSplit]:
        """The splits of the pictures."""
        return {name: self.converse(name, split).split(name) for name, split in self.pictures.splits().items()}

    def pooled(self, split: Split, said: Sequence[Conversation], group: Rows) -> Pool:
        """A pool of the pictures of a split and conversations about them, of the groups ``group``."""
        image = Column(split.groups("image"), lambda rows: split.read("image", rows), lambda: split.content("image"))
        columns = {"image": image, "conversation": conversation_column(said, group, image)}
        labels = {"source": [self.source] * len(split)}
        return Pool(len(split), columns, labels, path=getattr(split, "image_path", None))


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
