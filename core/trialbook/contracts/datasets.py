"""The contract of datasets, and the functions that every dataset needs: content hashes, splits, overlap checks.

A dataset is a set of *groups* (a photo with its captions, a recording with its sentence). Every modality has *rows*
(entities: one photo, five captions), each of which belongs to one group. Training draws groups and one row of each
modality in it; evaluation reads all rows and knows from the groups which belong together.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from trialbook.errors import TrialbookError

#: Rows of one modality as ``Split.read`` returns them: NumPy arrays, never tensors.
#: image: uint8 array [B, 3, H, W], or a list of [3, H, W] where sizes differ; text: list of str;
#: vector: float32 [B, D]; series: float32 [B, T, C], or a list of [T, C] where lengths differ.
Raw = Any
Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Modality:
    """Kind and shape of a modality, known to an encoder before it sees a row.

    Args:
        kind: ``"image"``, ``"text"``, ``"vector"``, ``"series"`` or a kind that a plugin defines.
        shape: of one row: image ``(3, H, W)`` (``(3, 0, 0)`` where sizes differ), vector ``(D,)``, series ``(T, C)``
            (``(0, C)`` where lengths differ), text ``()``.
        corpus: text only: gives all texts of the train split, for tokenizers that are trained on the data.
        levels: names of the values of each categorical column, for kinds that have such columns.
    """

    kind: str
    shape: tuple[int, ...] = ()
    corpus: Callable[[], Sequence[str]] | None = field(default=None, compare=False)
    levels: tuple[tuple[str, ...], ...] = ()


@runtime_checkable
class Split(Protocol):
    """One part of a dataset. Reading is deterministic: the same rows are the same bits, in any order or batch.

    Where ``content`` is taken over more than a row says (a caption together with its photo), or rows are vectors of something
    else, a split may have a method ``identity(modality)`` too; see ``row_identities``.
    """

    name: str

    def __len__(self) -> int:
        """Number of groups G: of samples, not of rows."""

    def groups(self, modality: str) -> Rows:
        """Group of every row of ``modality``: a NumPy array, int64 [R], values in [0, G), every group at least once."""

    def read(self, modality: str, rows: Rows) -> Raw:
        """The rows of ``modality`` with these indices (NumPy int64 [B]), in this order, as NumPy arrays (see ``Raw``).

        Raises:
            TrialbookError: a file is missing or cannot be read; the sentence names it.
        """

    def content(self, modality: str) -> Sequence[str]:
        """Content hash of every row [R]: equal content, equal hash, whatever the file is called."""

    def labels(self, name: str) -> Any:
        """Annotation ``name`` of every group [G] (boxes, classes, masks …).

        Raises:
            KeyError: there is none of this name. Tasks ask for annotations that a dataset need not have, and continue without.
        """


@runtime_checkable
class Dataset(Protocol):
    """A dataset component. The constructor checks its options; files are read on first use.

    No content may stand in two splits: deal groups with ``assign_splits(keys, fractions, seed)``, hash rows with
    ``content_hash``. A file that is missing is a ``TrialbookError`` that names it and says where to get it, raised when it is
    needed and not in the constructor, so that a file can be checked where the data are not.

    Attributes:
        modalities: class attribute, read by the checker without data: modality name to kind, or the name of the constructor's
            parameter whose keys are the modalities.
        counted: optional class attribute: split to the constructor's parameter that says how many samples it has, so that batches
            above that are refused before anything is read.
    """

    modalities: Any

    def describe(self, modality: str) -> Modality:
        """Kind and shape of ``modality``."""

    def splits(self) -> Mapping[str, Split]:
        """Split name to split, ``train`` first; ``val`` and ``test`` where there are such."""

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the content that would be read, as hex: any change of data or of its preparation changes it."""


def content_hash(*parts: bytes | str | NDArray[Any]) -> str:
    """SHA-256 hex of the parts; an array counts with its dtype and shape."""
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, np.ndarray):
            digest.update(f"{part.dtype.str}{part.shape}".encode())
            digest.update(np.ascontiguousarray(part).data)
        else:
            digest.update(part.encode() if isinstance(part, str) else part)
        digest.update(b"\x00")
    return digest.hexdigest()


def row_identities(split: Split, modality: str) -> Sequence[str]:
    """A hash of what every row says by itself [R]: equal for equal words or values, whatever sample they belong to.

    What ``Split.identity`` returns where a split has it; else the hash of a text's words, and the content of all other rows.
    """
    if hasattr(split, "identity"):
        found: Sequence[str] = split.identity(modality)
        return found
    rows = np.arange(len(split.groups(modality)))
    if len(rows) and isinstance(split.read(modality, rows[:1])[0], str):
        return [content_hash(text) for text in split.read(modality, rows)]
    return split.content(modality)


def assign_splits(keys: Sequence[str], fractions: Mapping[str, float], seed: int = 0) -> dict[str, Rows]:
    """Deal groups into splits by a hash of their key, so that a group keeps its place when others come or go.

    Args:
        keys: one stable key a group (content hash or id); equal keys go to the same split.
        fractions: split name to share, ``{"train": 0.8, "val": 0.1, "test": 0.1}``; the shares must add up to 1.
        seed: another seed deals differently.
    Returns:
        split name to ascending indices into ``keys``, int64.
    Raises:
        TrialbookError: the shares do not add up to 1, or a split with a share above 0 stays empty.
    """
    if abs(sum(fractions.values()) - 1) > 1e-9 or min(fractions.values()) < 0:
        raise TrialbookError(f"split shares must be at least 0 and add up to 1, not {dict(fractions)}")
    order = sorted(set(keys), key=lambda key: hashlib.sha256(f"{seed}\x00{key}".encode()).digest())
    place = {}
    start, edge = 0, 0.0
    for name, share in fractions.items():
        edge += share
        stop = round(edge * len(order))
        place.update(dict.fromkeys(order[start:stop], name))
        start = stop
    dealt = {
        name: np.array([i for i, key in enumerate(keys) if place[key] == name], dtype=np.int64) for name in fractions
    }
    for name, share in fractions.items():
        if share > 0 and not len(dealt[name]):
            raise TrialbookError(
                f"split '{name}' would be empty: {len(order)} groups are too few for {dict(fractions)}"
            )
    return dealt


@dataclass(frozen=True)
class Overlap:
    """Content that stands in two splits: ``count`` different rows, which are ``rows`` of the second split's."""

    modality: str
    first: str
    second: str
    count: int
    example: str
    rows: int = 0


def find_overlaps(splits: Mapping[str, Split], modalities: Iterable[str]) -> list[Overlap]:
    """Every pair of splits that share content in one of ``modalities`` (by content hash, not by name)."""
    found = []
    names = list(splits)
    for modality in modalities:
        content = {name: list(splits[name].content(modality)) for name in names}
        seen = {name: set(hashes) for name, hashes in content.items()}
        for i, first in enumerate(names):
            for second in names[i + 1 :]:
                if both := seen[first] & seen[second]:
                    rows = sum(one in both for one in content[second])
                    found.append(Overlap(modality, first, second, len(both), min(both), rows))
    return found


def modalities_of(dataset: Any, table: Mapping[str, Any]) -> list[str]:
    """Names of a dataset's modalities: its own, or the keys of the option that names them in its table."""
    declared = dataset.modalities
    return list(table.get(declared, {})) if isinstance(declared, str) else list(declared)


def pair_names(modalities: Sequence[str]) -> dict[tuple[str, str], str]:
    """Short names for both directions of each pair: image, text -> ``i2t`` and ``t2i``; full names where initials clash."""
    initials = [name[0] for name in modalities]
    short = initials if len(set(initials)) == len(initials) else list(modalities)
    return {
        (a, b): f"{short[i]}2{short[j]}" for i, a in enumerate(modalities) for j, b in enumerate(modalities) if i != j
    }


class LeftOut(NamedTuple):
    """Something that was not taken: where it stands (file and line, row or id), and why."""

    where: str
    why: str


def has_label(labels: Sequence[Any] | NDArray[Any]) -> NDArray[np.bool_]:
    """Tell which of the values of an annotation say a class [n]: None, NaN, an empty text and negative whole numbers say none.

    Hugging Face writes -1 where a set has no label, PyTorch ignores -100. Where all numbers are -1 or 1, they are two classes.
    """
    values = np.asarray(labels)
    if values.dtype.kind == "O":
        known = np.array([one is not None for one in values.tolist()], dtype=bool)
        inner = np.asarray([one for one in values.tolist() if one is not None])
        if len(inner) and inner.dtype.kind != "O":
            known[known] = has_label(inner)
        return known
    if values.dtype.kind in "US":
        return np.asarray(np.char.strip(values) != values.dtype.type(), dtype=bool)
    known = np.ones(values.shape, dtype=bool) if values.dtype.kind != "f" else np.asarray(~np.isnan(values), dtype=bool)
    if values.dtype.kind not in "fi" or (set(np.unique(values[known]).tolist()) == {-1, 1}):
        return known
    return np.asarray(known & ~((values < 0) & (values == np.trunc(values))), dtype=bool)
