"""Devices and precision of tensors, for components and the engine alike."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import chain
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

#: Where a component computes that is told of no device.
CPU = torch.device("cpu")


def device_of(module: nn.Module) -> torch.device:
    """Device of a module's first parameter or buffer; the CPU where it has none."""
    first = next(chain(module.parameters(), module.buffers()), None)
    return CPU if first is None else first.device


@contextmanager
def counting_operations(device: torch.device) -> Iterator[FlopCounterMode]:
    """A counter of the operations of matrix products, convolutions and attention (a multiplication and an addition count as two).

    Kernels that it would not see are not taken meanwhile: the fused layer of ``nn.TransformerEncoder`` in inference, and on a
    CPU fused attention. On CUDA fused attention is counted and stays: plain products would hold several times the memory.
    """
    fused = torch.backends.mha.get_fastpath_enabled()
    attention: AbstractContextManager[None] = nullcontext() if device.type == "cuda" else sdpa_kernel(SDPBackend.MATH)
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with FlopCounterMode(display=False) as counter, attention:
            yield counter
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)


def float64_device(device: torch.device) -> torch.device:
    """The device that computes float64 for ``device``: itself, or on the CPU where it has no such numbers (Apple's MPS)."""
    return CPU if device.type == "mps" else device


def as_float64(tensor: Tensor) -> Tensor:
    """The tensor in float64, on its own device or, where that has no such numbers, on the CPU."""
    return tensor.to(float64_device(tensor.device)).double()


def places_of(which: NDArray[np.bool_], device: torch.device) -> Tensor:
    """Indices at which ``which`` is true, all its axes counted through: int64 [K] on ``device``, which is not waited for."""
    places: Tensor = to_device(torch.from_numpy(np.flatnonzero(which)), device)
    return places


def to_device(batch: Any, device: torch.device) -> Any:
    """A nested batch with its tensors on ``device``, copied there without waiting; all else, NumPy arrays too, as it is."""
    if isinstance(batch, Tensor):
        return batch.to(device, non_blocking=True)
    if isinstance(batch, Mapping):
        return {key: to_device(value, device) for key, value in batch.items()}
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):
        return type(batch)(*(to_device(value, device) for value in batch))
    if isinstance(batch, list | tuple):
        return type(batch)(to_device(value, device) for value in batch)
    return batch
