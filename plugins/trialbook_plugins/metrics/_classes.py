"""The common parts of metrics on classes: the class of every row, and how right predicted classes are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import permutations
from typing import NamedTuple

import torch
from torch import Tensor

from trialbook import TrialbookError
from trialbook.contracts.datasets import pair_names
from trialbook_plugins.metrics._rows import unit_rows


class Labelled(NamedTuple):
    """Rows of one modality that have a class: normalised embeddings [R, D], groups [R], classes [R], places among all [R]."""

    rows: Tensor
    groups: Tensor
    classes: Tensor
    places: Tensor

    @property
    def finite(self) -> bool:
        """True if all embeddings are finite."""
        return bool(self.rows.isfinite().all())


def labelled(embeddings: Mapping[str, Tensor], groups: Mapping[str, Tensor], classes: Tensor) -> dict[str, Labelled]:
    """All modalities, on the device of their embeddings.

    Args:
        embeddings: modality name to all rows [R, D].
        groups: modality name to the group of every row [R].
        classes: class of every group [G]; rows of groups with a negative one are left out.
    Raises:
        TrialbookError: no row of a modality has a class.
    """
    found = {}
    for name, rows in embeddings.items():
        own = groups[name].to(rows.device)
        kinds = classes.to(rows.device)[own]
        places = (kinds >= 0).nonzero().flatten()
        if not len(places):
            raise TrialbookError(f"no row of '{name}' has a class")
        found[name] = Labelled(unit_rows(rows[places]), own[places], kinds[places], places)
    return found


def directions(sides: Mapping[str, Labelled]) -> Iterator[tuple[str, str, str]]:
    """Every two modalities in both directions: short name, who asks, who is asked."""
    names = pair_names(list(sides))
    yield from ((names[a, b], a, b) for a, b in permutations(sides, 2))


def accuracy_and_f1(truth: Tensor, votes: Tensor) -> tuple[float, float]:
    """Share of right rows, and the mean over classes of F1.

    A class counts if it occurs or is predicted, as in scikit-learn's ``f1_score`` with ``average="macro"``.

    Args:
        truth: class of every row [R], below K.
        votes: what is predicted of every row [R, K]: 1 for a class, or shares of it where several are tied.
    """
    wanted = torch.nn.functional.one_hot(truth, votes.shape[1]).to(votes.dtype)
    right, predicted, there = (wanted * votes).sum(dim=0), votes.sum(dim=0), wanted.sum(dim=0)
    counted = (predicted + there) > 0
    f1 = 2 * right[counted] / (predicted + there)[counted]
    return float(right.sum() / len(truth)), float(f1.mean())


def majority(classes: Tensor) -> float:
    """Share of rows that are right when all are taken for the most frequent class."""
    return int(classes.unique(return_counts=True)[1].max()) / len(classes)
