"""The storage of samples that one run prepared for others: arrays in safetensors, all else in JSON; for tasks and datasets alike.

The folder of a run's artifacts holds ``samples.*``: all rows of a dataset by modality, its splits and annotations. What others
make of them is kept by ``stored_texts``.
"""

from __future__ import annotations

import json
from collections import namedtuple
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from trialbook import TrialbookError
from trialbook.contracts.data_files import note_files
from trialbook.contracts.datasets import Dataset, Modality, Raw, Rows, Split, content_hash, row_identities

SAMPLES, SAMPLES_ABOUT = "samples.safetensors", "samples.json"
#: Rows that are read at once.
_CHUNK = 1024


class KeptRows:
    """All rows of one modality, as they were read from a dataset.

    Args:
        fields: name to values: one array [R, ...] of rows of one shape, or, with ``lengths``, rows behind one another [ΣL, ...].
        lengths: length of every row [R]; None where all rows have one shape.
        kind: ``""`` for arrays, ``"text"``, or the names of the fields of a named tuple, with commas.
    """

    def __init__(self, fields: Mapping[str, Any], lengths: Rows | None, kind: str) -> None:
        self.fields, self.lengths, self.kind = fields, lengths, kind
        self._starts = None if lengths is None else np.concatenate([[0], np.cumsum(lengths)])
        names = kind.split(",")
        self._row = namedtuple("Row", names) if kind not in ("", "text") else None  # type: ignore[misc]

    def read(self, rows: Rows) -> Raw:
        """The rows with these indices."""
        if self.kind == "text":
            return [self.fields["text"][row] for row in rows]
        if self._starts is None:
            return self.fields["rows"][rows]
        return [self._one(int(row)) for row in rows]

    def _one(self, row: int) -> Any:
        assert self._starts is not None
        cut = slice(int(self._starts[row]), int(self._starts[row + 1]))
        if self._row is None:
            return self.fields["rows"][cut]
        return self._row(**{name: values[cut] for name, values in self.fields.items()})


def keep_rows(raw: Raw) -> KeptRows:
    """Rows as a dataset gives them: an array, texts, or a list of arrays or of named tuples of arrays.

    Raises:
        TrialbookError: they are something else.
    """
    if isinstance(raw, np.ndarray):
        return KeptRows({"rows": raw}, None, "")
    if all(isinstance(row, str) for row in raw):
        return KeptRows({"text": list(raw)}, None, "text")
    if all(isinstance(row, np.ndarray) for row in raw):
        return KeptRows({"rows": np.concatenate(raw)}, np.array([len(row) for row in raw]), "")
    if all(hasattr(row, "_fields") for row in raw):
        names = raw[0]._fields
        fields = {name: np.concatenate([getattr(row, name) for row in raw]) for name in names}
        return KeptRows(fields, np.array([len(getattr(row, names[0])) for row in raw]), ",".join(names))
    raise TrialbookError(
        f"rows of {type(raw[0]).__name__} cannot be kept; arrays, texts and named tuples of arrays can"
    )


class Kept(NamedTuple):
    """The kept content of a dataset.

    Args:
        modalities: name to what is known of it.
        rows: modality to its rows, those of all splits behind one another.
        groups: modality to the group of every row, counted through all splits.
        content: modality to the content hash of every row.
        identity: modality to the hash of what every row says by itself; of samples kept earlier, none.
        splits: split to its number of groups.
        keys: content of every group.
        labels: annotation name to a value for each group.
        fingerprint: of the dataset that it was read from.
    """

    modalities: Mapping[str, Modality]
    rows: Mapping[str, KeptRows]
    groups: Mapping[str, Rows]
    content: Mapping[str, Sequence[str]]
    identity: Mapping[str, Sequence[str]]
    splits: Mapping[str, int]
    keys: Sequence[str]
    labels: Mapping[str, Any]
    fingerprint: str

    def files(self) -> Iterator[tuple[str, Callable[[Path], None]]]:
        """Name of each file, and what writes it."""
        yield SAMPLES, self._write_arrays
        yield SAMPLES_ABOUT, self._write_about

    def _write_arrays(self, file: Path) -> None:
        from safetensors.numpy import save_file

        arrays: dict[str, NDArray[Any]] = {}
        for modality, kept in self.rows.items():
            arrays[f"{modality}/group"] = self.groups[modality]
            if kept.lengths is not None:
                arrays[f"{modality}/lengths"] = kept.lengths
            if kept.kind != "text":
                arrays.update({f"{modality}/{name}": np.ascontiguousarray(one) for name, one in kept.fields.items()})
        save_file(arrays, file)

    def _write_about(self, file: Path) -> None:
        labels = {
            name: values.tolist() if isinstance(values, np.ndarray) else list(values)
            for name, values in self.labels.items()
        }
        about = {
            "fingerprint": self.fingerprint, "splits": self.splits, "keys": self.keys, "labels": labels,
            "modalities": {
                name: {
                    "kind": one.kind, "shape": one.shape, "levels": one.levels, "rows": self.rows[name].kind,
                    "content": self.content[name], "identity": self.identity[name],
                    **({"text": self.rows[name].fields["text"]} if self.rows[name].kind == "text" else {}),
                }
                for name, one in self.modalities.items()
            },
        }  # fmt: skip
        file.write_text(json.dumps(about, ensure_ascii=False, default=_plain), encoding="utf-8")


def keep(dataset: Dataset, modalities: Sequence[str], labels: Sequence[str]) -> Kept:
    """Read a whole dataset.

    Args:
        dataset: what is to be kept.
        modalities: those that are kept.
        labels: annotations that are kept, where a split has them; values must be such as JSON holds.
    """
    splits = dataset.splits()
    starts = np.cumsum([0, *(len(split) for split in splits.values())])
    rows, groups, content, identity = {}, {}, {}, {}
    for name in modalities:
        read = [row for split in splits.values() for row in _all_rows(split, name)]
        arrays = read and all(isinstance(one, np.ndarray) for one in read)
        same = arrays and len({(one.shape, one.dtype.str) for one in read}) == 1
        rows[name] = keep_rows(np.stack(read) if same else read)
        groups[name] = np.concatenate(
            [start + s.groups(name) for start, s in zip(starts, splits.values(), strict=False)]
        )
        content[name] = [one for split in splits.values() for one in split.content(name)]
        identity[name] = [one for split in splits.values() for one in row_identities(split, name)]
    found = {}
    for name in labels:
        try:
            values = [split.labels(name) for split in splits.values()]
        except KeyError:
            continue
        arrays = all(isinstance(one, np.ndarray) for one in values)
        found[name] = np.concatenate(values) if arrays else [one for part in values for one in part]
    keys = _keys(int(starts[-1]), groups[modalities[0]], content[modalities[0]])
    sizes = {name: len(split) for name, split in splits.items()}
    described = {name: dataset.describe(name) for name in modalities}
    return Kept(described, rows, groups, content, identity, sizes, keys, found, dataset.fingerprint)


def read_kept(folder: Path) -> Kept:
    """Read what the files of ``Kept.files`` hold, in a folder.

    Raises:
        TrialbookError: there is nothing of that sort.
    """
    from safetensors.numpy import load_file

    file = folder / SAMPLES_ABOUT
    note_files([file, folder / SAMPLES])
    try:
        about, arrays = json.loads(file.read_text(encoding="utf-8")), load_file(folder / SAMPLES)
    except (OSError, ValueError) as error:
        raise TrialbookError(f"{folder} holds no samples ({error}); a run of task 'sample' makes them") from error
    modalities, rows, groups, content, identity = {}, {}, {}, {}, {}
    for name, one in about["modalities"].items():
        text = one["kind"] == "text"
        corpus = cache(lambda name=name: _train_texts(rows[name], groups[name], about["splits"])) if text else None
        levels = tuple(tuple(level) for level in one["levels"])
        modalities[name] = Modality(one["kind"], tuple(one["shape"]), corpus, levels)
        own = {key.partition("/")[2]: value for key, value in arrays.items() if key.partition("/")[0] == name}
        groups[name], lengths = own.pop("group"), own.pop("lengths", None)
        rows[name] = KeptRows({"text": one["text"]} if text else own, lengths, one["rows"])
        content[name] = one["content"]
        if "identity" in one:
            identity[name] = one["identity"]
    facts = (about[name] for name in ("splits", "keys", "labels", "fingerprint"))
    return Kept(modalities, rows, groups, content, identity, *facts)


def modalities_in(dataset: Any) -> list[str]:
    """Names of a dataset's modalities, in order."""
    return list(dataset.names if isinstance(dataset.modalities, str) else dataset.modalities)


def sample_keys(split: Split, modality: str) -> list[str]:
    """Content of every group of a split, from the rows of its first modality."""
    return _keys(len(split), split.groups(modality), split.content(modality))


def _plain(value: Any) -> Any:
    """A number or an array of numpy as JSON has it."""
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} cannot be kept as JSON")


def _all_rows(split: Split, modality: str) -> Iterator[Any]:
    count = len(split.groups(modality))
    for start in range(0, count, _CHUNK):
        yield from split.read(modality, np.arange(start, min(start + _CHUNK, count)))


def _keys(size: int, groups: Rows, content: Sequence[str]) -> list[str]:
    """One content key for each group, from the rows of its first modality."""
    rows: list[list[str]] = [[] for _ in range(size)]
    for group, own in zip(groups.tolist(), content, strict=True):
        rows[group].append(own)
    return [own[0] if len(own) == 1 else content_hash(*own) for own in rows]


def _train_texts(rows: KeptRows, groups: Rows, splits: Mapping[str, int]) -> list[str]:
    first = next(iter(splits.values()))
    return [rows.fields["text"][row] for row in np.flatnonzero(groups < first)]
