"""Any data set of the ``datasets`` library, by name or folder."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from trialbook import TrialbookError
from trialbook.contracts.datasets import Modality
from trialbook_plugins.datasets import _hub
from trialbook_plugins.datasets._captioned import all_texts
from trialbook_plugins.datasets._hub_pictures import image_column
from trialbook_plugins.datasets._images import check_size, image_shape
from trialbook_plugins.datasets._leakage import linked_keys
from trialbook_plugins.datasets._splits import (
    SPLITS,
    Column,
    Pool,
    PooledDataset,
    PoolSplit,
    deal_rest,
    group_keys,
    joined,
    refuse_overlap,
    shares_of,
    unknown_modality,
)

if TYPE_CHECKING:
    import datasets


class HuggingFace(PooledDataset):
    """Columns of a data set of the ``datasets`` library as modalities; a row is a group.

    The kind follows from the column's feature: Image is image, and a list of them several images a group; a string, a list of
    strings (several captions) or a ClassLabel (its names) is text; a list of numbers is vector; a list of such lists or Array2D
    is series.
    Rows are told apart by the content of the first modality that is not text (or the first, where all are): splits are
    dealt by it, and a text counts together with it when splits are checked for leaks.

    Args:
        data_root: folder that a relative ``path`` is looked up in before the hub is asked.
        path: a folder that ``save_to_disk`` wrote, a folder or file of data (pictures, Parquet, CSV, JSON), or a name
            on the hub.
        columns: modality to column.
        config: configuration of the data set, where it has several.
        revision: branch, tag or commit on the hub.
        splits: our split (train, val, test) to the data set's; if left out, those of the same name (``validation``
            is val).
        labels: columns that are kept as annotations, under their own names.
        val: share of train's rows that go to val, where the data set has no such split.
        test: share of train's rows that go to test, where the data set has no such split.
        seed: another seed deals the rows differently.
        size: the shorter side of a picture is resized to this many pixels and the centre square cut out; 0 keeps it.
        skip_missing: leave out rows with an empty cell and count them in ``dropped``, instead of stopping.
        allow_overlap: accept splits that share content.
    Raises:
        TrialbookError: an option is out of its range; on first reading: the data set is not found, a column or split is
            missing or of no known kind, a cell is empty or broken, or splits share content.
    """

    modalities = "columns"

    def __init__(
        self,
        data_root: Path | None = None,
        /,
        *,
        path: str,
        columns: dict[str, str],
        config: str | None = None,
        revision: str | None = None,
        splits: dict[str, str] | None = None,
        labels: list[str] | None = None,
        val: float = 0.1,
        test: float = 0.1,
        seed: int = 0,
        size: int = 64,
        skip_missing: bool = False,
        allow_overlap: bool = False,
    ) -> None:
        if not columns:
            raise TrialbookError("'columns' must name at least one column")
        if splits and ("train" not in splits or set(splits) - set(SPLITS)):
            raise TrialbookError(f"'splits' must name train, and may name val and test, not {', '.join(splits)}")
        self.data_root = data_root
        self.path = path
        self.columns = dict(columns)
        self.config = config
        self.revision = revision
        self.given = splits
        self.labels = labels or []
        self.shares = shares_of(val, test)
        self.seed = seed
        self.size = check_size(size)
        self.preparation = (size,)
        self.skip_missing = skip_missing
        self.allow_overlap = allow_overlap
        self.dropped = 0

    def describe(self, modality: str) -> Modality:
        """Kind and shape of ``modality``, read from its column's feature and first row."""
        if modality not in self.columns:
            raise unknown_modality(modality, tuple(self.columns))
        kind = self._kinds[modality]
        if kind == "image":
            return Modality(kind, image_shape(self.size))
        if kind == "text":
            return Modality(kind, corpus=lambda: all_texts(self._splits["train"], modality))
        return Modality(kind, self._splits["train"].read(modality, np.array([0])).shape[1:])

    @cached_property
    def _data(self) -> dict[str, datasets.Dataset]:
        """The data set's splits under our names."""
        return _hub.named_splits(self.path, self.data_root, self.config, self.revision, self.given)

    @cached_property
    def _kinds(self) -> dict[str, str]:
        """Kind of every modality."""
        kinds = {}
        for name, data in self._data.items():
            for column in (*self.columns.values(), *self.labels):
                if column not in data.features:
                    has = ", ".join(data.features)
                    raise TrialbookError(f"'{self.path}' has no column '{column}' in {name}; it has {has}")
        for modality, column in self.columns.items():
            feature = self._data["train"].features[column]
            kind = _hub.kind_of(feature)
            if kind is None:
                raise TrialbookError(f"column '{column}' of '{self.path}' is {feature}, not image, text or numbers")
            kinds[modality] = kind
        return kinds

    def _cut(self) -> dict[str, PoolSplit]:
        pools = {name: self._pool(name) for name in self._data}
        main, keys = pools.pop("train"), None
        if self._kinds[self._anchor] == "image":  # of which a group may have several
            image = main.columns[self._anchor]
            keys = linked_keys(image.group.tolist(), image.content(), main.size)
        splits = deal_rest(main, self._anchor, self.shares, self.seed, pools, keys)
        if not self.allow_overlap:
            refuse_overlap(splits, tuple(self.columns), self.path)
        return splits

    @property
    def _anchor(self) -> str:
        """The modality whose content tells rows apart."""
        return next((name for name, kind in self._kinds.items() if kind != "text"), next(iter(self._kinds)))

    def _pool(self, split: str) -> Pool:
        where = f"'{self.path}' {split}"
        needed = {name: self._kinds[modality] for modality, name in self.columns.items()}
        data = _hub.complete(self._data[split], needed, where, self.skip_missing)
        self.dropped += len(self._data[split]) - len(data)
        columns: dict[str, Column] = {}

        def keys() -> list[str]:
            return group_keys(columns[self._anchor], len(data))

        for modality, name in self.columns.items():
            kind = self._kinds[modality]
            if kind == "image":
                columns[modality] = image_column(data, name, self.size, where)
            elif kind == "text":
                texts = _hub.texts_column(data, name)
                columns[modality] = texts if modality == self._anchor else joined(texts, keys)
            else:
                columns[modality] = _hub.numbers_column(data, name, where)
        return Pool(len(data), columns, {name: data[name][:] for name in self.labels})
