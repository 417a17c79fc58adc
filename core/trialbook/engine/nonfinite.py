"""The place where a value first was not finite; the module is found by repeating the step with hooks on every module."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

#: What is said of the place where a value first was not finite.
_WHERE = {
    "parameter": ": {module} has parameters that are not finite",
    "input": ": the batch has values that are not finite",
    "output": ": {module} makes it of finite inputs",
    "gradient": ": the backward pass of {module} makes it",
    "vanished": "",
}


def locate(root: nn.Module, losses: Callable[[], Mapping[str, Tensor]], batch: Any) -> dict[str, Any]:
    """The first part of a step that gives NaN or infinity.

    Args:
        root: the trained module.
        losses: makes the forward pass of the step again, with the same random numbers.
        batch: what goes into it.
    Returns:
        ``module`` (empty for the task's own code) and ``how``: ``parameter`` (it is not finite already), ``input`` (what
        the batch has under this key is not), ``output`` (the module makes it of finite inputs), ``gradient`` (its
        backward pass makes it), or ``vanished`` where the step is finite when it is gone through again.
    """
    for name, parameter in root.named_parameters():
        if not _finite(parameter):
            return {"module": name.rpartition(".")[0], "how": "parameter"}
    if not _finite(batch):
        return {"module": _place(batch), "how": "input"}
    found: list[str] = []
    made = _with_hooks(root, lambda name: _forward_hook(name, found), "register_forward_hook", losses)
    if found:
        return {"module": found[0], "how": "output"}
    if not _finite(made):
        return {"module": "", "how": "output"}
    return _locate_gradient(root, losses)


def told_place(found: Mapping[str, Any]) -> str:
    """Say what ``locate`` found, to continue a sentence with; empty where it found nothing."""
    return _WHERE[found["how"]].format(module=found["module"] or "the task itself")


def _locate_gradient(root: nn.Module, losses: Callable[[], Mapping[str, Tensor]]) -> dict[str, Any]:
    found: list[str] = []

    def backward() -> None:
        losses()["loss"].backward()  # type: ignore[no-untyped-call]

    try:
        _with_hooks(root, lambda name: _backward_hook(name, found), "register_full_backward_hook", backward)
    except RuntimeError:  # a module that changes its output in place cannot carry such a hook: ask its parameters
        root.zero_grad(set_to_none=True)
        backward()
    spoilt = [name for name, p in root.named_parameters() if p.grad is not None and not _finite(p.grad)]
    root.zero_grad(set_to_none=True)
    if found:
        return {"module": found[0], "how": "gradient"}
    if spoilt:
        return {"module": spoilt[-1].rpartition(".")[0], "how": "gradient"}
    return {"module": "", "how": "vanished"}


def _with_hooks(root: nn.Module, make: Callable[[str], Any], register: str, work: Callable[[], Any]) -> Any:
    handles = [getattr(module, register)(make(name)) for name, module in root.named_modules() if name]
    try:
        with torch.enable_grad(), warnings.catch_warnings():
            warnings.filterwarnings(
                "ignore", message="Full backward hook is firing"
            )  # inputs are data: as is to be expected
            return work()
    finally:
        for handle in handles:
            handle.remove()


def _forward_hook(name: str, found: list[str]) -> Callable[[nn.Module, Any, Any], None]:
    def hook(module: nn.Module, inputs: Any, output: Any) -> None:
        if _finite(inputs) and not _finite(output):
            found.append(name)

    return hook


def _backward_hook(name: str, found: list[str]) -> Callable[[nn.Module, Any, Any], None]:
    def hook(module: nn.Module, grad_input: Any, grad_output: Any) -> None:
        own = [p.grad for p in module.parameters(recurse=False) if p.grad is not None]
        if _finite(grad_output) and not (_finite(grad_input) and _finite(own)):
            found.append(name)

    return hook


def _finite(value: Any) -> bool:
    return all(bool(torch.isfinite(tensor).all()) for tensor in _tensors(value))


def _place(batch: Any) -> str:
    """The first key of a batch under which something is not finite; empty where it has no keys."""
    named = batch.items() if isinstance(batch, Mapping) else ()
    return next((str(key) for key, value in named if not _finite(value)), "")


def _tensors(value: Any) -> Iterator[Tensor]:
    """Floating-point tensors, however they are nested."""
    if isinstance(value, Tensor):
        if value.is_floating_point():
            yield value.detach()
    elif isinstance(value, Mapping):
        for one in value.values():
            yield from _tensors(one)
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _tensors(one)
