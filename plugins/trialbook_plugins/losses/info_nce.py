"""Loss ``info-nce``."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trialbook.contracts.distributed import gather_with_grad
from trialbook_plugins.losses._duplicates import (
    equal_rows,
    excluded,
    mean_candidates,
    shared_cross_entropy,
    sharing_stats,
)
from trialbook_plugins.losses._pairs import mean_over_pairs, of_units
from trialbook_plugins.losses._scale import add_scale, clamp_scale, scale_stats


class InfoNCE(nn.Module):
    """CLIP's loss: mean of the cross-entropies of finding row i's partner among the batch, in both directions.

    With more than two modalities, the mean over their pairs. The batch is that of all ranks.

    For the doctor it tells of its last batch of B rows: ``chance``, ln B, is the loss of equal embeddings, and ``random`` the
    mean loss of embeddings that point anywhere on the sphere, at the present scale s: ln B + s² / 2d to first order in d
    numbers, but no more than s times the largest of B cosines where s is large. It is computed as it is, not to first order.
    Where equal rows are excluded, B stands for the geometric mean of the rows that are left.

    Args:
        temperature: the logits are cosines divided by it; where ``learn_scale`` is true, at the start.
        learn_scale: learn the logarithm of the scale (1 / temperature), kept in [0, ln 100] after every step.
        duplicates: what becomes of other rows of the batch whose content in either modality is the same (two windows with one
            caption): ``"negatives"`` like all others, ``"excluded"`` from the candidates, or ``"shared"``: as right as the own
            partner. Where rows of equal content have equal embeddings (stored vectors, a frozen encoder of texts), sharing is the
            loss of ``"negatives"``: use ``"excluded"``.

    Raises:
        ValueError: ``temperature`` is not above 0, or is to be learned and outside [0.01, 1].

    Source: CLIP, figure 3 and section 2.5; open_clip ``ClipLoss``; shared duplicates as in UniCL (Yang et al. 2022, equation 3).
    Computed in float32 under mixed precision.
    """

    needs: ClassVar[tuple[str, ...]] = ("embeddings",)
    produces: ClassVar[tuple[str, ...]] = ("logit_scale",)
    log_scale: Tensor

    def __init__(
        self, *, temperature: float = 0.07, learn_scale: bool = True,
        duplicates: Literal["negatives", "excluded", "shared"] = "negatives",
    ) -> None:  # fmt: skip
        super().__init__()
        add_scale(self, temperature, learn_scale)
        self.duplicates = duplicates
        if duplicates != "negatives":
            self.needs = ("embeddings", "content")  # type: ignore[misc]  # this one needs more than its class
        self._last: tuple[int, int, Tensor | None] | None = None
        self._shared: tuple[Tensor, Tensor, Tensor] | None = None

    def forward(self, *, embeddings: Mapping[str, Tensor], content: Mapping[str, Tensor] | None = None) -> Tensor:
        """Modality name to rows [B, D], not normalised, and to numbers [B] of their content -> scalar."""
        if self.duplicates == "negatives":
            return mean_over_pairs(embeddings, self._pair)
        known = {name: gather_with_grad(numbers) for name, numbers in (content or {}).items()}

        def mean(units: Mapping[str, Tensor]) -> Tensor:
            pairs = [((a, b), (known[a], known[b])) for a, b in combinations(units, 2)]
            return torch.stack([self._pair(units[a], units[b], equal_rows(own, own)) for (a, b), own in pairs]).mean()

        return of_units(embeddings, mean)

    def _pair(self, x: Tensor, y: Tensor, same: Tensor | None = None) -> Tensor:
        self._last = (*x.shape, None)
        logits = self.log_scale.exp() * x @ y.T
        if same is not None and self.duplicates == "shared":
            self._shared = (x.detach(), y.detach(), same)
            return (shared_cross_entropy(logits, same) + shared_cross_entropy(logits.T, same)) / 2
        if same is not None:
            self._last = (*x.shape, mean_candidates(same))
            logits = excluded(logits, same)
        partner = torch.arange(len(x), device=x.device)
        return (F.cross_entropy(logits, partner) + F.cross_entropy(logits.T, partner)) / 2

    def report(self) -> Mapping[str, Tensor]:
        """The scale that multiplies the cosines."""
        return {"logit_scale": self.log_scale.detach().exp()}

    def stats(self) -> Mapping[str, float]:
        """Rows of the last batch, what the loss is for embeddings that know nothing, and the scale with its bounds.

        Where targets are shared: rows that have their like in the batch (``duplicates``), and how many of these have one whose
        embeddings differ from theirs in both modalities (``duplicates_apart``).
        """
        if self._last is None:
            return {}
        rows, dim, candidates = self._last
        facts = scale_stats(self.log_scale, rows, dim, None if candidates is None else candidates.item())
        return facts if self._shared is None else {**facts, **sharing_stats(*self._shared)}

    def after_step(self) -> None:
        """Keep a learned scale between 1 and 100."""
        clamp_scale(self.log_scale)
