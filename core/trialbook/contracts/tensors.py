"""Devices and precision of tensors, and watch over those that are handed around, for components and the engine alike."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from trialbook.contracts.frozen import read_only
from trialbook.errors import TrialbookError

#: Where a component computes that is told of no device.
CPU = torch.device("cpu")
#: Most numbers of a tensor whose bits are looked at; of larger ones every so-manieth is.
_MOST = 1 << 24
#: What Python says to one who writes to something read-only.
_REFUSED = ("read-only", "mappingproxy", "'tuple' object")


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


class _Seen(NamedTuple):
    name: str
    tensor: Tensor
    version: int | None
    bits: int | None


class Handover:
    """Keeps watch over values that are handed to several components, one after the other.

    Arrays, mappings and lists are handed out read-only. Tensors cannot be; whether one was changed is seen by its version,
    and by its bits where something wrote past PyTorch.

    Args:
        bits: look at bits, too; without them a look costs nothing and waits for no device.
    """

    def __init__(self, *, bits: bool = True) -> None:
        self._bits = bits
        self._seen: list[_Seen] = []

    def give(self, name: str, value: Any) -> Any:
        """The value as it is to be handed out, under watch from now on.

        Args:
            name: under which a complaint speaks of it.
            value: tensors, arrays, mappings, lists and tuples of such are looked into; anything else is given as it is.
        """
        return read_only(value, name, self._watch)

    def _watch(self, name: str, value: Any) -> None:
        if isinstance(value, Tensor):
            self._seen.append(_Seen(name, value, _version(value), _bits(value) if self._bits else None))

    @contextmanager
    def to(self, who: str) -> Iterator[None]:
        """A context in which a component works with what it was given.

        Args:
            who: the component: ``metric 'retrieval'``.
        Raises:
            TrialbookError: it has changed something of it.
        """
        try:
            yield
        except (ValueError, TypeError, AttributeError) as error:
            if not any(word in str(error) for word in _REFUSED):
                raise
            raise TrialbookError(
                f"{who} writes to what it was given, which others are given as well ({error}); let it work on a copy"
            ) from error
        self.check(who)

    def check(self, who: str) -> None:
        """Complain of a component that changed a tensor.

        Raises:
            TrialbookError: one is other than it was.
        """
        for one in self._seen:
            if _version(one.tensor) != one.version or (self._bits and _bits(one.tensor) != one.bits):
                raise TrialbookError(
                    f"{who} changes '{one.name}' in place, which others are given as well; let it work on a copy (.clone())"
                )


def _version(tensor: Tensor) -> int | None:
    return None if tensor.is_inference() else tensor._version


def _bits(tensor: Tensor) -> int | None:
    """A checksum of a tensor's bits, at most ``_MOST`` of its numbers; None for what is not stored as numbers in a row."""
    if tensor.layout != torch.strided or not tensor.is_contiguous() or tensor.is_meta or tensor.is_quantized:
        return None
    flat = tensor.detach().reshape(-1)
    flat = flat[:: max(1, -(-len(flat) // _MOST))]
    own = flat.contiguous().view(torch.uint8)
    return zlib.crc32(own.numpy().data) if tensor.device.type == "cpu" else int(own.sum(dtype=torch.int64))
