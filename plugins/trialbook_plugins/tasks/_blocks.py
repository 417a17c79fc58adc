"""Tokens that come in blocks, each an image of its own (a crop of a page), on their way through a projector."""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from trialbook.contracts import Features, FeatureTable, places_of, to_device
from trialbook.contracts.datasets import Raw, Split

Blocks: TypeAlias = NDArray[np.bool_]

#: Pictures read at once where only their sizes are wanted.
_AT_ONCE = 64


class Projected(NamedTuple):
    """Tokens behind a projector [B, T, M, D]; which are no padding, [B, T, M], and which blocks are there, [B, T]; None: all.

    The latter lies on the CPU: how many there are decides shapes, and a GPU would have to be waited for.
    """

    tokens: Tensor
    mask: Tensor | None
    there: Blocks | None

    def rows(self) -> Features:
        """As one row of tokens each: [B, T M, D], mask [B, T M]."""
        mask = self.mask
        if mask is None and self.there is not None:
            mask = to_device(torch.from_numpy(self.there), self.tokens.device)
            mask = mask.unsqueeze(-1).expand(self.tokens.shape[:3])
        return Features(self.tokens.flatten(1, 2), None if mask is None else mask.flatten(1, 2))

    def in_line(self) -> Tensor:
        """The tokens of all blocks that are there, one after the other [K M, D]; what is padding in them is zero."""
        tokens = self.tokens if self.mask is None else self.tokens * self.mask.unsqueeze(-1)
        blocks = tokens.flatten(0, 1)
        if self.there is not None:
            blocks = blocks.index_select(0, places_of(self.there, blocks.device))
        return blocks.flatten(0, 1)


def project(projector: nn.Module, encoder: nn.Module, features: Features, there: Blocks | None) -> Projected:
    """Tokens [B, T N, D_in] of an encoder, block by block through a projector; one block where it tells of none.

    Args:
        projector: gets the blocks that are there.
        encoder: gave the tokens.
        features: the tokens, with a mask where some rows have fewer blocks.
        there: which blocks are there [B, T], on the CPU; see ``masked_blocks`` and ``counted_blocks``.
    """
    tokens, mask = features
    rows, count = tokens.shape[:2]
    block = int(getattr(encoder, "block", count))
    inner = None if mask is None else mask.unflatten(1, (-1, block))
    there = None if inner is None or block == count else there
    tokens = tokens.unflatten(1, (-1, block)).flatten(0, 1)
    if there is None:
        projected = projector(tokens, None if inner is None else inner.flatten(0, 1))
    else:
        assert inner is not None
        places = places_of(there, tokens.device)
        own = projector(tokens.index_select(0, places), inner.flatten(0, 1).index_select(0, places))
        projected = own.new_zeros(len(tokens), *own.shape[1:]).index_copy(0, places, own)
    return Projected(projected.unflatten(0, (rows, -1)), inner if projector.keeps_tokens else None, there)


def masked_blocks(encoder: nn.Module, mask: NDArray[Any]) -> Blocks | None:
    """Return which blocks are there by the mask of an encoder's tokens [B, T N]: bool [B, T]; None where it tells of none."""
    block = int(getattr(encoder, "block", 0))
    return np.asarray(mask).reshape(len(mask), -1, block).any(axis=2) if block else None


def counted_blocks(encoder: nn.Module, raw: Raw) -> Blocks | None:
    """Return which blocks pictures [B] that an encoder is about to read have: bool [B, T]; None where it tells of none."""
    if not getattr(encoder, "block", 0):
        return None
    counts = blocks_of(encoder, raw)
    found: Blocks = np.arange(counts.max()) < counts[:, None]
    return found


def count_blocks(
    encoder: nn.Module, split: Split, modality: str, shape: tuple[int, ...],
    stored: FeatureTable | None,
) -> NDArray[np.int64]:  # fmt: skip
    """Number of blocks of every picture of a split [R].

    Args:
        encoder: gave, or will give, the tokens.
        split: with the pictures.
        modality: of the pictures.
        shape: of a picture; where sizes differ and nothing is stored, every picture is read.
        stored: features of all pictures, if there are such.
    """
    total = len(split.groups(modality))
    block = getattr(encoder, "block", 0)
    if not block:
        return np.ones(total, np.int64)
    if stored is not None:
        mask = stored.mask()
        if mask is None:
            return np.full(total, stored.shape[1] // block, np.int64)
        return np.asarray(masked_blocks(encoder, mask.numpy())).sum(axis=1)
    if all(shape):
        return np.full(total, blocks_of(encoder, split.read(modality, np.zeros(1, np.int64)))[0], np.int64)
    starts = range(0, total, _AT_ONCE)
    rows = [np.arange(at, min(at + _AT_ONCE, total)) for at in starts]
    return np.concatenate([blocks_of(encoder, split.read(modality, some)) for some in rows])


def blocks_of(encoder: nn.Module, raw: Raw) -> NDArray[np.int64]:
    """Number of blocks of each picture [B]."""
    if not getattr(encoder, "block", 0):
        return np.ones(len(raw), np.int64)
    return np.array(encoder.blocks(raw), np.int64)  # type: ignore[operator]
