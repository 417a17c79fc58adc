"""The places of things, as conversations: somebody asks for an object, and its box is the answer."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from trialbook import TrialbookError
from trialbook.contracts.conversations import Conversation, Turn
from trialbook.contracts.datasets import Dataset, Split, content_hash
from trialbook_plugins.datasets._conversations import PictureConversations
from trialbook_plugins.datasets._splits import Pool
from trialbook_plugins.vlms.box_text import FAMILIES, Family


class Grounding(PictureConversations):
    """Pictures (``image``) and questions where something is (``conversation``), with its box as a family of models writes it.

    Asked is for objects that one name fits alone: the class, with its colour where the data know it ("the red circle"). Pictures
    without such an object have no question. Annotation of a split: ``source``.

    Args:
        pictures: a dataset of images with ``boxes`` and ``classes``: ``shapes``, ``coco-detection``.
        family: how boxes are written: ``qwen`` (Qwen2.5-VL) ``[x0, y0, x1, y1]`` in pixels of the picture as it is read,
            ``qwen2`` ``(x0,y0),(x1,y1)`` and ``qwen3`` ``{"bbox_2d": […]}`` in thousandths, ``internvl``
            ``<box>[[…]]</box>`` in thousandths, ``cogvlm`` ``[[…]]`` in three digits, ``llava`` ``[…]`` in shares of the side,
            ``kosmos`` patch tokens, ``paligemma`` and ``florence`` place tokens.
        ask: what the user says; ``{name}`` stands for the object.
        questions: most questions about a picture.
        source: what the conversations give as their source.

    Raises:
        TrialbookError: an option is out of its range, or the pictures have no boxes, classes or names of these.
    """

    parts: ClassVar[Mapping[str, str]] = {"pictures": "dataset"}

    def __init__(
        self,
        pictures: Dataset,
        /,
        *,
        family: Family,
        ask: str = "Find the {name}.",
        questions: int = 2,
        source: str = "grounding",
    ) -> None:
        if "{name}" not in ask:
            raise TrialbookError(f"ask ('{ask}') must say where the object's name stands: {{name}}")
        if questions < 1:
            raise TrialbookError(f"questions ({questions}) must be at least 1")
        if not hasattr(type(pictures), "class_names") and "class_names" not in getattr(
            pictures, "__dict__", {}
        ):  # asked so, nothing is read
            raise TrialbookError("'pictures' must be a dataset with boxes and the names of classes, such as 'shapes'")
        super().__init__(pictures, source)
        self.family, self.ask, self.questions = family, ask, questions

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the pictures and of how they are asked about."""
        return content_hash(self.pictures.fingerprint, repr((self.family, self.ask, self.questions, self.source)))

    def converse(self, name: str, split: Split) -> Pool:
        """Questions where objects are, each with its box as the answer."""
        said, owner = [], []
        for group, things in enumerate(self._things(split)):
            size = self._size(split, group) if things else (0, 0)
            for number, (thing, box) in enumerate(things[: self.questions]):
                answer = FAMILIES[self.family].write(box, size)
                turns = (Turn("user", self.ask.format(name=thing)), Turn("assistant", answer))
                identity, shown = f"{self.source}-{name}-{group}-{number}", (f"{name}/{group}.png",)
                said.append(Conversation(identity, shown, turns, (answer,), source=self.source, kind="box"))
                owner.append(group)
        if not said:
            raise TrialbookError(f"split '{name}' has no picture with an object that one name fits alone")
        return self.pooled(split, said, np.array(owner, dtype=np.int64))

    def _things(self, split: Split) -> list[list[tuple[str, Any]]]:
        """For each picture the names that fit one object alone, with its box."""
        known = self.pictures.class_names  # type: ignore[attr-defined]
        names = [[known[int(kind)] if kind >= 0 else "" for kind in kinds] for kinds in split.labels("classes")]
        if (colours := getattr(self.pictures, "colour_names", None)) is not None:
            names = [
                [f"{colours[int(colour)]} {kind}" if kind else "" for colour, kind in zip(own, kinds, strict=True)]
                for own, kinds in zip(split.labels("colours"), names, strict=True)
            ]
        return [
            [(name, box) for name, box in zip(own, boxes, strict=True) if name and own.count(name) == 1]
            for own, boxes in zip(names, split.labels("boxes"), strict=True)
        ]

    def _size(self, split: Split, group: int) -> tuple[int, int]:
        """Height and width of a picture in pixels, as it is read."""
        _, height, width = self.pictures.describe("image").shape
        if not height or not width:
            row = np.flatnonzero(split.groups("image") == group)[:1]
            _, height, width = np.asarray(split.read("image", row)[0]).shape
        return height, width
