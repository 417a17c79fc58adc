"""Loss ``siglip``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trialbook_plugins.losses._pairs import mean_over_pairs
from trialbook_plugins.losses._random import random_cosines


class SigLIP(nn.Module):
    """Pairwise sigmoid loss: every pair of rows is a yes-or-no question, summed and divided by the batch size.

    With more than two modalities, the mean over their pairs. The batch is that of all ranks.

    For the doctor it tells of its last batch of B rows: ``chance``, ln B + (B - 1) ln(B / (B - 1)), is the least that it can
    be for equal embeddings (all logits the log odds of a match, 1 to B - 1), and ``random`` the mean loss of embeddings that
    point anywhere on the sphere, at the present scale and bias. The scale has no bounds.

    Args:
        init_scale: the cosines are multiplied by a learned scale t = exp(t'), which starts here.
        init_bias: a learned bias is added, which starts here; strongly negative, because nearly all pairs are no
            partners.

    Raises:
        ValueError: ``init_scale`` is not above 0.

    Source: SigLIP, section 3.2 and algorithm 1; open_clip ``SigLipLoss``. Deviations: ranks gather all rows rather
    than pass them round (the same value); the scale is not clamped, as in the paper; computed in float32 under mixed
    precision.
    """

    needs: ClassVar[tuple[str, ...]] = ("embeddings",)
    produces: ClassVar[tuple[str, ...]] = ("logit_scale", "logit_bias")

    def __init__(self, *, init_scale: float = 10.0, init_bias: float = -10.0) -> None:
        super().__init__()
        if init_scale <= 0:
            raise ValueError(f"init_scale ({init_scale}) must be above 0")
        self.log_scale = nn.Parameter(torch.tensor(math.log(init_scale)))
        self.bias = nn.Parameter(torch.tensor(float(init_bias)))
        self._last: tuple[int, int] | None = None

    def forward(self, *, embeddings: Mapping[str, Tensor]) -> Tensor:
        """Modality name to rows [B, D], not normalised -> scalar."""
        return mean_over_pairs(embeddings, self._pair)

    def _pair(self, x: Tensor, y: Tensor) -> Tensor:
        self._last = (x.shape[0], x.shape[1])
        logits = self.log_scale.exp() * x @ y.T + self.bias
        sign = 2 * torch.eye(len(x), device=x.device, dtype=x.dtype) - 1
        return -F.logsigmoid(sign * logits).sum() / len(x)

    def report(self) -> Mapping[str, Tensor]:
        """The scale that multiplies the cosines and the bias added to them."""
        return {"logit_scale": self.log_scale.detach().exp(), "logit_bias": self.bias.detach()}

    def stats(self) -> Mapping[str, float]:
        """Rows of the last batch, what the loss is for embeddings that know nothing, and the scale."""
        if self._last is None:
            return {}
        batch, dim = self._last
        log_scale, bias = torch.stack([self.log_scale, self.bias]).tolist()
        cosines, likely = random_cosines(dim)
        logits = math.exp(log_scale) * cosines + bias
        random = likely @ (np.logaddexp(0, -logits) + (batch - 1) * np.logaddexp(0, logits))
        chance = math.log(batch) + (batch - 1) * math.log(batch / max(batch - 1, 1))
        return {"batch": batch, "chance": chance, "random": float(random), "scale": math.exp(log_scale)}
