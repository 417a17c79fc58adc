"""Clusters that neighbours agree on, learned by a small head on embeddings that stay as they are."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

#: Rows of which neighbours are looked for at once.
_AT_ONCE = 512


def nearest_neighbours(rows: Tensor, count: int) -> Tensor:
    """The ``count`` rows with the highest cosine to each of the normalised rows [R, D], itself left out: [R, count]."""
    found = []
    for at in range(0, len(rows), _AT_ONCE):
        cosines = rows[at : at + _AT_ONCE] @ rows.T
        own = torch.arange(len(cosines))
        cosines[own, own + at] = -torch.inf
        found.append(cosines.topk(min(count, len(rows) - 1), dim=1).indices)
    return torch.cat(found)


def scan_clusters(
    rows: Tensor, clusters: int, *, neighbours: int, entropy: float, steps: int, heads: int, batch: int = 512, lr: float = 0.02,
) -> NDArray[np.int64]:  # fmt: skip
    """Cluster of every row, by the linear head with the lowest loss of several; the same every time.

    A step draws rows and of each one neighbour, and takes -ln <p, p'> of their cluster probabilities less ``entropy`` times the
    entropy of the mean probabilities. No random numbers but its own are used.

    Args:
        rows: normalised, float32, on the CPU [R, D].
        clusters: their number K.
        neighbours: nearest rows of each that count as the same.
        entropy: weight of the entropy, which keeps all clusters in use.
        steps: optimiser steps (Adam).
        heads: heads that are trained side by side from other beginnings.
        batch: rows of a step, at most.
        lr: learning rate, which falls to 0 by half a cosine.
    Source: SCAN (Van Gansbeke et al. 2020), section 2.2 and equation 2. Deviations: the embeddings stay, so that only the head
    learns; neighbours are drawn without augmentation; there is no self-labelling afterwards.
    """
    generator = torch.Generator().manual_seed(0)
    near = nearest_neighbours(rows, neighbours)
    weight = torch.randn(heads, rows.shape[1], clusters, generator=generator).requires_grad_(True)
    bias = torch.zeros(heads, 1, clusters).requires_grad_(True)
    centred = rows - rows.mean(dim=0)
    centred /= centred.norm(dim=1).mean().clamp(min=1e-6)  # logits of about one at the beginning
    optimizer = torch.optim.Adam([weight, bias], lr=lr)
    size = min(batch, len(rows))
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = lr * (1 + math.cos(math.pi * step / steps)) / 2
        drawn = torch.randperm(len(rows), generator=generator)[:size]
        other = near[drawn, torch.randint(near.shape[1], (size,), generator=generator)]
        with torch.enable_grad():
            first, second = (_log_probabilities(centred[chosen], weight, bias) for chosen in (drawn, other))
            loss = _loss(first, second, entropy)
            weight.grad, bias.grad = torch.autograd.grad(loss.sum(), [weight, bias])
        optimizer.step()
    with torch.no_grad():
        whole = _log_probabilities(centred, weight, bias)
        losses = torch.stack([_loss(whole, whole[:, near[:, place]], entropy) for place in range(near.shape[1])])
        best = int(losses.mean(dim=0).argmin())
    found: NDArray[np.int64] = whole[best].argmax(dim=1).numpy()
    return found


def _log_probabilities(rows: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Rows [R, D] under every head: [H, R, K]."""
    return (rows @ weight + bias).log_softmax(dim=2)


def _loss(first: Tensor, second: Tensor, entropy: float) -> Tensor:
    """Loss of every head [H] for log probabilities [H, R, K] of rows and of a neighbour each."""
    agreement = -(first + second).logsumexp(dim=2).mean(dim=1)
    mean = first.exp().mean(dim=1)
    return agreement + entropy * torch.special.xlogy(mean, mean).sum(dim=1)
