"""Tokens that come in blocks, each an image of its own (a crop of a page), on their way through a projector."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from trialbook.contracts import Features
from trialbook.data import Split

#: Pictures read at once where only their sizes are wanted.
_AT_ONCE = 64


class Projected(NamedTuple):
    """Tokens behind a projector [B, T, M, D]; which are no padding, [B, T, M], and which blocks are there, [B, T]; None: all."""

    tokens: Tensor
    mask: Tensor | None
    there: Tensor | None

    def rows(self) -> Features:
        """As one row of tokens each: [B, T M, D], mask [B, T M]."""
        mask = self.mask
        if mask is None and self.there is not None:
            mask = self.there.unsqueeze(-1).expand(self.tokens.shape[:3])
        return Features(self.tokens.flatten(1, 2), None if mask is None else mask.flatten(1, 2))

    def in_line(self) -> Tensor:
        """The tokens of all blocks that are there, one after the other [K M, D]; what is padding in them is zero."""
        tokens = self.tokens if self.mask is None else self.tokens * self.mask.unsqueeze(-1)
        return (tokens.flatten(0, 1) if self.there is None else tokens[self.there]).flatten(0, 1)


def project(projector: nn.Module, encoder: nn.Module, features: Features) -> Projected:
    """Tokens [B, T N, D_in] of an encoder, block by block through a projector; one block where it tells of none."""
    tokens, mask = features
    rows, count = tokens.shape[:2]
    block = int(getattr(encoder, "block", count))
    there = inner = None
    if mask is not None:
        inner = mask.unflatten(1, (-1, block))
        there = None if block == count else inner.any(dim=2)
    tokens = tokens.unflatten(1, (-1, block))
    if there is None:
        projected = projector(tokens.flatten(0, 1), None if inner is None else inner.flatten(0, 1))
        projected = projected.unflatten(0, (rows, -1))
    else:
        assert inner is not None
        own = projector(tokens[there], inner[there])
        projected = own.new_zeros(*there.shape, *own.shape[1:])
        projected[there] = own
    return Projected(projected, inner if projector.keeps_tokens else None, there)


def count_blocks(
    encoder: nn.Module, split: Split, modality: str, shape: tuple[int, ...],
    stored: tuple[NDArray[Any], NDArray[Any] | None] | None,
) -> NDArray[np.int64]:  # fmt: skip
    """Number of blocks of every picture of a split [R].

    Args:
        encoder: gave, or will give, the tokens.
        split: with the pictures.
        modality: of the pictures.
        shape: of a picture; where sizes differ and nothing is stored, every picture is read.
        stored: tokens and mask of all pictures, if there are such.
    """
    total = len(split.groups(modality))
    block = getattr(encoder, "block", 0)
    if not block:
        return np.ones(total, np.int64)
    if stored is not None:
        tokens, mask = stored
        if mask is None:
            return np.full(total, tokens.shape[1] // block, np.int64)
        return np.asarray(mask).reshape(total, -1, block).any(axis=2).sum(axis=1)
    if all(shape):
        return np.full(total, blocks_of(encoder, split.read(modality, np.zeros(1, np.int64)))[0], np.int64)
    starts = range(0, total, _AT_ONCE)
    rows = [np.arange(at, min(at + _AT_ONCE, total)) for at in starts]
    return np.concatenate([blocks_of(encoder, split.read(modality, some)) for some in rows])


def blocks_of(encoder: nn.Module, raw: Sequence[Any]) -> NDArray[np.int64]:
    """Number of blocks of each picture [B]."""
    if not getattr(encoder, "block", 0):
        return np.ones(len(raw), np.int64)
    return np.array(encoder.blocks(raw), np.int64)  # type: ignore[operator]
