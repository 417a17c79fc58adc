"""Collecting rows from all ranks so that gradients flow back, for losses that look at the whole batch."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

__all__ = ["gather_with_grad"]


def gather_with_grad(t: Tensor) -> Tensor:
    """Rows of all ranks in the order of the ranks: [B, D] -> [world * B, D]; ``t`` itself without a process group.

    How gradients add up: with a loss L_r on rank r, the gradient that reaches ``t`` is that of the *sum* of all L_r.
    Where every rank computes the same loss L from the gathered rows, that is ``world`` times the gradient of L, and
    the mean over ranks that DistributedDataParallel takes of parameter gradients gives, summed over the shards,
    exactly the gradient of one process over the whole batch. Parameters of the loss itself (a temperature) get the
    full gradient of L on every rank, which the same mean leaves as it is. So a loss averages over the gathered batch
    and scales nothing by ``world``.

    Args:
        t: rows of this rank; the shape must be the same on every rank, and every rank must call this, also in the
            backward pass.
    """
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return t
    gathered: Tensor = _Gather.apply(t)  # type: ignore[no-untyped-call]
    return gathered


class _Gather(torch.autograd.Function):
    """All-gather along the first axis; the backward pass sums over ranks and keeps this rank's rows."""

    @staticmethod
    def forward(ctx: Any, t: Tensor) -> Tensor:
        parts = [torch.empty_like(t, memory_format=torch.contiguous_format) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, t.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        total = grads[0].clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total.chunk(dist.get_world_size())[dist.get_rank()]
