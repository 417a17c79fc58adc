"""The facts on rows that losses and metrics may ask for beside their embeddings."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from trialbook import TrialbookError
from trialbook.contracts.datasets import Split

#: What losses may ask to know of each row of a batch: its group, a number of its content, the class of its group.
TAGS = ("groups", "content", "classes")
#: Annotations that may hold one class a group.
CLASSES = ("class", "classes", "label", "labels")


class Classes:
    """The class of every group, by the same numbers in all splits: places in the sorted names of all classes.

    Args:
        splits: of a data set. The first of ``CLASSES`` counts that holds one value a group in any of them.
    """

    def __init__(self, splits: Mapping[str, Split]) -> None:
        found: dict[str, NDArray[Any]] = {}
        for name in CLASSES:
            found = {key: one for key, split in splits.items() if (one := _single(split, name)) is not None}
            if found:
                break
        names = np.unique(np.concatenate(list(found.values()))) if found else np.empty(0)
        self._numbers = {key: np.searchsorted(names, one.astype(names.dtype)) for key, one in found.items()}

    def of(self, split: str) -> NDArray[np.int64] | None:
        """Class of every group of a split [G]; None where it has none, or several a group."""
        numbers = self._numbers.get(split)
        return None if numbers is None else numbers.astype(np.int64)

    def demand(self, split: str, who: str) -> NDArray[np.int64]:
        """The same.

        Raises:
            TrialbookError: the split has none, which ``who`` needs.
        """
        if (numbers := self.of(split)) is None:
            raise TrialbookError(
                f"{who} needs a class of every group, but split '{split}' has no annotation {' or '.join(CLASSES)} with "
                "one value a group"
            )
        return numbers


def content_numbers(split: Split, modality: str) -> NDArray[np.int64]:
    """A number of the content of every row [R]: equal for equal content, in any split and any process.

    A text counts by what it says: its content hash may be taken together with what it is said of.
    """
    rows = np.arange(len(split.groups(modality)))
    is_text = len(rows) and isinstance(split.read(modality, rows[:1])[0], str)
    hashes = split.read(modality, rows) if is_text else split.content(modality)
    return np.array([_number(text) for text in hashes], dtype=np.int64).reshape(len(hashes))


def row_tags(
    names: Collection[str], split: Split, modality: str, classes: NDArray[np.int64] | None
) -> dict[str, NDArray[np.int64]]:
    """Those of ``TAGS`` that are named, of every row of a modality [R]."""
    groups = split.groups(modality)
    made = {"groups": lambda: groups, "content": lambda: content_numbers(split, modality)}
    if classes is not None:
        made["classes"] = lambda: classes[groups]
    return {name: made[name]() for name in names}


class Known(Mapping[str, Any]):
    """The known facts of a split, by name; each is made when it is first asked for.

    Args:
        makers: name to what makes it.
    """

    def __init__(self, makers: Mapping[str, Callable[[], Any]]) -> None:
        self._makers = makers
        self._made: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._made:
            self._made[name] = self._makers[name]()
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._makers)

    def __len__(self) -> int:
        return len(self._makers)


def known_of_split(
    split: Split, modalities: Collection[str], embed: Callable[[], Mapping[str, torch.Tensor]],
    classes: NDArray[np.int64] | None,
) -> dict[str, Callable[[], Any]]:  # fmt: skip
    """Return makers of what metrics may ask of a split: ``embeddings``, ``groups``, ``content``, ``classes`` [G], ``split``."""
    return {
        "embeddings": embed,
        "groups": lambda: {name: torch.from_numpy(split.groups(name)) for name in modalities},
        "content": lambda: {name: torch.from_numpy(content_numbers(split, name)) for name in modalities},
        "classes": lambda: None if classes is None else torch.from_numpy(classes),
        "split": lambda: split,
    }


def handed(offered: Mapping[str, Any], needs: Collection[str], who: str) -> dict[str, Any]:
    """Return what a loss or metric needs of what there is.

    Raises:
        TrialbookError: something of it is not there.
    """
    if lacking := [need for need in needs if need not in offered]:
        raise TrialbookError(f"{who} needs '{lacking[0]}', but is offered {', '.join(offered)}")
    return {need: offered[need] for need in needs}


def _single(split: Split, name: str) -> NDArray[Any] | None:
    """The annotation ``name`` as one value a group [G]; None where there is none, or several a group."""
    if not hasattr(split, "labels"):
        return None
    try:
        values = [np.asarray(value).reshape(-1) for value in split.labels(name)]
    except KeyError:
        return None
    return np.concatenate(values) if values and all(value.size == 1 for value in values) else None


def _number(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little", signed=True)
