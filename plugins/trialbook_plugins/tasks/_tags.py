"""The facts on rows that losses and metrics may ask for beside their embeddings."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from trialbook import TrialbookError
from trialbook.contracts import Handover, read_only
from trialbook.contracts.datasets import Split, has_label, row_identities

#: What losses may ask to know of each row of a batch: its group, a number of its content, the class of its group.
TAGS = ("groups", "content", "classes")
#: Annotations that may hold one class a group.
CLASSES = ("class", "classes", "label", "labels")


class Classes:
    """The class of every group, by the same numbers in all splits: places in the sorted names of all classes, -1 for none.

    Args:
        splits: of a data set. The first of ``CLASSES`` counts that holds one value a group in any of them.
    """

    def __init__(self, splits: Mapping[str, Split]) -> None:
        found: dict[str, NDArray[Any]] = {}
        for name in CLASSES:
            found = {key: one for key, split in splits.items() if (one := _single(split, name)) is not None}
            if found:
                break
        values = np.concatenate(list(found.values())) if found else np.empty(0)
        known = has_label(values)
        numbers = np.full(len(values), -1, dtype=np.int64)
        numbers[known] = np.unique(values[known], return_inverse=True)[1].reshape(-1)
        ends = np.cumsum([len(one) for one in found.values()])
        self._numbers = dict(zip(found, np.split(numbers, ends[:-1]), strict=True)) if found else {}

    def of(self, split: str) -> NDArray[np.int64] | None:
        """Class of every group of a split [G], -1 for a group without; None where no group has one, or one has several."""
        numbers = self._numbers.get(split)
        return None if numbers is None or not (numbers >= 0).any() else numbers

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
    """A number of what every row says [R]: equal for equal words or values, in any split and any process."""
    hashes = row_identities(split, modality)
    return np.array([_number(text) for text in hashes], dtype=np.int64).reshape(len(hashes))


def row_tags(
    names: Collection[str], split: Split, modality: str, classes: NDArray[np.int64] | None
) -> dict[str, NDArray[np.int64]]:
    """Those of ``TAGS`` that are named, of every row of a modality [R]."""
    groups = split.groups(modality)
    made = {"groups": lambda: groups, "content": lambda: content_numbers(split, modality)}
    if classes is not None:
        own = np.where(classes >= 0, classes, -1 - np.arange(len(classes)))  # what has no class is like nothing else
        made["classes"] = lambda: own[groups]
    return {name: made[name]() for name in names}


class Known(Mapping[str, Any]):
    """Facts of a split by name; each is made when it is first asked for, and watched from then on.

    Args:
        makers: name to what makes it.
        bits: look for changes past PyTorch, too; see ``Handover``.
    """

    def __init__(self, makers: Mapping[str, Callable[[], Any]], *, bits: bool = True) -> None:
        self._makers = makers
        self._made: dict[str, Any] = {}
        self._handover = Handover(bits=bits)

    def __getitem__(self, name: str) -> Any:
        if name not in self._made:
            self._made[name] = self._handover.give(name, self._makers[name]())
        return self._made[name]

    @contextmanager
    def to(self, who: str) -> Iterator[None]:
        """A context in which a component works with it.

        Raises:
            TrialbookError: the component changed something.
        """
        with self._handover.to(who):
            yield
        for one in self._made.values():
            if isinstance(one, Known):
                one._handover.check(who)

    def __iter__(self) -> Iterator[str]:
        return iter(self._makers)

    def __len__(self) -> int:
        return len(self._makers)


class ReadOnlySplit:
    """A split whose arrays and annotations cannot be written to.

    Args:
        split: that is read.
    """

    def __init__(self, split: Split) -> None:
        self._split = split

    def __len__(self) -> int:
        return len(self._split)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._split, name)
        return (lambda *given, **named: read_only(found(*given, **named))) if callable(found) else read_only(found)


def known_of_split(
    split: Split, modalities: Collection[str], embed: Callable[[], Mapping[str, torch.Tensor]],
    classes: NDArray[np.int64] | None,
) -> dict[str, Callable[[], Any]]:  # fmt: skip
    """Return makers of what metrics may ask of a split: ``embeddings``, ``groups``, ``content``, ``classes`` [G], ``split``.

    The class of a group without one is -1.
    """
    return {
        "embeddings": embed,
        "groups": lambda: {name: torch.from_numpy(split.groups(name)) for name in modalities},
        "content": lambda: {name: torch.from_numpy(content_numbers(split, name)) for name in modalities},
        "classes": lambda: None if classes is None else torch.from_numpy(classes),
        "split": lambda: ReadOnlySplit(split),
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
