"""Metrics with one fault each."""

from __future__ import annotations

from collections.abc import Mapping

import torch.nn.functional as F
from torch import Tensor


class Optimistic:
    """Recall that counts a query as a hit if no other row scores higher: ties are hits."""

    needs = ("embeddings", "groups")
    produces = ("{pair}@{k}",)

    def __init__(self, *, k: list[int] = [1, 5]) -> None:  # noqa: B006 - copied below
        self.k = list(k)

    def compute(self, *, embeddings: Mapping[str, Tensor], groups: Mapping[str, Tensor]) -> dict[str, float]:
        image, text = (F.normalize(embeddings[name], dim=-1) for name in ("image", "text"))
        figures = {}
        for name, scores in (("i2t", image @ text.T), ("t2i", text @ image.T)):
            above = (scores > scores.diagonal()[:, None] + 1e-6).sum(dim=1)
            figures |= {f"{name}@{k}": float((above < k).float().mean()) for k in self.k}
        return figures
