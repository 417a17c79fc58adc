"""The common base of datasets of generated pictures: sizes of splits, a stream of random numbers for each, drawing when read."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from functools import cache

import numpy as np

from trialbook import TrialbookError
from trialbook.contracts.datasets import Rows, content_hash
from trialbook_plugins.datasets._images import Picture
from trialbook_plugins.datasets._splits import Column, PooledDataset, PoolSplit, ordered


def split_sizes(train: int, val: int, test: int) -> dict[str, int]:
    """Sizes of the splits in the order of drawing: more training pictures leave the others as they are.

    Raises:
        TrialbookError: train is below 1, or another split below 0.
    """
    if train < 1 or min(val, test) < 0:
        raise TrialbookError("'train' must be at least 1, 'val' and 'test' at least 0")
    return {"test": test, "val": val, "train": train}


class GeneratedDataset(PooledDataset):
    """A dataset that draws its splits: each from a stream of its own, none with what another one has.

    Attributes:
        sizes: of the splits, in the order of drawing; those of size 0 are left out.
        seed: of all streams.
    """

    sizes: dict[str, int]
    seed: int

    @abstractmethod
    def draw_split(self, name: str, count: int, rng: np.random.Generator) -> PoolSplit:
        """Draw ``count`` samples that differ from each other and from those of the splits before."""

    def _cut(self) -> dict[str, PoolSplit]:
        """Draw the splits."""
        streams = {name: np.random.default_rng([self.seed, stream]) for stream, name in enumerate(self.sizes)}
        drawn = {name: self.draw_split(name, count, streams[name]) for name, count in self.sizes.items() if count}
        return ordered(drawn)


def drawn_column(draws: Sequence[Callable[[], Picture]], shape: tuple[int, ...]) -> Column:
    """Rows that are drawn when they are read, one a group.

    Args:
        draws: draws each row.
        shape: of a row.
    """

    def read(rows: Rows) -> Picture:
        return np.stack([draws[row]() for row in rows.tolist()]) if len(rows) else np.empty((0, *shape), np.uint8)

    return Column(np.arange(len(draws)), read, cache(lambda: [content_hash(draw()) for draw in draws]))
