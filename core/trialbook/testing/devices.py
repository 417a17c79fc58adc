"""The part of every check that runs on the pretend CUDA device: what a component makes must lie where its inputs do."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from trialbook.testing.builder import PartsBuilder
from trialbook.testing.common import Subject, ensure
from trialbook.testing.pretend_cuda import DeviceFault, MixedDevices, NotOnHost, error_place, pretend_cuda, pretended

_HINTS: dict[type[DeviceFault], str] = {
    MixedDevices: "make tensors with `device=x.device`, and keep those of a module as its buffers",
    NotOnHost: "call `.cpu()` before `.numpy()`",
}


@contextmanager
def on_device(subject: Subject, *, trains: bool = True) -> Iterator[tuple[Subject, torch.device]]:
    """A block in which there is a CUDA device, a pretended one if need be.

    It gives the subject with copies of the modules that it was given, as these go to the device and do not come back, and
    the device.

    Args:
        subject: the component under test.
        trains: whether it is trained, if it is a task: the encoders of others are on the device only while they are used.
    Raises:
        AssertionError: something fails in the block; the message says what, where, and how to fix it.
    """
    name = subject.name
    with ExitStack() as stack:
        device = (pretended() or stack.enter_context(pretend_cuda())).device
        try:
            memo: dict[int, Any] = {}
            injected, inputs = (_copied(value, memo, device, trains) for value in (subject.injected, subject.inputs))
            yield replace(subject, injected={**injected, "device": device}, inputs=inputs), device
        except AssertionError:
            raise
        except DeviceFault as fault:
            hint = _HINTS.get(type(fault), "")
            raise AssertionError(f"{name} works on a CPU, but not on a CUDA device: {fault}; {hint}") from fault
        except Exception as error:
            told = f"{type(error).__name__}: {error} ({error_place(error)})"
            raise AssertionError(f"{name} works on a CPU, but not on a CUDA device: {told}") from error


def ensure_on_device(name: str, what: str, value: Any, device: torch.device) -> None:
    """Raise an AssertionError if any tensor in ``value`` lies somewhere else."""
    for tensor in tensors_of(value):
        ensure(
            tensor.device == device,
            f"{name} gives {what} on {tensor.device}, though its inputs and weights lie on {device}; "
            "make tensors with `device=x.device`",
        )


def tensors_of(value: Any) -> Iterator[Tensor]:
    """Tensors in mappings, lists and tuples."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        yield from tensors_of(list(value.values()))
    elif isinstance(value, list | tuple):
        for one in value:
            yield from tensors_of(one)


def modules_of(value: Any) -> Iterator[nn.Module]:
    """Modules in mappings, lists and tuples."""
    if isinstance(value, nn.Module):
        yield value
    elif isinstance(value, Mapping):
        yield from modules_of(list(value.values()))
    elif isinstance(value, list | tuple):
        for one in value:
            yield from modules_of(one)


def _copied(value: Any, memo: dict[int, Any], device: torch.device, trains: bool) -> Any:
    """The same with copies of the modules in it."""
    if isinstance(value, nn.Module):
        return copy.deepcopy(value, memo)
    if isinstance(value, PartsBuilder):
        return value.copied(device, memo, trains=trains)
    if isinstance(value, Mapping):
        return {key: _copied(one, memo, device, trains) for key, one in value.items()}
    if isinstance(value, list | tuple) and not hasattr(value, "_fields"):
        return type(value)(_copied(one, memo, device, trains) for one in value)
    return value
