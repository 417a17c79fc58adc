"""Conversations as sequences of tokens and image slots, with what is learned of them and what had to be left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from trialbook.contracts import LanguageModel, Piece
from trialbook.conversations import IMAGE, Conversation, Turn

#: Label of a position that nothing is learned at.
IGNORED = -100


@dataclass(frozen=True)
class Sequence1D:
    """One conversation as the language model sees it.

    Args:
        ids: token ids [L]; 0 where an image token stands.
        slots: which image token stands there [L]: number of the image times M, plus the token's place in it; -1 for text.
        labels: the token itself where it is learned [L]; ``IGNORED`` in prompts and images.
        shortened: something was left out to make it fit.
    """

    ids: NDArray[np.int64]
    slots: NDArray[np.int64]
    labels: NDArray[np.int64]
    shortened: bool = False

    @property
    def supervised(self) -> int:
        """Number of positions that are learned at; the first cannot be, as nothing stands before it."""
        return int((self.labels[1:] != IGNORED).sum())


class Sequencer:
    """Turns conversations into sequences.

    Args:
        llm: renders them.
        image_tokens: M, tokens of an image.
        max_length: tokens of a sequence in training, image tokens included.
    """

    def __init__(self, llm: LanguageModel, image_tokens: int, max_length: int) -> None:
        self.llm, self.image_tokens, self.max_length = llm, image_tokens, max_length

    def training(self, conversation: Conversation) -> Sequence1D | None:
        """A conversation to learn from, at most ``max_length`` long; None where nothing to learn would be left of it.

        Too long a conversation loses its last exchanges, whole, with the images that they place. If the first alone is too
        long, its answer is cut at the end. Image tokens and prompts are never cut.
        """
        turns, images, shortened = conversation.turns, len(conversation.images), False
        whole = self.sequence(self.llm.render(turns, images, answer=True))
        while len(whole.ids) > self.max_length and len(turns) > _first_exchange(turns):
            images -= turns[-2].text.count(IMAGE)
            turns, shortened = turns[:-2], True
            whole = self.sequence(self.llm.render(turns, images, answer=True))
        if len(whole.ids) > self.max_length:
            if (whole.slots[self.max_length :] >= 0).any():
                return None
            shortened = True
            whole = _cut(whole, self.max_length)
        return replace(whole, shortened=shortened) if whole.supervised else None

    def prompt(self, turns: Sequence[Turn], images: int) -> Sequence1D:
        """A question to be answered; ``turns`` ends with it."""
        return self.sequence(self.llm.render(turns, images, answer=False))

    def sequence(self, pieces: Sequence[Piece]) -> Sequence1D:
        """Pieces one after the other, an image as M slots."""
        ids: list[int] = []
        slots: list[int] = []
        labels: list[int] = []
        for piece in pieces:
            if piece.kind == "image":
                first = piece.image * self.image_tokens
                ids += [0] * self.image_tokens
                slots += range(first, first + self.image_tokens)
                labels += [IGNORED] * self.image_tokens
            else:
                ids += piece.ids
                slots += [-1] * len(piece.ids)
                labels += piece.ids if piece.kind == "answer" else [IGNORED] * len(piece.ids)
        return Sequence1D(np.array(ids, np.int64), np.array(slots, np.int64), np.array(labels, np.int64))


def _first_exchange(turns: Sequence[Turn]) -> int:
    """Number of turns up to the first answer."""
    return 3 if turns[0].role == "system" else 2


def _cut(whole: Sequence1D, length: int) -> Sequence1D:
    return Sequence1D(whole.ids[:length], whole.slots[:length], whole.labels[:length])
