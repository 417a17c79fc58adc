"""Conversations of one split with their images, as a task trains on them and asks from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from trialbook import TrialbookError, suggest
from trialbook.contracts import FeatureTable
from trialbook.contracts.conversations import Conversation
from trialbook.contracts.datasets import Split
from trialbook_plugins.tasks._rows import Rows, prepared_rows, stored_rows
from trialbook_plugins.tasks._token_sequences import IGNORED, Sequencer, TokenSequence


class Batch(NamedTuple):
    """Sequences padded on the right to one length, and the images that they show, one after the other.

    Args:
        ids: [B, L], 0 at images and padding; mask: [B, L], False is padding.
        slots: [B, L]: which of all image tokens of the batch stands there; -1 for text.
        labels: [B, L], ``IGNORED`` where nothing is learned.
        wanted: [P]: positions of which some row's next token is learned.
        images: I of them, stored or prepared; None where no sequence shows one.
        learned: how many tokens are learned.
    """

    ids: Tensor
    mask: Tensor
    slots: Tensor
    labels: Tensor
    wanted: Tensor
    images: Rows | None
    learned: int


class SplitConversations:
    """The conversations of one split.

    Args:
        split: with modalities ``conversation`` and ``modality``.
        modality: name of the images' modality.
        encoder: prepares images that are not stored.
        stored: features of all images, if the encoder is frozen.
        sequencer: makes sequences.
        lengths: tokens of each image [R].

    Attributes:
        conversations: all of them, by row.
    """

    def __init__(
        self, split: Split, modality: str, encoder: nn.Module,
        stored: FeatureTable | None, sequencer: Sequencer, lengths: NDArray[np.int64],
    ) -> None:  # fmt: skip
        self.split, self.modality, self.encoder = split, modality, encoder
        self.stored, self.sequencer, self.lengths = stored, sequencer, lengths
        self.groups = split.groups("conversation")
        self.conversations: list[Conversation] = list(split.read("conversation", np.arange(len(self.groups))))
        order = np.argsort(split.groups(modality), kind="stable")
        ends = np.cumsum(np.bincount(split.groups(modality), minlength=len(split)))
        self._image_rows = np.split(order, ends[:-1])
        for conversation, group in zip(self.conversations, self.groups, strict=True):
            if len(conversation.images) > len(self._image_rows[group]):
                raise TrialbookError(
                    f"conversation '{conversation.id}' of split '{split.name}' shows {len(conversation.images)} images, but its "
                    f"document has {len(self._image_rows[group])}"
                )
        self._sequences: dict[int, TokenSequence | None] = {}
        self._values: Any = None

    def __len__(self) -> int:
        return len(self.conversations)

    def sequence(self, row: int) -> TokenSequence | None:
        """A conversation to learn from; None where nothing can be learned of it. Made once."""
        if row not in self._sequences:
            self._sequences[row] = self.sequencer.training(self.conversations[row], self.lengths_of(row))
        return self._sequences[row]

    def prompt(self, row: int) -> TokenSequence:
        """The last question of a conversation, to be answered."""
        return self.sequencer.prompt(self.conversations[row].turns[:-1], self.lengths_of(row))

    def lengths_of(self, row: int) -> list[int]:
        """Tokens of each image of a conversation."""
        shown: list[int] = self.lengths[self._image_rows[self.groups[row]]].tolist()
        return shown[: len(self.conversations[row].images)]

    def texts_of(self, row: int) -> tuple[str, ...]:
        """Return what stands in the images of a conversation, where the data have an annotation ``values``."""
        if self._values is None:
            try:
                self._values = self.split.labels("values")
            except KeyError:
                self._values = {}
        if not len(self._values):
            return ()
        return tuple(str(one.text) for one in self._values[int(self.groups[row])] if getattr(one, "text", ""))

    def usable(self) -> NDArray[np.int64]:
        """Rows that something can be learned from."""
        return np.array([row for row in range(len(self)) if self.sequence(row) is not None], np.int64)

    def counts(self) -> dict[str, int]:
        """Count the conversations, and those that had to be shortened or dropped."""
        made = [self.sequence(row) for row in range(len(self))]
        shortened = sum(one is not None and one.shortened for one in made)
        return {"conversations": len(made), "shortened": shortened, "dropped": sum(one is None for one in made)}

    def mixed(self, rows: NDArray[np.int64], weights: Mapping[str, float] | None) -> NDArray[np.int64]:
        """Rows as often as the weights of their sources ask for.

        The list is as long as it must be for no row of any source to be left out; rows of the others are repeated.

        Raises:
            TrialbookError: the data has no sources, or none of a name, or a source without a row.
        """
        if not weights:
            return rows
        try:
            sources = np.asarray(self.split.labels("source"))[self.groups[rows]]
        except KeyError:
            raise TrialbookError("'data' weighs sources, but this dataset has none: use a 'mixture'") from None
        own = {name: rows[sources == name] for name in weights}
        for name, found in own.items():
            if not len(found):
                near = suggest(name, known := sorted(set(sources.tolist())))
                hint = f"did you mean '{near}'?" if near else f"there are {', '.join(known)}"
                raise TrialbookError(f"'data' weighs '{name}', of which there is no sample; {hint}")
        total = sum(weights.values())
        length = max(len(own[name]) * total / weight for name, weight in weights.items())
        return np.concatenate([np.resize(own[name], round(length * w / total)) for name, w in weights.items()])

    def batch(self, rows: Sequence[int]) -> Batch:
        """Conversations to learn from, none of which is unusable.

        Raises:
            TrialbookError: there is no token to learn from.
        """
        made = [self.sequence(row) for row in rows]
        batch = self.gather(rows, [one for one in made if one is not None])
        if not batch.learned:
            raise TrialbookError("a batch has no token to learn from")
        return batch

    def gather(self, rows: Sequence[int], sequences: Sequence[TokenSequence]) -> Batch:
        """Sequences of the conversations ``rows`` with the images that they show."""
        shown = [self._image_rows[self.groups[row]][: one.images] for row, one in zip(rows, sequences, strict=True)]
        images = np.concatenate(shown) if shown else np.zeros(0, np.int64)
        return pad(sequences, self._read(images) if len(images) else None)

    def _read(self, rows: NDArray[np.int64]) -> Rows:
        if self.stored is None:
            return prepared_rows(self.encoder, self.split.read(self.modality, rows))
        return stored_rows(self.encoder, self.stored, rows)


def pad(sequences: Sequence[TokenSequence], images: Rows | None) -> Batch:
    """Sequences as a batch; their images follow one another in ``images``."""
    length, first = max(len(one.ids) for one in sequences), 0
    ids = np.zeros((len(sequences), length), np.int64)
    mask = np.zeros((len(sequences), length), bool)
    slots, labels = np.full_like(ids, -1), np.full_like(ids, IGNORED)
    for row, one in enumerate(sequences):
        at = slice(len(one.ids))
        ids[row, at], mask[row, at], labels[row, at] = one.ids, True, one.labels
        slots[row, at] = np.where(one.slots >= 0, one.slots + first, -1)
        first += one.image_tokens
    learned = labels[:, 1:] != IGNORED
    arrays = (ids, mask, slots, labels, np.flatnonzero(learned.any(axis=0)))
    return Batch(*map(torch.from_numpy, arrays), images, int(learned.sum()))
