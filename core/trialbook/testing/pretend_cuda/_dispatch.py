"""Every operation while the device is on: computed on the CPU, checked and counted as CUDA would have it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.multiprocessing import reductions
from torch.utils._python_dispatch import TorchDispatchMode

from trialbook.testing.pretend_cuda._faults import MixedDevices
from trialbook.testing.pretend_cuda._rules import INDEXING, Operation, describe, fills_by_mask, find_wait
from trialbook.testing.pretend_cuda._tensor import CARRIER, PretendTensor, refresh, unwrap

if TYPE_CHECKING:
    from trialbook.testing.pretend_cuda._device import PretendDevice

_aten: Any = torch.ops.aten
_Weak: Any = reductions.StorageWeakRef  # it has no types
_PINNING = (_aten.is_pinned.default, _aten._pin_memory.default)
_CPU = torch.device("cpu")
_ONE_DEVICE = "Expected all tensors to be on the same device"
_BOOLEAN = (torch.bool, torch.uint8)


class DispatchMode(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Hands all operations of a thread to the device.

    It takes the place of torch's fake tensors, below all other modes: there, torch does not look for a driver when a device
    is named.
    """

    def __init__(self, device: PretendDevice) -> None:
        self._mode_key = torch._C._TorchDispatchModeKey.FAKE
        super().__init__()  # type: ignore[no-untyped-call]
        self._device = device

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """No need to keep torch's compiler away (importing it takes seconds): nothing is compiled here."""
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Compute on the device, or at once where nothing but plain tensors of the host is given."""
        if not types and not kwargs and func not in _PINNING:
            return func(*args)
        return self._device.compute(func, args, kwargs or {})


class Computer:
    """Computes operations, on tensors of the host and of the device.

    Args:
        device: what is told of waits and copies.
        generator: where the device's random numbers come from.
    """

    def __init__(self, device: PretendDevice, generator: Any) -> None:
        self._device, self._generator = device, generator
        self.generators: set[int] = {generator._cdata}  # of this device
        self._pinned: dict[int, Any] = {}
        self._special: dict[Any, Callable[[tuple[Any, ...], dict[str, Any]], Any]] = {
            _aten._to_copy.default: self._to_copy,
            _aten.copy_.default: self._copy,
            _aten._foreach_copy_.default: self._copy_all,
            _aten.is_pinned.default: lambda args, kwargs: self._is_pinned(args[0]),
            _aten._pin_memory.default: lambda args, kwargs: self._pin(args[0].clone()),
            _aten._pack_padded_sequence.default: self._pack,
        }

    def __call__(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The result of an operation.

        Raises:
            MixedDevices: CUDA does not take tensors of these devices together.
        """
        special = self._special.get(func)
        if special is not None:
            return special(args, kwargs)
        given = list(_tensors((*args, *kwargs.values())))
        ours = [one for one in given if isinstance(one, PretendTensor)]
        asked = kwargs.get("device")
        if not ours and (asked is None or not is_ours(asked)):
            return self._on_host(func, args, kwargs)
        self._device.initialize()
        known = describe(func)
        if ours:
            self._check(func, known, args, kwargs, given, ours)
            self._count(func, known, args, kwargs)
        there = is_ours(asked) if asked is not None else True
        plain = {key: unwrap(value) for key, value in kwargs.items()}
        plain.pop("pin_memory", None)
        if asked is not None:
            plain["device"] = _CPU if there else asked
        made = self._draw(func, known, [unwrap(one) for one in args], plain, there)
        return self._wrap(made, ours, known.reshapes) if there else made

    def _on_host(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        generator = kwargs.get("generator")
        if generator is not None and generator._cdata in self.generators:
            raise RuntimeError("Expected a 'cpu' device type for generator but found 'cuda'")
        if kwargs.get("pin_memory"):
            return self._pin(func(*args, **{**kwargs, "pin_memory": False}))
        return func(*args, **kwargs)

    def _draw(self, func: Any, known: Operation, args: list[Any], kwargs: dict[str, Any], there: bool) -> Any:
        """Compute on the CPU, with random numbers of the device if the result lies there."""
        generator = kwargs.get("generator")
        if not there or not (known.draws or generator is not None):
            return func(*args, **kwargs)
        if generator is not None:
            if generator._cdata not in self.generators:
                raise RuntimeError("Expected a 'cuda' device type for generator but found 'cpu'")
            return func(*args, **kwargs)
        if known.takes_generator:
            return func(*args, **{**kwargs, "generator": self._generator})
        default = torch.default_generator
        before = default.get_state()
        default.set_state(self._generator.get_state())
        try:
            return func(*args, **kwargs)
        finally:
            self._generator.set_state(default.get_state())
            default.set_state(before)

    def _wrap(self, made: Any, ours: Sequence[PretendTensor], reshapes: bool) -> Any:
        """Wrappers for new tensors, the old ones for those that were changed in place."""
        if isinstance(made, Tensor):
            if isinstance(made, PretendTensor):
                return made
            wrapper = next((one for one in ours if one.host is made), None)
            if wrapper is None:
                return PretendTensor(made)
            if reshapes:
                refresh(wrapper)
            return wrapper
        if isinstance(made, list | tuple):
            return type(made)(self._wrap(one, ours, reshapes) for one in made)
        return made

    def _check(
        self, func: Any, known: Operation, args: tuple[Any, ...], kwargs: dict[str, Any], given: Sequence[Tensor],
        ours: Sequence[PretendTensor],
    ) -> None:  # fmt: skip
        """Check that CUDA takes these tensors together."""
        others = [one for one in given if not isinstance(one, PretendTensor)]
        if known.name in INDEXING:
            if not isinstance(args[0], PretendTensor):
                told = "indices should be either on cpu or on the same device as the indexed tensor (cpu)"
                raise MixedDevices(told, str(func), self._device.place())
            others = [one for one in args[2:3] if isinstance(one, Tensor) and not isinstance(one, PretendTensor)]
        if not others:
            return
        numbers = known.takes_numbers and all(one.dim() == 0 for one in others)
        if not numbers or any(not isinstance(one, PretendTensor) for one in _changed(func, known, args, kwargs)):
            told = f"found at least two devices, cuda:0 and {others[0].device}!"
            raise MixedDevices(f"{_ONE_DEVICE}, but {told}", str(func), self._device.place())

    def _count(self, func: Any, known: Operation, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if known.name in INDEXING:
            given = [one for one in args[1] if isinstance(one, Tensor)]
            if any(not isinstance(one, PretendTensor) for one in given):
                self._device.count_copy("index")
            masks = [one for one in given if isinstance(one, PretendTensor) and one.dtype in _BOOLEAN]
            if masks and not fills_by_mask(known.name, args, kwargs):
                self._device.count_wait("boolean index")
        elif wait := find_wait(func, args, kwargs):
            self._device.count_wait(wait)

    def _to_copy(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        source, asked = args[0], kwargs.get("device")
        there = isinstance(source, PretendTensor)
        goes_there = there if asked is None else is_ours(asked)
        options = {key: value for key, value in kwargs.items() if key != "non_blocking"}
        if options.pop("pin_memory", False) and not goes_there:
            return self._pin(_aten._to_copy.default(unwrap(source), **options))
        if asked is not None and goes_there:
            options["device"] = _CPU
        made = _aten._to_copy.default(unwrap(source), **options)
        if there or goes_there:
            self._device.initialize()
        self._count_transfer(there, goes_there if asked is None or asked.type != "meta" else there, kwargs)
        return PretendTensor(made) if goes_there else made

    def _copy(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        target, source = args[:2]
        blocking = {"non_blocking": args[2] if len(args) > 2 else kwargs.get("non_blocking", False)}
        self._count_transfer(isinstance(source, PretendTensor), isinstance(target, PretendTensor), blocking)
        _aten.copy_.default(unwrap(target), unwrap(source))
        return target

    def _copy_all(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        for target, source in zip(*args[:2], strict=True):
            self._copy((target, source), kwargs)

    def _count_transfer(self, there: bool, goes_there: bool, kwargs: dict[str, Any]) -> None:
        if there and not goes_there:
            self._device.count_wait("copy to the CPU")
        elif goes_there and not there:
            self._device.count_copy("non-blocking" if kwargs.get("non_blocking") else "blocking")

    def _pack(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Packed sequences: their lengths are read on the host."""
        if isinstance(args[1], PretendTensor):
            raise RuntimeError("'lengths' argument should be a 1D CPU int64 tensor, but got 1D cuda:0 Long tensor")
        made = _aten._pack_padded_sequence.default(*map(unwrap, args), **kwargs)
        return (PretendTensor(made[0]), made[1]) if isinstance(args[0], PretendTensor) else made

    def _pin(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        self._pinned = {pointer: one for pointer, one in self._pinned.items() if not one.expired()}
        self._pinned[storage.data_ptr()] = _Weak(storage)
        return tensor

    def _is_pinned(self, tensor: Tensor) -> bool:
        if isinstance(tensor, PretendTensor):
            return False
        found = self._pinned.get(tensor.untyped_storage().data_ptr())
        return found is not None and not found.expired()


def is_ours(device: torch.device) -> bool:
    """Return whether a device is the pretend one.

    Raises:
        RuntimeError: it is a second CUDA device.
    """
    if device.type == "cuda":
        if device.index not in (None, 0):
            raise RuntimeError("CUDA error: invalid device ordinal (the pretend CUDA device is the only one)")
        return True
    return device == CARRIER


def _tensors(values: Any) -> Iterator[Tensor]:
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from _tensors(value)


def _changed(func: Any, known: Operation, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Iterator[Tensor]:
    """Tensors that an operation writes to."""
    if not known.changes:
        return
    for argument, value in zip(func._schema.arguments, args, strict=False):
        if argument.name in known.changes:
            yield from _tensors([value])
    yield from _tensors([value for key, value in kwargs.items() if key in known.changes])
