"""Precomputed embeddings of two or more modalities, from NPZ, NPY or safetensors files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trialbook import TrialbookError
from trialbook.contracts.datasets import Modality, Rows, content_hash
from trialbook_plugins.datasets._arrays import Arrays
from trialbook_plugins.datasets._splits import (
    SPLITS,
    Column,
    Pool,
    PooledDataset,
    PoolSplit,
    array_column,
    group_keys,
    joined,
    refuse_overlap,
    shares_of,
    split_name,
    unknown_modality,
)


class Embeddings(PooledDataset):
    """Aligned arrays: row i of every modality belongs together, or ``groups`` says what does.

    An array is named by its key in ``file``, or by a path of its own: ``"clip.npz:image"``, ``"text.npy"``.
    Two-dimensional arrays [R, D] are vectors, three-dimensional ones [R, T, C] series. Splits are dealt by the content
    of the modality that is named first, and it is the one that is checked for leaks: rows of the others count together
    with those of the first in their group, so that one sentence about two photos is no leak.

    Args:
        data_root: folder that relative paths start from.
        modalities: modality to its array.
        file: NPZ or safetensors file that bare keys are in.
        identity: modality to an array with a value for each of its rows, equal for rows that say the same (texts of equal words);
            rows of other modalities are told apart by their bits.
        ids: modality to an array with an id for each of its rows; they must be equal row by row.
        groups: modality to an integer array [R] with the group (0 … G − 1) of each of its rows; modalities that are not
            named have one row a group.
        split: array [G] with the split of each group: names, or 0 train, 1 val, 2 test.
        val: share of the groups that go to val, where there is no ``split``.
        test: share of the groups that go to test, where there is no ``split``.
        seed: another seed deals the groups differently.
        allow_overlap: accept splits that share content.
    Raises:
        TrialbookError: an option is out of its range; on first reading: an array is missing, has the wrong shape or
            type or a value that is not finite (names modality and row), arrays are not aligned, or splits share
            content.
    """

    modalities = "modalities"

    def __init__(
        self,
        data_root: Path | None = None,
        /,
        *,
        modalities: dict[str, str],
        file: str | None = None,
        identity: dict[str, str] | None = None,
        ids: dict[str, str] | None = None,
        groups: dict[str, str] | None = None,
        split: str | None = None,
        val: float = 0.1,
        test: float = 0.1,
        seed: int = 0,
        allow_overlap: bool = False,
    ) -> None:
        if not modalities:
            raise TrialbookError("'modalities' must name at least one array")
        for option, given in (("identity", identity or {}), ("ids", ids or {}), ("groups", groups or {})):
            if strange := sorted(set(given) - set(modalities)):
                raise TrialbookError(f"'{option}' names {', '.join(strange)}, which 'modalities' does not")
        self.names = dict(modalities)
        self.identity = identity or {}
        self.ids = ids or {}
        self.groups = groups or {}
        self.split = split
        self.shares = shares_of(val, test)
        self.seed = seed
        self.allow_overlap = allow_overlap
        self._files = Arrays(data_root, file)

    def describe(self, modality: str) -> Modality:
        """Kind and shape of ``modality``, read from its array."""
        if modality not in self.names:
            raise unknown_modality(modality, tuple(self.names))
        shape = self._arrays[modality].shape[1:]
        return Modality("vector" if len(shape) == 1 else "series", shape)

    @property
    def preparation(self) -> tuple[object, ...]:  # type: ignore[override]
        """The arrays that tell which rows are equal."""
        return tuple(content_hash(self._files.get(name)) for name in self.identity.values())

    @cached_property
    def _arrays(self) -> dict[str, NDArray[Any]]:
        return {modality: self._checked(modality, name) for modality, name in self.names.items()}

    def _cut(self) -> dict[str, PoolSplit]:
        pool, keys = self._pool()
        if self.split is None:
            splits = pool.deal(keys, self.shares, self.seed)
        else:
            splits = self._given_splits(pool, self._files.get(self.split))
        if not self.allow_overlap:
            refuse_overlap(splits, tuple(self.names), self._files.whole_name(next(iter(self.names.values()))))
        return splits

    def _pool(self) -> tuple[Pool, list[str]]:
        """All groups, and a content key for each."""
        self._check_ids()
        groups = self._row_groups()
        size = int(next(iter(groups.values())).max()) + 1
        columns: dict[str, Column] = {}
        for modality, array in self._arrays.items():
            column = replace(array_column(array, groups[modality]), identity=self._identities(modality, len(array)))
            columns[modality] = joined(column, lambda: keys) if columns else column
        keys = group_keys(next(iter(columns.values())), size)
        return Pool(size, columns), keys

    def _identities(self, modality: str, rows: int) -> Callable[[], list[str]] | None:
        if modality not in self.identity:
            return None
        values = self._files.get(self.identity[modality])
        if values.shape != (rows,):
            raise TrialbookError(f"'identity' of '{modality}' has shape {list(values.shape)} for {rows} rows")
        return cache(lambda: [content_hash(str(value)) for value in values.tolist()])

    def _checked(self, modality: str, name: str) -> NDArray[Any]:
        """The array of a modality: [R, D] or [R, T, C], floating or integer, finite."""
        array = self._files.get(name)
        if array.ndim not in (2, 3) or not array.size:
            raise TrialbookError(f"'{modality}' ({name}) has shape {list(array.shape)}; it must be [R, D] or [R, T, C]")
        if array.dtype.kind not in "fiu":
            raise TrialbookError(f"'{modality}' ({name}) holds {array.dtype}; it must hold real numbers")
        rows, most = array.reshape(len(array), -1), np.finfo(np.float32).max  # they are read as float32
        bad = np.flatnonzero(~((rows.max(axis=1) <= most) & (rows.min(axis=1) >= -most)))
        if len(bad):
            raise TrialbookError(
                f"'{modality}' ({name}) has NaN or infinity in {len(bad)} rows, first in row {bad[0]}, or numbers too large for "
                "float32"
            )
        return array.astype(np.float32) if array.dtype == np.uint8 else array

    def _check_ids(self) -> None:
        read = {modality: self._files.get(name) for modality, name in self.ids.items()}
        for modality, ids in read.items():
            if ids.shape != (len(self._arrays[modality]),):
                raise TrialbookError(
                    f"ids of '{modality}' have shape {list(ids.shape)} for {len(self._arrays[modality])} rows"
                )
        (first, known), *others = read.items() or [("", np.empty(0))]
        for modality, ids in others:
            if len(ids) != len(known):
                raise TrialbookError(f"'{first}' has {len(known)} ids and '{modality}' {len(ids)}; they must be equal")
            if len(wrong := np.flatnonzero(ids != known)):
                row = wrong[0]
                raise TrialbookError(
                    f"ids differ in {len(wrong)} rows, first row {row}: '{first}' {known[row]}, '{modality}' {ids[row]}"
                )

    def _row_groups(self) -> dict[str, Rows]:
        """Group of every row by modality, all over the same G groups."""
        groups: dict[str, Rows] = {}
        for modality, array in self._arrays.items():
            if modality not in self.groups:
                groups[modality] = np.arange(len(array))
                continue
            given = self._files.get(self.groups[modality])
            if given.dtype.kind not in "iu" or given.shape != (len(array),) or given.min() < 0:
                raise TrialbookError(f"groups of '{modality}' must be {len(array)} integers from 0, one a row")
            groups[modality] = given.astype(np.int64)
        sizes = {modality: int(group.max()) + 1 for modality, group in groups.items()}
        if len(set(sizes.values())) > 1:
            listed = ", ".join(f"'{modality}' {size}" for modality, size in sizes.items())
            raise TrialbookError(f"arrays are not aligned: groups (rows, where 'groups' names no array) are {listed}")
        for modality, group in groups.items():
            if len(empty := np.setdiff1d(np.arange(sizes[modality]), group)):
                raise TrialbookError(f"'{modality}' has no row for {len(empty)} groups, the first is group {empty[0]}")
        return groups

    def _given_splits(self, pool: Pool, values: NDArray[Any]) -> dict[str, PoolSplit]:
        if values.shape != (pool.size,):
            raise TrialbookError(f"'split' ({self.split}) has shape {list(values.shape)} for {pool.size} groups")
        names = np.array([split_name(value, f"'split' row {row}") for row, value in enumerate(values.tolist())])
        if "train" not in names:
            raise TrialbookError(f"'split' ({self.split}) puts no group into train")
        return {name: pool.split(name, np.flatnonzero(names == name)) for name in SPLITS if name in names}
