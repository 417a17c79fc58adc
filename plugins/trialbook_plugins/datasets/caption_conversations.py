"""Captions as conversations: somebody asks for a description, and the caption is the answer."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from trialbook import TrialbookError
from trialbook.contracts.conversations import Conversation, Turn
from trialbook.contracts.datasets import Dataset, LeftOut, Split, content_hash
from trialbook_plugins.datasets._conversations import PictureConversations
from trialbook_plugins.datasets._splits import Pool

INSTRUCTIONS = (
    "Describe the image.",
    "What does the image show?",
    "Write a caption for this image.",
    "What can be seen here?",
    "Say in a sentence what is in the picture.",
)


class CaptionConversations(PictureConversations):
    """Pictures (``image``) with captions as conversations (``conversation``): an instruction, and a caption as the answer.

    Every caption is a conversation; all captions of its picture are accepted answers. The instruction is chosen by a hash of
    picture and caption, so that it stays when others come or go. Annotation of a split: ``source``.

    Args:
        pairs: the pictures and captions: a dataset with modalities ``image`` and ``text``.
        instructions: what the user says; five ways to ask for a description if left out.
        source: what the conversations give as their source.
    Raises:
        TrialbookError: there is no instruction or an empty one, or ``pairs`` has other modalities.
    """

    parts: ClassVar[Mapping[str, str]] = {"pairs": "dataset"}

    def __init__(self, pairs: Dataset, /, *, instructions: list[str] | None = None, source: str = "captions") -> None:
        declared = pairs.modalities if isinstance(pairs.modalities, Mapping) else {}
        if not isinstance(pairs.modalities, str) and (declared.get("image"), declared.get("text")) != ("image", "text"):
            raise TrialbookError(
                f"'pairs' must be a dataset of image and text, not of {', '.join(declared) or 'neither'}"
            )
        self.instructions = tuple(INSTRUCTIONS if instructions is None else instructions)
        if not self.instructions or not all(text.strip() for text in self.instructions):
            raise TrialbookError("'instructions' must hold at least one text, and no empty one")
        super().__init__(pairs, source)

    @property
    def licence(self) -> str:
        """The licence of the captions, as far as it is known."""
        return str(getattr(self.pictures, "licence", ""))

    @property
    def left_out(self) -> list[LeftOut]:
        """The pairs that were not taken."""
        dropped = getattr(self.pictures, "dropped", None)
        return [LeftOut(str(one), "no picture or no caption") for one in getattr(dropped, "examples", ())]

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the pairs, the instructions and the source."""
        return content_hash(self.pictures.fingerprint, repr((self.instructions, self.source)))

    def converse(self, name: str, split: Split) -> Pool:
        """An instruction and a caption as its answer, for each caption."""
        groups, owner = split.groups("image"), split.groups("text")
        captions: list[str] = split.read("text", np.arange(len(owner)))
        by_group: dict[int, list[str]] = {}
        for group, caption in zip(owner.tolist(), captions, strict=True):
            by_group.setdefault(group, []).append(caption)
        files = _labels(split, "file") or [""] * len(split)
        shown: dict[int, list[str]] = {}
        for row, group in enumerate(groups.tolist()):
            shown.setdefault(group, []).append(files[group] or f"{name}/{row}.png")
        keys = split.content("text")  # of a caption together with its picture
        said = []
        for row, (group, caption, key) in enumerate(zip(owner.tolist(), captions, keys, strict=True)):
            instruction = self.instructions[int(key[:8], 16) % len(self.instructions)]
            answers = dict.fromkeys([caption, *by_group[group]])
            turns = (Turn("user", instruction), Turn("assistant", caption))
            images, identity = tuple(shown.get(group, ())), f"{self.source}-{name}-{row}"
            said.append(Conversation(identity, images, turns, tuple(answers), source=self.source, kind="caption"))
        return self.pooled(split, said, owner)


def _labels(split: Split, name: str) -> list[Any] | None:
    try:
        return list(split.labels(name))
    except KeyError:
        return None
