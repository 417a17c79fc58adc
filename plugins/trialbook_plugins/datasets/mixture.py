"""Several datasets of conversations as one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from trialbook import TrialbookError
from trialbook.contracts.conversations import Conversation
from trialbook.contracts.datasets import (
    Dataset,
    LeftOut,
    Modality,
    Raw,
    Rows,
    Split,
    content_hash,
    row_identities,
)
from trialbook_plugins.datasets._conversations import MODALITIES
from trialbook_plugins.datasets._splits import SPLITS, refuse_overlap, unknown_modality


class Mixture:
    """Datasets of conversations side by side, each under a name: ``[dataset.sources.receipts]``.

    A split holds that split of every source that has one. Ids begin with the source's name, which is also what conversations
    and the annotation ``source`` give as their source, whatever they were called before; a stage weighs the sources by it
    (``[[stage]] data``). Pictures are of one size where all sources give the same one.

    Args:
        sources: the datasets, each with the modalities ``image`` and ``conversation``.
        allow_overlap: accept splits that share pictures or conversations.
    Raises:
        TrialbookError: a source has other modalities; on first reading: splits share content.
    """

    modalities = {"image": "image", "conversation": "conversation"}
    parts: ClassVar[Mapping[str, str]] = {"sources": "dataset.*"}

    def __init__(self, sources: Mapping[str, Dataset], /, *, allow_overlap: bool = False) -> None:
        if not sources:
            raise TrialbookError("'sources' must hold at least one dataset: [dataset.sources.NAME]")
        for name, one in sources.items():
            if not isinstance(one.modalities, Mapping) or set(one.modalities) != set(MODALITIES):
                raise TrialbookError(
                    f"'sources': '{name}' ({type(one).__name__}) is no dataset of conversations; captions become one by "
                    "'caption-conversations'"
                )
        self.sources = dict(sources)
        self.allow_overlap = allow_overlap

    @property
    def licence(self) -> str:
        """The licence of each source, as far as it is known."""
        known = {name: str(getattr(one, "licence", "")) for name, one in self.sources.items()}
        return "; ".join(f"{name}: {text}" for name, text in known.items() if text)

    @property
    def left_out(self) -> list[LeftOut]:
        """The rows that the sources left out."""
        return [one for source in self.sources.values() for one in getattr(source, "left_out", ())]

    def describe(self, modality: str) -> Modality:
        """Kind and shape of ``image`` or ``conversation``; of pictures that differ in shape only the kind."""
        if modality not in MODALITIES:
            raise unknown_modality(modality, MODALITIES)
        described = [one.describe(modality) for one in self.sources.values()]
        if modality == "image":
            shapes = {one.shape for one in described}
            return Modality("image", shapes.pop() if len(shapes) == 1 else (3, 0, 0))
        corpora = [one.corpus for one in described if one.corpus is not None]
        return Modality("conversation", corpus=lambda: [text for corpus in corpora for text in corpus()])

    def splits(self) -> Mapping[str, MixedSplit]:
        """Every split that a source has."""
        return self._splits

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the sources' names and fingerprints."""
        return content_hash(
            "mixture", *(part for name, one in self.sources.items() for part in (name, one.fingerprint))
        )

    @cached_property
    def _splits(self) -> dict[str, MixedSplit]:
        square = 0 not in self.describe("image").shape
        held = {name: source.splits() for name, source in self.sources.items()}
        splits = {}
        for split in SPLITS:
            if own := {name: found[split] for name, found in held.items() if split in found}:
                splits[split] = MixedSplit(split, own, square=square)
        if not self.allow_overlap:
            refuse_overlap(splits, MODALITIES, "mixture")
        return splits


class MixedSplit:
    """The same split of several datasets, one behind the other.

    Args:
        name: name of the split.
        parts: source name to its split.
        square: whether pictures have one size.
    """

    def __init__(self, name: str, parts: Mapping[str, Split], *, square: bool) -> None:
        self.name = name
        self._names, self._parts = list(parts), list(parts.values())
        self._square = square
        self._first_group = np.cumsum([0, *(len(part) for part in self._parts)])
        self._first_row = {m: np.cumsum([0, *(len(part.groups(m)) for part in self._parts)]) for m in MODALITIES}

    def __len__(self) -> int:
        return int(self._first_group[-1])

    def groups(self, modality: str) -> Rows:
        """Group of every row of ``modality``: int64 [R]."""
        own = [part.groups(modality) + first for part, first in zip(self._parts, self._first_group, strict=False)]
        return np.concatenate(own).astype(np.int64)

    def read(self, modality: str, rows: Rows) -> Raw:
        """The rows of ``modality`` with these indices, in this order."""
        rows = np.asarray(rows, dtype=np.int64)
        found: list[Any] = [None] * len(rows)
        owner = np.searchsorted(self._first_row[modality], rows, side="right") - 1
        for place in np.unique(owner).tolist():
            wanted = np.flatnonzero(owner == place)
            read = self._parts[place].read(modality, rows[wanted] - self._first_row[modality][place])
            for at, one in zip(wanted.tolist(), read, strict=True):
                found[at] = self._renamed(place, one) if modality == "conversation" else one
        return np.stack(found) if modality == "image" and self._square and found else found

    def content(self, modality: str) -> Sequence[str]:
        """Content hash of every row [R]."""
        return [own for part in self._parts for own in part.content(modality)]

    def identity(self, modality: str) -> Sequence[str]:
        """Hash of what every row says by itself [R]."""
        return [own for part in self._parts for own in row_identities(part, modality)]

    def labels(self, name: str) -> Any:
        """``source``: the name of each group's source; another annotation where all sources have it.

        Raises:
            KeyError: a source does not have it.
        """
        if name == "source":
            return [own for own, part in zip(self._names, self._parts, strict=True) for _ in range(len(part))]
        return [value for part in self._parts for value in part.labels(name)]

    def image_path(self, row: int) -> Path | None:
        """Return where the picture of row ``row`` of ``image`` lies, if on disk."""
        place = int(np.searchsorted(self._first_row["image"], row, side="right")) - 1
        find: Callable[[int], Path | None] | None = getattr(self._parts[place], "image_path", None)
        return find(row - int(self._first_row["image"][place])) if find is not None else None

    def _renamed(self, place: int, one: Conversation) -> Conversation:
        return replace(one, id=f"{self._names[place]}/{one.id}", source=self._names[place])
