"""The group of processes that do a run together: how it is made and left, and what they tell one another in it."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from datetime import timedelta
from itertools import count
from typing import Any

import torch
import torch.distributed as dist
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedType
from torch import nn
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

from trialbook.contracts.distributed import everyone
from trialbook.errors import TrialbookError
from trialbook.registry.ranks import rank, world_size

#: How long a process may wait in a collective for another that computes longer. One that failed is noticed in seconds.
TIME_LIMIT = timedelta(hours=1)
#: Where every process holds the whole model.
PLAIN = (DistributedType.NO, DistributedType.MULTI_GPU, DistributedType.MULTI_CPU)
#: Ways of training that ``accelerate launch`` can be configured for, by the variable that it sets.
_NOT_BUILT = {
    "ACCELERATE_USE_FSDP": "FSDP", "ACCELERATE_USE_DEEPSPEED": "DeepSpeed", "ACCELERATE_USE_MEGATRON_LM": "Megatron-LM",
    "ACCELERATE_USE_PARALLELISM_CONFIG": "tensor, context or sequence parallelism",
}  # fmt: skip
_groups = count()


def refuse_what_is_not_built() -> None:
    """Whole models on every process is all that there is.

    Raises:
        TrialbookError: ``accelerate launch`` asks for something else.
    """
    for variable, name in _NOT_BUILT.items():
        if os.environ.get(variable, "false").lower() in ("true", "1"):
            raise TrialbookError(
                f"{name} is not built yet: every process holds the whole model; start with 'torchrun', or with "
                f"'accelerate launch' configured for plain multi-GPU ({variable} is set)"
            )


def open_store() -> Store:
    """A connection of its own to the key-value store that the launcher, or the first process, holds for all of them.

    Raises:
        TrialbookError: the variables that say where it is are missing, or nobody answers there.
    """
    try:
        store, _, _ = next(rendezvous("env://", timeout=timedelta(minutes=5)))
    except (ValueError, RuntimeError) as error:
        raise TrialbookError(
            f"{world_size()} processes are announced (WORLD_SIZE) but cannot find one another ({error}); start them with torchrun"
        ) from error
    found: Store = store
    return found


def join_group(device: str) -> None:
    """Make the group that collectives go through, where there are several processes and it is not there."""
    if world_size() > 1 and not dist.is_initialized():
        backend = "nccl" if device.startswith("cuda") else "gloo"
        # under a name of its own: a later group must not read what an earlier one left
        store = PrefixStore(f"group {next(_groups)}", open_store())
        dist.init_process_group(backend, store=store, rank=rank(), world_size=world_size(), timeout=TIME_LIMIT)


def leave_group() -> None:
    """Give the group up; without effect where there is none."""
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()
        AcceleratorState._reset_state(reset_partial_state=True)


def wrapped(accelerator: Accelerator, module: nn.Module) -> Any:
    """A module whose gradients are averaged over the processes, where there are several; on the device and in its precision."""
    with warnings.catch_warnings():
        # its successor is not in older versions of torch
        warnings.filterwarnings("ignore", "`broadcast_buffers` is deprecated", FutureWarning)
        return accelerator.prepare(module)


def mean_of_all(values: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Means over the processes of losses that each has under the same names, in one collective."""
    names, loss = sorted(values), values["loss"]
    exact = torch.promote_types(loss.dtype, torch.float32)
    stacked = torch.stack([values[name].detach().to(loss.device, exact) for name in names])
    dist.all_reduce(stacked)
    means = dict(zip(names, stacked / dist.get_world_size(), strict=True))
    return {name: means[name] for name in values}


def share_buffers(module: nn.Module) -> list[str]:
    """Give every process the buffers of the first; names of those that differed on any.

    Processes see different rows, so statistics that modules keep of them (of batch normalisation, say) drift apart.
    """
    differed = []
    for name, buffer in module.named_buffers():
        if not buffer.numel():
            continue
        own = buffer.detach().contiguous().reshape(-1).view(torch.uint8)  # gloo sends bytes, but no booleans
        first = own.clone()
        dist.broadcast(first, 0)
        if not torch.equal(own, first):
            buffer.data.copy_(first.view(buffer.dtype).reshape(buffer.shape))
            differed.append(name)
    return list(dict.fromkeys(name for names in everyone(differed) for name in names))
