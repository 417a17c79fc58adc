"""Computing on several processes: rows of all of them for losses that look at the whole batch, work shared out among them.

In training every process has rows of its own. In an evaluation all of them hold the same rows: nothing is gathered there, and
what is independent can be shared out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Literal, TypeVar

import torch
import torch.distributed as dist
from accelerate.utils import send_to_device
from torch import Tensor

_Value = TypeVar("_Value")


def everyone(value: _Value) -> list[_Value]:
    """Gather what every process gives here, in the order of the ranks; every process must call this."""
    if not (dist.is_available() and dist.is_initialized()):
        return [value]
    parts: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(parts, value)
    return parts


_Item = TypeVar("_Item")
_Result = TypeVar("_Result")
_Gathering = Literal["all", "own", "stand-in"]
_gathering: ContextVar[_Gathering] = ContextVar("gathering", default="all")


@contextmanager
def gathering(rows: _Gathering) -> Iterator[None]:
    """Choose which rows ``gather_with_grad`` gives inside.

    Args:
        rows: those of ``all`` processes, as in training; this process's ``own``, where all hold the same rows or where it
            computes by itself; or ``stand-in``, its own as often as there are processes, so that shapes and operations are
            those of training although no process waits for another.
    """
    token = _gathering.set(rows)
    try:
        yield
    finally:
        _gathering.reset(token)


def gather_with_grad(t: Tensor) -> Tensor:
    """Rows of all ranks in the order of the ranks: [B, D] -> [world * B, D]; ``t`` itself in an evaluation or without a group.

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
    rows = _gathering.get()
    if rows == "own" or not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return t
    if rows == "stand-in":
        return t.repeat(dist.get_world_size(), *[1] * (t.ndim - 1))
    gathered: Tensor = _Gather.apply(t)  # type: ignore[no-untyped-call]
    return gathered


def spread(work: Callable[[_Item], _Result], items: Sequence[_Item]) -> list[_Result]:
    """``[work(item) for item in items]``, shared out among the processes of a run and gathered once.

    Process r does the items r, r + world, …; every process gets all results in the order of the items. One process does them
    all. The results are those of one process, bit for bit, where each depends on its item alone: not on what was drawn or done
    before.

    Args:
        work: what is done with an item. Tensors in its result come back on the CPU where several processes share the work.
        items: the same on every process, and every process must call this.
    """
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return [work(item) for item in items]
    world, rank = dist.get_world_size(), dist.get_rank()
    parts = everyone([send_to_device(work(item), "cpu") for item in items[rank::world]])
    return [parts[place % world][place // world] for place in range(len(items))]


def spread_in_turns(work: Callable[[_Item], _Result], items: Sequence[_Item]) -> Iterator[_Result]:
    """The same, gathered whenever each process has done one item: for results that are recorded as they come."""
    turn = dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1
    for start in range(0, len(items), turn):
        yield from spread(work, items[start : start + turn])


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
