"""The common parts of contrastive losses: normalised embeddings of the whole batch, pair by pair."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import combinations

import torch
import torch.nn.functional as F
from torch import Tensor

from trialbook import TrialbookError
from trialbook.contracts.distributed import gather_with_grad


def mean_over_pairs(embeddings: Mapping[str, Tensor], pair_loss: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Mean of ``pair_loss(x, y)`` over all pairs of modalities, on L2-normalised rows [world * B, D] of all ranks.

    Computed in float32 (float64 stays) whatever the precision around it: logits of a scale up to 100 do not fit bf16.

    Args:
        embeddings: modality name to rows [B, D]; row i belongs together in all of them.
        pair_loss: scalar loss of two such matrices.
    Raises:
        TrialbookError: there are fewer than two modalities, or their shapes differ.
    """

    def mean(units: Mapping[str, Tensor]) -> Tensor:
        return torch.stack([pair_loss(x, y) for x, y in combinations(units.values(), 2)]).mean()

    return of_units(embeddings, mean)


def of_units(embeddings: Mapping[str, Tensor], loss: Callable[[Mapping[str, Tensor]], Tensor]) -> Tensor:
    """``loss`` of the normalised rows of all modalities, by name, gathered and computed as in ``mean_over_pairs``."""
    if len(embeddings) < 2:
        raise TrialbookError(
            f"a contrastive loss needs at least two modalities, not {len(embeddings)}: {', '.join(embeddings)}"
        )
    shapes = {name: tuple(x.shape) for name, x in embeddings.items()}
    if len(set(shapes.values())) > 1:
        raise TrialbookError(f"embeddings of a batch must have one shape, not {shapes}")
    device = next(iter(embeddings.values())).device
    with torch.autocast(device.type, enabled=False):
        units = {name: F.normalize(_at_least_float32(x), dim=-1) for name, x in embeddings.items()}
        return loss({name: gather_with_grad(x) for name, x in units.items()})


def _at_least_float32(x: Tensor) -> Tensor:
    return x if x.dtype == torch.float64 else x.float()
