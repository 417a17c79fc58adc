"""Tensors that claim to lie on ``cuda:0``: wrappers around tensors of the CPU that hold their values."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from trialbook.testing.pretend_cuda._faults import NotOnHost

if TYPE_CHECKING:
    from trialbook.testing.pretend_cuda._device import PretendDevice

CUDA = torch.device("cuda", 0)

#: What C++ takes for the device of a wrapper. ``meta`` needs no driver and no thread of its own in the backward pass; its
#: index tells it from the real one.
CARRIER = torch.device("meta", 7)

_KEYS = torch._C.DispatchKeySet(torch._C.DispatchKey.AutocastCUDA)
_active: PretendDevice | None = None


def active() -> PretendDevice:
    """The device that is on.

    Raises:
        RuntimeError: none is: a tensor has outlived its device.
    """
    if _active is None:
        raise RuntimeError("this tensor was made in a `with pretend_cuda()` block that has ended")
    return _active


def set_active(device: PretendDevice | None) -> None:
    """Turn a device on, or off."""
    global _active
    _active = device


def pretended() -> PretendDevice | None:
    """The pretend device, if one is on."""
    return _active


class PretendTensor(Tensor):
    """A tensor on the pretend device.

    Args:
        host: its values, on the CPU.
    """

    host: Tensor

    @staticmethod
    def __new__(cls, host: Tensor) -> PretendTensor:
        """A wrapper of the same shape and strides."""
        made: PretendTensor = Tensor._make_wrapper_subclass(
            cls, host.shape, strides=host.stride(), storage_offset=host.storage_offset(), dtype=host.dtype,
            layout=host.layout, device=CARRIER, _extra_dispatch_keys=_KEYS,
        )  # fmt: skip
        made.host = host
        return made

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Indices are looked at before C++ does, which would make them on the wrapper's device; all else is left as it is.

        Methods ``__getitem__`` and ``__setitem__`` would do, but would make a sequence of the tensor in the eyes of C.
        """
        if func is Tensor.__getitem__:
            args = (args[0], _indices(args[1]))
        elif func is Tensor.__setitem__:
            args = (args[0], _indices(args[1]), _number_of_host(args[0], args[2]))
        with torch._C.DisableTorchFunctionSubclass():
            return func(*args, **(kwargs or {}))

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # type: ignore[override]
        """Compute where the mode is not on: in a thread that was not started through ``threading``."""
        return active().compute(func, args, kwargs or {})

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        """``cuda:0``."""
        return CUDA

    is_cuda = property(lambda self: True)
    is_meta = property(lambda self: False)

    def get_device(self) -> int:
        """Index of the device."""
        return 0

    def is_shared(self) -> bool:
        """As CUDA's tensors are."""
        return True

    def record_stream(self, stream: Any) -> None:
        """Nothing: there is one stream."""

    def data_ptr(self) -> int:
        """Address of the values on the host: equal for tensors that share them."""
        return self.host.data_ptr()

    def untyped_storage(self) -> torch.UntypedStorage:
        """Storage of the values on the host."""
        return self.host.untyped_storage()

    def tolist(self) -> Any:
        """The values, after a wait."""
        active().count_wait("tolist")
        return self.host.tolist()

    def numpy(self, *args: Any, **kwargs: Any) -> Any:
        """Raise as CUDA does."""
        raise _not_on_host("numpy")

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        """Raise as CUDA does."""
        raise _not_on_host("__array__")

    def __format__(self, spec: str) -> str:
        """As of a plain tensor: a number is read, which waits."""
        return format(self.item(), spec) if self.dim() == 0 else object.__format__(self, spec)

    def __repr__(self, *, tensor_contents: Any = None) -> str:  # type: ignore[override]
        """As of a plain tensor."""
        active().count_wait("repr")
        grad = ", requires_grad=True" if self.requires_grad else ""
        text = f"{repr(self.host)[:-1]}, device='cuda:0'{grad})"
        return f"Parameter containing:\n{text}" if isinstance(self, nn.Parameter) else text

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        """A copy of a leaf; a parameter stays one."""
        if id(self) in memo:
            return memo[id(self)]
        if not self.is_leaf:
            raise RuntimeError("only tensors that were created explicitly (graph leaves) support deepcopy")
        made: Tensor = PretendTensor(self.host.clone())
        if isinstance(self, nn.Parameter):
            made = nn.Parameter(made, requires_grad=self.requires_grad)
        else:
            made.requires_grad_(self.requires_grad)
        if self.grad is not None:
            made.grad = copy.deepcopy(self.grad, memo)
        memo[id(self)] = made
        return made

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Written as a tensor of the CPU that goes back to the device when it is read."""
        return _restore, (self.detach().cpu(), isinstance(self, nn.Parameter), self.requires_grad)

    def new_tensor(self, data: Any, **options: Any) -> Tensor:  # type: ignore[override]
        """A tensor of values of the host, on this device unless another is given."""
        return torch.tensor(data, **{"dtype": self.dtype, "device": CUDA, **options})

    def type(self, dtype: Any = None, non_blocking: bool = False, **kwargs: Any) -> Any:
        """Name of the legacy type, or the tensor in another dtype."""
        if dtype is None:
            return self.host.type().replace("torch.", "torch.cuda.")
        return self.to(dtype, non_blocking=non_blocking)


def unwrap(value: Any) -> Any:
    """The same with the values of the host in place of tensors of the device, in lists and tuples too."""
    if isinstance(value, PretendTensor):
        return value.host
    if isinstance(value, list | tuple):
        return [unwrap(one) for one in value]
    return value


def refresh(wrapper: PretendTensor) -> None:
    """Take over the shape and strides of the values, after an operation that changed them in place."""
    host = wrapper.host
    if wrapper.shape != host.shape or wrapper.stride() != host.stride():
        torch._C.TensorBase.data.__set__(wrapper, PretendTensor(host))  # type: ignore[attr-defined]


def _number_of_host(target: Tensor, value: Any) -> Any:
    """Return what is put into a tensor of the device: a number is a tensor of the host, as in torch."""
    if isinstance(target, PretendTensor) and isinstance(value, int | float | complex | np.generic):
        return torch.tensor(value, dtype=target.dtype, device="cpu")
    return value


def _indices(index: Any) -> Any:
    """Indices given as lists or arrays become tensors of the host, as in torch."""
    if isinstance(index, tuple):
        return tuple(map(_indices, index))
    if isinstance(index, np.ndarray):
        return torch.from_numpy(index)
    if isinstance(index, list):
        if any(one is None or isinstance(one, slice) or one is Ellipsis for one in index):
            return tuple(map(_indices, index))
        return torch.tensor([one.item() if isinstance(one, Tensor) else one for one in index], device="cpu")
    return index


def _not_on_host(operation: str) -> NotOnHost:
    message = (
        "can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() to copy the tensor to host memory first."
    )
    return NotOnHost(message, operation, active().place())


def _restore(host: Tensor, parameter: bool, requires_grad: bool) -> Tensor:
    made = host.to(CUDA)
    return nn.Parameter(made, requires_grad=requires_grad) if parameter else made.requires_grad_(requires_grad)
