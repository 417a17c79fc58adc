"""Metric ``zero-shot``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from trialbook_plugins.metrics._classes import Labelled, accuracy_and_f1, directions, labelled, majority
from trialbook_plugins.metrics._rows import check_rows, full_precision
from trialbook_plugins.metrics.retrieval import TIE


class ZeroShot:
    """Classification of one modality by what the other says of the classes: each row gets the class that is nearest to it.

    A class is the mean of the normalised embeddings of its distinct contents in the other modality: of its captions, each once
    however often it occurs. For every direction of every pair of modalities (``s2t``: windows by captions): accuracy, macro-F1,
    the share of the most frequent class (``majority``), and ``chance``, one over the number of classes. A row that is as near
    to several classes (cosines within 1e-6) counts in equal shares for each.

    Args:
        captions: where the contents of the classes come from: the split that is evaluated, or the train split, so that no
            caption of an evaluated row takes part.

    Source: CLIP, section 3.1.4 (ensembles of prompts in embedding space), with a class's captions for its prompts.
    """

    needs: ClassVar[tuple[str, ...]] = ("embeddings", "groups", "classes", "content")
    produces: ClassVar[tuple[str, ...]] = ("{pair}/accuracy", "{pair}/macro_f1", "{pair}/majority", "{pair}/chance")

    def __init__(self, *, captions: Literal["split", "train"] = "split") -> None:
        if captions == "train":
            self.needs = (*self.needs, "train")  # type: ignore[misc]  # this one needs more than its class

    @torch.no_grad()
    def compute(
        self, *, embeddings: Mapping[str, Tensor], groups: Mapping[str, Tensor], classes: Tensor,
        content: Mapping[str, Tensor], train: Mapping[str, Any] | None = None,
    ) -> dict[str, float]:  # fmt: skip
        """Metrics of a split; NaN for a pair with an embedding that is not finite.

        Args:
            embeddings: modality name to all rows [R, D], not normalised.
            groups: modality name to the group of every row, int64 [R].
            classes: class of every group, int64 [G].
            content: modality name to a number of the content of every row, int64 [R].
            train: the same of the train split, where the captions are its own.
        Raises:
            TrialbookError: there are fewer than two modalities, or rows and groups differ in number.
        """
        check_rows("zero-shot", embeddings, groups)
        sides = labelled(embeddings, groups, classes)
        told, numbers = sides, content
        if train is not None:
            told = labelled(train["embeddings"], train["groups"], train["classes"])
            numbers = train["content"]
        values: dict[str, float] = {}
        with full_precision(next(iter(embeddings.values())).device):
            for pair, a, b in directions(sides):
                found = _classify(sides[a], told[b], numbers[b])
                finite = sides[a].finite and told[b].finite
                values |= {f"{pair}/{name}": value if finite else float("nan") for name, value in found.items()}
        return values


def _classify(queries: Labelled, items: Labelled, content: Tensor) -> dict[str, float]:
    """Metrics of one modality by the contents of another."""
    known, prototypes = _prototypes(items, content)
    cosines = queries.rows @ prototypes.T
    best = cosines >= cosines.amax(dim=1, keepdim=True) - TIE
    highest = int(torch.cat([queries.classes, known]).max()) + 1
    votes = torch.zeros(len(cosines), highest, dtype=torch.float64, device=cosines.device)
    votes[:, known] = best.double() / best.sum(dim=1, keepdim=True)
    accuracy, f1 = accuracy_and_f1(queries.classes, votes)
    return {
        "accuracy": accuracy, "macro_f1": f1, "majority": majority(queries.classes), "chance": 1 / len(known),
    }  # fmt: skip


def _prototypes(items: Labelled, content: Tensor) -> tuple[Tensor, Tensor]:
    """The classes that there are [K], and the normalised mean of the distinct contents of each [K, D]."""
    pairs = torch.stack([items.classes, content.to(items.classes.device)[items.places]], dim=1)
    distinct, place = pairs.unique(dim=0, return_inverse=True)
    first = torch.full((len(distinct),), len(pairs), device=place.device)
    first = first.scatter_reduce(0, place, torch.arange(len(pairs), device=place.device), "amin")
    known, of_class = distinct[:, 0].unique(return_inverse=True)
    sums = torch.zeros(len(known), items.rows.shape[1], dtype=torch.float64, device=items.rows.device)
    sums.index_add_(0, of_class, items.rows[first].double())
    return known, F.normalize(sums, dim=1).to(items.rows.dtype)
