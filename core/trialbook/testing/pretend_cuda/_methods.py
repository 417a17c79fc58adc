"""Functions of torch that look at devices before an operation is dispatched."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from functools import cache
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn, overrides
from torch.utils._device import DeviceContext, _device_constructors

from trialbook.testing.pretend_cuda._attributes import replace
from trialbook.testing.pretend_cuda._dispatch import is_ours
from trialbook.testing.pretend_cuda._tensor import CARRIER, CUDA, PretendTensor

_to = Tensor.to
_apply: Any = nn.Module._apply
_make_subclass: Any = Tensor._make_subclass
_swap: Any = torch.utils.swap_tensors  # it has no types
_function_modes: Any = overrides._get_current_function_mode_stack
_data: Any = Tensor.data


def replace_methods(stack: ExitStack) -> None:
    """Replace them until the stack is closed; before, let torch's compiler and contexts remember what they replace."""
    import_module("torch._dynamo")  # otherwise the first step of an optimiser does it
    _device_constructors()
    replace(stack, Tensor, "to", _moved)
    replace(stack, Tensor, "cuda", _moved_to_cuda)
    for function in (torch.tensor, torch.as_tensor, torch.asarray):
        replace(stack, torch, function.__name__, _maker(function))
    replace(stack, Tensor, "data", property(lambda tensor: _data.__get__(tensor), _set_data))
    replace(stack, Tensor, "_make_subclass", staticmethod(_subclass))
    replace(stack, nn.Module, "_apply", _applied)


def _moved(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """``Tensor.to``: a tensor that is on the device already stays what it is."""
    home = CARRIER if isinstance(self, PretendTensor) else CUDA
    if args and _names_cuda(args[0]):
        args = (home, *args[1:])
    if _names_cuda(kwargs.get("device")):
        kwargs = {**kwargs, "device": home}
    return _to(self, *args, **kwargs)


def _maker(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """A function that makes a tensor of values, some of which may lie on the device: each of these is read, which waits."""

    def made(data: Any, *args: Any, **kwargs: Any) -> Tensor:
        if _names_cuda(kwargs.get("device") or default_device()):
            kwargs = {**kwargs, "device": CUDA}
        return function(_read(data), *args, **kwargs)

    return made


def default_device() -> torch.device | None:
    """Return the device of tensors made without naming one; None for the CPU. (torch's own function makes one to find out.)"""
    contexts = [mode for mode in _function_modes() if isinstance(mode, DeviceContext)]
    return contexts[-1].device if contexts else None


def _read(data: Any) -> Any:
    """Nested lists with numbers in place of tensors of the device."""
    if not isinstance(data, list | tuple) or not any(isinstance(one, list | tuple | PretendTensor) for one in data):
        return data
    return [one.tolist() if isinstance(one, PretendTensor) else _read(one) for one in data]


def _moved_to_cuda(self: Tensor, device: Any = None, non_blocking: bool = False, **kwargs: Any) -> Tensor:
    """``Tensor.cuda``."""
    return _moved(self, CUDA if device is None else device, non_blocking=non_blocking, **kwargs)


def _applied(self: nn.Module, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> nn.Module:
    """``Module._apply``, behind all methods that move modules: parameters stay the same objects, as on CUDA."""
    for parameter in self._parameters.values():
        if parameter is not None:
            with torch.no_grad():
                moved = fn(parameter)
            if isinstance(moved, PretendTensor) != isinstance(parameter, PretendTensor):
                parameter.data = moved
    module: nn.Module = _apply(self, fn, recurse)
    return module


def _set_data(self: Tensor, value: Tensor) -> None:
    """``tensor.data = value``, from one device to the other, too; then the gradient goes with it."""
    if isinstance(self, PretendTensor) == isinstance(value, PretendTensor):
        _data.__set__(self, value)
        if isinstance(self, PretendTensor) and isinstance(value, PretendTensor):
            self.host = value.host
        return
    kind, held, grad, new = type(self), dict(self.__dict__), self.grad, value.detach()
    _swap(self, nn.Parameter(new, self.requires_grad) if isinstance(self, nn.Parameter) else new)
    if kind not in (Tensor, nn.Parameter, PretendTensor):  # a parameter of a library's own: quantised ones are such
        self.__class__ = _there(kind) if isinstance(value, PretendTensor) else kind.plain  # type: ignore[attr-defined]
        self.__dict__ = {**held, **self.__dict__}
    if grad is not None:
        self.grad = grad.host.clone() if isinstance(grad, PretendTensor) else PretendTensor(grad.clone())


def _subclass(cls: type[Tensor], data: Tensor, require_grad: bool = False, **more: Any) -> Tensor:
    """``Tensor._make_subclass``, by which libraries make parameters of their own kind."""
    if not isinstance(data, PretendTensor):
        tensor: Tensor = _make_subclass(cls, data, require_grad, **more)
        return tensor
    made: Any = PretendTensor(data.host)
    made.__class__ = _there(cls)
    parameter: Tensor = made.requires_grad_(require_grad)
    return parameter


@cache
def _there(kind: type[Tensor]) -> type[Tensor]:
    """A class of tensors on the device that are of another kind besides."""
    return type(f"Pretend{kind.__name__}", (PretendTensor, kind), {"plain": kind})


def _names_cuda(value: Any) -> bool:
    if isinstance(value, bool) or value is None:
        return False
    if isinstance(value, str) and not value.startswith("cuda"):
        return False
    if isinstance(value, int):
        value = torch.device("cuda", value)
    return isinstance(value, str | torch.device) and is_ours(torch.device(value))
