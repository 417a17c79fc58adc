"""Pools of rows and the splits cut from them: how all datasets here implement ``trialbook.contracts.Split``."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trialbook import TrialbookError
from trialbook.contracts.datasets import Raw, Rows, Split, assign_splits, content_hash, find_overlaps

SPLITS = ("train", "val", "test")
_ALSO = {"validation": "val", "valid": "val", "dev": "val"}


@dataclass(frozen=True)
class Column:
    """All rows of one modality in a pool.

    Args:
        group: group of every row: int64 [R].
        read: the rows with the indices that it is given, int64 [B].
        content: content hash of every row [R]; may be slow, is called once.
        identity: hash of what every row says by itself [R], where ``content`` is taken over more or less than that.
    """

    group: Rows
    read: Callable[[Rows], Raw]
    content: Callable[[], Sequence[str]]
    identity: Callable[[], Sequence[str]] | None = None


@dataclass(frozen=True)
class Pool:
    """Groups that are not yet split: a column for each modality, annotations for each group.

    Args:
        size: number of groups G.
        columns: modality to its rows.
        labels: annotation name to one value a group: an array [G, ...] or a list of G values.
        path: where the picture of each row of ``image`` lies; None where they have no files.
    """

    size: int
    columns: Mapping[str, Column]
    labels: Mapping[str, NDArray[Any] | Sequence[Any]] = field(default_factory=dict)
    path: Callable[[int], Path | None] | None = None

    def split(self, name: str, groups: Rows | None = None) -> PoolSplit:
        """The groups with these ascending indices (all if None) as split ``name``."""
        return PoolSplit(name, self, np.arange(self.size) if groups is None else groups)

    def deal(self, keys: Sequence[str], shares: Mapping[str, float], seed: int) -> dict[str, PoolSplit]:
        """Splits dealt by one content key a group; splits with a share of 0 are left out."""
        dealt = assign_splits(keys, {name: share for name, share in shares.items() if share > 0}, seed)
        return {name: self.split(name, groups) for name, groups in dealt.items()}


class PoolSplit:
    """Some groups of a pool, renumbered from 0, with the rows that belong to them.

    Args:
        name: name of the split.
        pool: where its rows are.
        groups: ascending indices of its groups in the pool.
    """

    def __init__(self, name: str, pool: Pool, groups: Rows) -> None:
        self.name = name
        self.pool = pool
        self._chosen = groups
        place = np.full(pool.size, -1, dtype=np.int64)
        place[groups] = np.arange(len(groups))
        self._rows = {modality: np.flatnonzero(place[column.group] >= 0) for modality, column in pool.columns.items()}
        self._groups = {modality: place[pool.columns[modality].group[rows]] for modality, rows in self._rows.items()}

    def __len__(self) -> int:
        return len(self._chosen)

    def groups(self, modality: str) -> Rows:
        """Group of every row of ``modality``: int64 [R]."""
        return self._groups[modality]

    def read(self, modality: str, rows: Rows) -> Raw:
        """The rows of ``modality`` with these indices, in this order."""
        return self.pool.columns[modality].read(self._rows[modality][rows])

    def content(self, modality: str) -> Sequence[str]:
        """Content hash of every row [R]."""
        hashes = self.pool.columns[modality].content()
        return [hashes[row] for row in self._rows[modality].tolist()]

    def identity(self, modality: str) -> Sequence[str]:
        """Hash of what every row says by itself [R]."""
        column = self.pool.columns[modality]
        hashes = (column.identity or column.content)()
        return [hashes[row] for row in self._rows[modality].tolist()]

    def labels(self, name: str) -> Any:
        """Annotation ``name`` of every group.

        Raises:
            KeyError: there is no such annotation.
        """
        values = self.pool.labels[name]
        return values[self._chosen] if isinstance(values, np.ndarray) else [values[group] for group in self._chosen]

    def image_path(self, row: int) -> Path | None:
        """Return where the picture lies that row ``row`` of ``image`` shows, as it was before it was resized; None if nowhere."""
        return self.pool.path(int(self._rows["image"][row])) if self.pool.path is not None else None


class PooledDataset(ABC):
    """A dataset whose splits are cut from pools when they are first asked for, and kept.

    Attributes:
        preparation: options that change what is read though the content is the same, such as the size of pictures.
    """

    preparation: tuple[object, ...] = ()

    @abstractmethod
    def _cut(self) -> dict[str, PoolSplit]:
        """Read or draw the splits; called once."""

    def splits(self) -> Mapping[str, PoolSplit]:
        """Train, and val and test where there are such."""
        return self._splits

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of all content, the splits, the annotations and the preparation."""
        return fingerprint_of(self._splits, *self.preparation)

    @cached_property
    def _splits(self) -> dict[str, PoolSplit]:
        return self._cut()


def array_column(rows: NDArray[Any], group: Rows | None = None, hashes: Sequence[str] | None = None) -> Column:
    """Numeric rows [R, ...] in memory: uint8 is read as it is, all else as float32.

    Args:
        rows: all rows.
        group: group of every row; a group each if None.
        hashes: content hash of every row, if known already.
    """

    def read(chosen: Rows) -> NDArray[Any]:
        values = rows[chosen]
        return values if values.dtype == np.uint8 else values.astype(np.float32, copy=False)

    content = cache(lambda: [content_hash(row) for row in rows] if hashes is None else hashes)
    return Column(np.arange(len(rows)) if group is None else group, read, content)


def text_column(texts: Sequence[str], group: Rows) -> Column:
    """Texts [R] and the group of each."""
    return Column(group, lambda chosen: [texts[row] for row in chosen], cache(lambda: [content_hash(t) for t in texts]))


def joined(column: Column, keys: Callable[[], Sequence[str]]) -> Column:
    """The same rows, each of which counts together with the content of its group.

    Two photos may both be called "a man riding a wave": that is no leak, and so the hash of a caption is taken over the
    caption and its photo's key. Equal captions of equal photos are still found.

    Args:
        column: the rows.
        keys: content key of every group.
    """

    def hashes() -> list[str]:
        of_group = keys()
        return [content_hash(of_group[place], own) for place, own in zip(column.group, column.content(), strict=True)]

    return Column(column.group, column.read, cache(hashes), column.identity or column.content)


def group_keys(column: Column, size: int) -> list[str]:
    """One content key for each of ``size`` groups from the rows of ``column``, whatever their order."""
    rows: list[list[str]] = [[] for _ in range(size)]
    for group, own in zip(column.group, column.content(), strict=True):
        rows[group].append(own)
    return [own[0] if len(own) == 1 else content_hash(*sorted(own)) for own in rows]


def unknown_modality(modality: str, known: Sequence[str]) -> TrialbookError:
    """The error for a modality that a dataset does not have."""
    return TrialbookError(f"there is no modality '{modality}'; this dataset has {', '.join(known)}")


def shares_of(val: float, test: float) -> dict[str, float]:
    """Shares of the splits from those of val and test.

    Raises:
        TrialbookError: a share is below 0, or nothing is left for train.
    """
    if val < 0 or test < 0 or val + test >= 1:
        raise TrialbookError(f"val ({val}) and test ({test}) are shares from 0 that must leave something for train")
    return {"train": 1 - val - test, "val": val, "test": test}


def split_name(value: object, where: str) -> str:
    """The split that a cell names: train, val (also validation, valid, dev) or test, or its index from 0.

    Raises:
        TrialbookError: it names none; begins with ``where``.
    """
    if isinstance(value, int) and 0 <= value < len(SPLITS):
        return SPLITS[value]
    name = value.strip().lower() if isinstance(value, str) else ""
    name = _ALSO.get(name, name)
    if name not in SPLITS:
        raise TrialbookError(f"{where}: {value!r} is no split; write train, val or test")
    return name


def ordered(splits: Mapping[str, PoolSplit]) -> dict[str, PoolSplit]:
    """Train, val and test in this order."""
    return {name: splits[name] for name in SPLITS if name in splits}


def deal_rest(
    main: Pool, anchor: str, shares: Mapping[str, float], seed: int, own: Mapping[str, Pool],
    keys: Sequence[str] | None = None,
) -> dict[str, PoolSplit]:  # fmt: skip
    """Splits dealt from ``main``; val and test take no share of it where they have a pool of their own.

    Args:
        main: groups to deal.
        anchor: modality whose content deals them.
        shares: of train, val and test.
        seed: of the dealing.
        own: split name to its own pool.
        keys: content key of every group of ``main``, where it is not that of the anchor.
    """
    left = {name: 0.0 if name in own else share for name, share in shares.items()}
    left["train"] = 1 - left["val"] - left["test"]
    dealt = main.deal(keys or group_keys(main.columns[anchor], main.size), left, seed)
    return ordered({**dealt, **{name: pool.split(name) for name, pool in own.items()}})


def refuse_overlap(splits: Mapping[str, Split], modalities: Sequence[str], source: object) -> None:
    """Stop where the splits that ``source`` brings with it share content.

    Raises:
        TrialbookError: names the modality, both splits and how many rows they share.
    """
    if found := find_overlaps(splits, modalities):
        listed = "; ".join(f"{o.count} of '{o.modality}' in both {o.first} and {o.second}" for o in found)
        raise TrialbookError(f"{source}: splits share content ({listed}); fix the data or set allow_overlap = true")


def fingerprint_of(splits: Mapping[str, PoolSplit], *preparation: object) -> str:
    """SHA-256 hex of all content by split, its grouping and annotations, and of how it is prepared."""
    parts: list[bytes | str | NDArray[Any]] = [repr(preparation)]
    for name, split in splits.items():
        parts.append(name)
        for modality in split.pool.columns:
            parts += [modality, split.groups(modality), *split.content(modality)]
        for label in split.pool.labels:
            values = split.labels(label)
            parts += [label, *(value if isinstance(value, np.ndarray) else repr(value) for value in values)]
    return content_hash(*parts)
