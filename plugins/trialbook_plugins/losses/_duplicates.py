"""Rows of a batch that are no negatives of one another, because they say the same."""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor


def equal_rows(first: Iterable[Tensor], second: Iterable[Tensor]) -> Tensor:
    """Return which of N samples equal which of M in any of their modalities: bool [N, M].

    Args:
        first: numbers [N] of the samples, for each modality: equal for what is equal.
        second: the same of the others [M].
    """
    pairs = [x[:, None] == y for x, y in zip(first, second, strict=True)]
    return torch.stack(pairs).any(dim=0)


def excluded(logits: Tensor, same: Tensor) -> Tensor:
    """Logits [B, B] where those of equal samples (``same`` [B, B]) do not count, but for each row's own partner."""
    own = torch.eye(len(logits), dtype=torch.bool, device=logits.device)
    return logits.masked_fill(same & ~own, -torch.inf)


def shared_cross_entropy(logits: Tensor, same: Tensor) -> Tensor:
    """Mean cross-entropy of each row with the partners of all samples that equal it [B, B], each of them as right."""
    return F.cross_entropy(logits, same.to(logits.dtype) / same.sum(dim=1, keepdim=True))


def mean_candidates(same: Tensor) -> Tensor:
    """Return how many rows each row chooses among where ``same`` [B, B] are excluded: the geometric mean."""
    left = len(same) + 1 - same.sum(dim=1)
    return left.double().log().mean().exp()


def sharing_stats(x: Tensor, y: Tensor, same: Tensor) -> dict[str, int]:
    """Number of rows that equal another one, and of those with an equal row whose cosine is below 1 - 1e-6 in both modalities.

    Args:
        x: unit rows [B, D] of one modality.
        y: those of the other.
        same: which rows are equal, [B, B].
    """
    pairs = same & ~torch.eye(len(same), dtype=torch.bool, device=same.device)
    apart = torch.maximum(x @ x.T, y @ y.T) < 1 - 1e-6
    found = {"duplicates": pairs, "duplicates_apart": pairs & apart}
    return {name: int(which.any(dim=1).sum()) for name, which in found.items()}
