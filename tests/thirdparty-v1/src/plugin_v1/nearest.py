"""Metric ``v1-nearest``."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import permutations
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from trialbook.contracts import MetricValues, pair_names


class Nearest:
    """Share of rows whose nearest row of the other modality, by cosine, belongs to their group.

    Source: Radford et al. 2021 (CLIP), section 3.1, as a retrieval.
    """

    needs: ClassVar[tuple[str, ...]] = ("embeddings", "groups")
    produces: ClassVar[tuple[str, ...]] = ("{pair}",)

    def __init__(self) -> None:
        pass

    @torch.no_grad()
    def compute(self, *, embeddings: Mapping[str, Tensor], groups: Mapping[str, Tensor]) -> MetricValues:
        """Modality name to rows [R, D] and their groups [R] -> a share for each direction, with the hits of all rows."""
        names = pair_names(list(embeddings))
        units = {name: F.normalize(rows.float(), dim=-1) for name, rows in embeddings.items()}
        hits = {}
        for a, b in permutations(units, 2):
            nearest = (units[a] @ units[b].T).argmax(dim=1).cpu()
            hits[names[a, b]] = (groups[b].cpu()[nearest] == groups[a].cpu()).double().numpy()
        return MetricValues({name: float(own.mean()) for name, own in hits.items()}, hits)
