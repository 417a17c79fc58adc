"""The training recipes of probes: learning rates and seeds, what many have in common, and the loss."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Literal

import torch
from torch import Tensor, nn

Loss = Literal["mse", "cross-entropy", "bce"]


@dataclass(frozen=True)
class Setting:
    """The setting of one probe: learning rate, decoupled weight decay, and the seed of its first weights and order of samples."""

    lr: float = 1e-3
    weight_decay: float = 0.0
    seed: int = 0


def grid(lrs: Sequence[float], weight_decays: Sequence[float] = (0.0,), seeds: Sequence[int] = (0,)) -> list[Setting]:
    """Every combination, seeds outermost."""
    return [Setting(lr, decay, seed) for seed, lr, decay in product(seeds, lrs, weight_decays)]


@dataclass(frozen=True)
class Plan:
    """The common plan of all probes of one call.

    Args:
        loss: ``mse`` (targets float [n, C]), ``cross-entropy`` (int64 [n], outputs are classes) or ``bce`` (0 to 1, [n, C]).
        steps: optimiser steps.
        batch: samples of a step; 0 takes all.
        hidden: units of the hidden layer with GELU; 0 for a linear probe.
        schedule: of the learning rate: ``constant``, or ``cosine`` down to 0.
        standardize: bring every feature to mean 0 and deviation 1, by the training samples.
    """

    loss: Loss = "mse"
    steps: int = 500
    batch: int = 0
    hidden: int = 0
    schedule: Literal["constant", "cosine"] = "constant"
    standardize: bool = True

    def rate(self, step: int) -> float:
        """Factor of the learning rate at ``step``, from 0."""
        return 1.0 if self.schedule == "constant" else 0.5 * (1 + math.cos(math.pi * step / self.steps))


def first_weights(seed: int, width: int, outputs: int, hidden: int, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    """Weights of one probe before training, as ``nn.Linear`` draws them: uniform within ±1/√(inputs)."""
    generator = torch.Generator().manual_seed(seed)
    sizes = [(width, hidden), (hidden, outputs)] if hidden else [(width, outputs)]
    drawn: list[Tensor] = []
    for inputs, units in sizes:
        bound = 1 / math.sqrt(inputs)
        for shape in ((inputs, units), (units,)):
            drawn.append((2 * torch.rand(*shape, generator=generator, dtype=torch.float64) - 1).mul(bound).to(dtype))
    return drawn


def sample_order(seed: int, count: int, plan: Plan) -> Iterator[Tensor]:
    """Samples of each step [batch]: epochs without replacement; a last batch that is not full is left out."""
    generator = torch.Generator().manual_seed(seed + 1)
    step = 0
    while step < plan.steps:
        order = torch.randperm(count, generator=generator)
        for start in range(0, count - plan.batch + 1, plan.batch):
            if step == plan.steps:
                return
            yield order[start : start + plan.batch]
            step += 1


def loss_of(outputs: Tensor, targets: Tensor, loss: Loss) -> Tensor:
    """Mean loss of each probe: outputs [n, P, C] -> [P]."""
    if loss == "cross-entropy":
        logs = outputs.log_softmax(-1)
        return -logs.gather(2, targets.long()[:, None, None].expand(-1, logs.shape[1], 1)).mean((0, 2))
    wide = targets.to(outputs.dtype)[:, None].expand_as(outputs)
    if loss == "mse":
        return (outputs - wide).square().mean((0, 2))
    return nn.functional.binary_cross_entropy_with_logits(outputs, wide, reduction="none").mean((0, 2))
