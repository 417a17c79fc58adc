"""Loss ``info-nce``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trialbook_plugins.losses._pairs import mean_over_pairs
from trialbook_plugins.losses._random import random_log_sum_exp

#: Largest logit scale; CLIP, section 2.5.
MAX_SCALE = 100.0


class InfoNCE(nn.Module):
    """CLIP's loss: mean of the cross-entropies of finding row i's partner among the batch, in both directions.

    With more than two modalities, the mean over their pairs. The batch is that of all ranks.

    For the doctor it tells of its last batch of B rows: ``chance``, ln B, is the loss of equal embeddings, and ``random`` the
    mean loss of embeddings that point anywhere on the sphere, at the present scale s: ln B + s² / 2d to first order in d
    numbers, but no more than s times the largest of B cosines where s is large. It is computed as it is, not to first order.

    Args:
        temperature: the logits are cosines divided by it; where ``learn_scale`` is true, at the start.
        learn_scale: learn the logarithm of the scale (1 / temperature), kept in [0, ln 100] after every step.

    Raises:
        ValueError: ``temperature`` is not above 0, or is to be learned and outside [0.01, 1].

    Source: CLIP, figure 3 and section 2.5; open_clip ``ClipLoss``. Computed in float32 under mixed precision.
    """

    needs: ClassVar[tuple[str, ...]] = ("embeddings",)
    produces: ClassVar[tuple[str, ...]] = ("logit_scale",)

    def __init__(self, *, temperature: float = 0.07, learn_scale: bool = True) -> None:
        super().__init__()
        if temperature <= 0:
            raise ValueError(f"temperature ({temperature}) must be above 0")
        if learn_scale and not 1 / MAX_SCALE <= temperature <= 1:
            raise ValueError(f"temperature ({temperature}) must be from {1 / MAX_SCALE} to 1 where it is learned")
        log_scale = torch.tensor(-math.log(temperature))
        if learn_scale:
            self.log_scale = nn.Parameter(log_scale)
        else:
            self.register_buffer("log_scale", log_scale)
        self._last: tuple[int, int] | None = None

    def forward(self, *, embeddings: Mapping[str, Tensor]) -> Tensor:
        """Modality name to rows [B, D], not normalised -> scalar."""
        return mean_over_pairs(embeddings, self._pair)

    def _pair(self, x: Tensor, y: Tensor) -> Tensor:
        self._last = (x.shape[0], x.shape[1])
        logits = self.log_scale.exp() * x @ y.T
        partner = torch.arange(len(x), device=x.device)
        return (F.cross_entropy(logits, partner) + F.cross_entropy(logits.T, partner)) / 2

    def report(self) -> Mapping[str, Tensor]:
        """The scale that multiplies the cosines."""
        return {"logit_scale": self.log_scale.detach().exp()}

    def vitals(self) -> Mapping[str, float]:
        """Rows of the last batch, what the loss is for embeddings that know nothing, and the scale with its bounds."""
        if self._last is None:
            return {}
        batch, dim = self._last
        scale = self.log_scale.detach().exp().item()
        facts = {
            "batch": batch, "chance": math.log(batch), "random": random_log_sum_exp(batch, dim, scale), "scale": scale,
        }  # fmt: skip
        bounds = {"scale_min": 1.0, "scale_max": MAX_SCALE} if isinstance(self.log_scale, nn.Parameter) else {}
        return {**facts, **bounds}

    @torch.no_grad()
    def after_step(self) -> None:
        """Keep a learned scale between 1 and 100."""
        if isinstance(self.log_scale, nn.Parameter):
            self.log_scale.clamp_(0, math.log(MAX_SCALE))
