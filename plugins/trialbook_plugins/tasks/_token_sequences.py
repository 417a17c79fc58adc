"""Conversations as sequences of tokens and image slots, with what is learned of them and what had to be left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from trialbook.contracts import LanguageModel, Piece
from trialbook.contracts.conversations import IMAGE, Conversation, Turn

#: Label of a position that nothing is learned at.
IGNORED = -100


@dataclass(frozen=True)
class TokenSequence:
    """One conversation as the language model sees it.

    Args:
        ids: token ids [L]; 0 where an image token stands.
        slots: which image token stands there [L], counted over the tokens of all its images; -1 for text.
        labels: the token itself where it is learned [L]; ``IGNORED`` in prompts and images.
        images: how many images it shows.
        shortened: something was left out to make it fit.
    """

    ids: NDArray[np.int64]
    slots: NDArray[np.int64]
    labels: NDArray[np.int64]
    images: int = 0
    shortened: bool = False

    @property
    def supervised(self) -> int:
        """Number of positions that are learned at; the first cannot be, as nothing stands before it."""
        return int((self.labels[1:] != IGNORED).sum())

    @property
    def image_tokens(self) -> int:
        """Number of tokens of all its images."""
        return int(self.slots.max(initial=-1)) + 1


class Sequencer:
    """Turns conversations into sequences.

    Args:
        llm: renders them.
        max_length: tokens of a sequence in training, image tokens included.
    """

    def __init__(self, llm: LanguageModel, max_length: int) -> None:
        self.llm, self.max_length = llm, max_length

    def training(self, conversation: Conversation, lengths: Sequence[int]) -> TokenSequence | None:
        """A conversation to learn from, at most ``max_length`` long; None where nothing to learn would be left of it.

        Too long a conversation loses its last exchanges, whole, with the images that they place. If the first alone is too
        long, its answer is cut at the end. Image tokens and prompts are never cut.

        Args:
            conversation: to learn from.
            lengths: tokens of each of its images.
        """
        turns, images, shortened = conversation.turns, len(conversation.images), False
        whole = self.sequence(self.llm.render(turns, images, answer=True), lengths)
        while len(whole.ids) > self.max_length and len(turns) > _first_exchange(turns):
            images -= turns[-2].text.count(IMAGE)
            turns, shortened = turns[:-2], True
            whole = self.sequence(self.llm.render(turns, images, answer=True), lengths[:images])
        if len(whole.ids) > self.max_length:
            if (whole.slots[self.max_length :] >= 0).any():
                return None
            shortened = True
            whole = _cut(whole, self.max_length)
        return replace(whole, shortened=shortened) if whole.supervised else None

    def prompt(self, turns: Sequence[Turn], lengths: Sequence[int]) -> TokenSequence:
        """A question to be answered about images of these lengths; ``turns`` ends with it."""
        return self.sequence(self.llm.render(turns, len(lengths), answer=False), lengths)

    def sequence(self, pieces: Sequence[Piece], lengths: Sequence[int]) -> TokenSequence:
        """Pieces one after the other, each image as so many slots as it has tokens."""
        starts = np.cumsum([0, *lengths])
        ids: list[int] = []
        slots: list[int] = []
        labels: list[int] = []
        for piece in pieces:
            if piece.kind == "image":
                length = lengths[piece.image]
                ids += [0] * length
                slots += range(starts[piece.image], starts[piece.image + 1])
                labels += [IGNORED] * length
            else:
                ids += piece.ids
                slots += [-1] * len(piece.ids)
                labels += piece.ids if piece.kind == "answer" else [IGNORED] * len(piece.ids)
        arrays = (np.array(one, np.int64) for one in (ids, slots, labels))
        return TokenSequence(*arrays, images=len(lengths))


def _first_exchange(turns: Sequence[Turn]) -> int:
    """Number of turns up to the first answer."""
    return 3 if turns[0].role == "system" else 2


def _cut(whole: TokenSequence, length: int) -> TokenSequence:
    return replace(whole, ids=whole.ids[:length], slots=whole.slots[:length], labels=whole.labels[:length])
