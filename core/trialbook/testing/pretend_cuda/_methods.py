"""Functions of torch that look at devices before an operation is dispatched."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from trialbook.testing.pretend_cuda._attributes import replace
from trialbook.testing.pretend_cuda._dispatch import is_ours
from trialbook.testing.pretend_cuda._tensor import CARRIER, CUDA, PretendTensor

_to = Tensor.to
_swap: Any = torch.utils.swap_tensors  # it has no types
_data: Any = Tensor.data


def replace_methods(stack: ExitStack) -> None:
    """Replace them until the stack is closed."""
    replace(stack, Tensor, "to", _moved)
    replace(stack, Tensor, "cuda", _moved_to_cuda)
    for function in (torch.as_tensor, torch.asarray):
        replace(stack, torch, function.__name__, _with_index(function))
    replace(stack, torch, "tensor", _of_numbers(torch.tensor))
    replace(stack, Tensor, "data", property(lambda tensor: _data.__get__(tensor), _set_data))
    before = torch.__future__.get_swap_module_params_on_conversion()
    stack.callback(torch.__future__.set_swap_module_params_on_conversion, before)
    torch.__future__.set_swap_module_params_on_conversion(True)  # modules keep their parameters when these move


def _moved(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """``Tensor.to``: a tensor that is on the device already stays what it is."""
    home = CARRIER if isinstance(self, PretendTensor) else CUDA
    if args and _names_cuda(args[0]):
        args = (home, *args[1:])
    if _names_cuda(kwargs.get("device")):
        kwargs = {**kwargs, "device": home}
    return _to(self, *args, **kwargs)


def _with_index(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """A function that makes tensors and asks the driver where one has a device without its index."""

    def made(*args: Any, **kwargs: Any) -> Tensor:
        if _names_cuda(kwargs.get("device") or torch.get_default_device()):
            kwargs = {**kwargs, "device": CUDA}
        return function(*args, **kwargs)

    return made


def _of_numbers(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """``torch.tensor``: it reads the tensors of one number that a list holds, which waits for each."""

    def numbers(data: Any) -> Any:
        if isinstance(data, PretendTensor) and not data.dim():
            return data.item()
        return type(data)(map(numbers, data)) if type(data) in (list, tuple) else data

    def made(data: Any, *args: Any, **kwargs: Any) -> Tensor:
        return function(data if isinstance(data, Tensor) else numbers(data), *args, **kwargs)

    return made


def _moved_to_cuda(self: Tensor, device: Any = None, non_blocking: bool = False, **kwargs: Any) -> Tensor:
    """``Tensor.cuda``."""
    return _moved(self, CUDA if device is None else device, non_blocking=non_blocking, **kwargs)


def _set_data(self: Tensor, value: Tensor) -> None:
    """``tensor.data = value``, from one device to the other, too."""
    if isinstance(self, PretendTensor) == isinstance(value, PretendTensor):
        _data.__set__(self, value)
        if isinstance(self, PretendTensor) and isinstance(value, PretendTensor):
            self.host = value.host
        return
    new = value.detach()
    _swap(self, nn.Parameter(new, self.requires_grad) if isinstance(self, nn.Parameter) else new)


def _names_cuda(value: Any) -> bool:
    if isinstance(value, bool) or value is None:
        return False
    if isinstance(value, str) and not value.startswith("cuda"):
        return False
    if isinstance(value, int):
        value = torch.device("cuda", value)
    return isinstance(value, str | torch.device) and is_ours(torch.device(value))
