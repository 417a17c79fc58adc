"""The scale that contrastive losses multiply cosines by: the inverse of a temperature, fixed or learned."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from trialbook_plugins.losses._random import random_log_sum_exp

#: Largest scale that is learned; CLIP, section 2.5.
MAX_SCALE = 100.0


def add_scale(module: nn.Module, temperature: float, learn: bool) -> None:
    """Give ``module`` the logarithm of the scale as ``log_scale``: a parameter, or a buffer where it is not learned.

    Raises:
        ValueError: ``temperature`` is not above 0, or is to be learned and outside [0.01, 1].
    """
    if temperature <= 0:
        raise ValueError(f"temperature ({temperature}) must be above 0")
    if learn and not 1 / MAX_SCALE <= temperature <= 1:
        raise ValueError(f"temperature ({temperature}) must be from {1 / MAX_SCALE} to 1 where it is learned")
    log_scale = torch.tensor(-math.log(temperature))
    if learn:
        module.log_scale = nn.Parameter(log_scale)
    else:
        module.register_buffer("log_scale", log_scale)


@torch.no_grad()
def clamp_scale(log_scale: Tensor) -> None:
    """Keep a learned scale between 1 and ``MAX_SCALE``."""
    if isinstance(log_scale, nn.Parameter):
        log_scale.clamp_(0, math.log(MAX_SCALE))


def scale_stats(log_scale: Tensor, rows: int, dim: int, candidates: float | None = None) -> Mapping[str, float]:
    """Return what a loss that finds one among ``candidates`` (all ``rows`` if left out) tells the doctor; see ``InfoNCE``."""
    count = rows if candidates is None else candidates
    scale = log_scale.detach().exp().item()
    facts = {
        "batch": rows, "chance": math.log(count), "random": random_log_sum_exp(round(count), dim, scale), "scale": scale,
    }  # fmt: skip
    bounds = {"scale_min": 1.0, "scale_max": MAX_SCALE} if isinstance(log_scale, nn.Parameter) else {}
    return {**facts, **bounds}
