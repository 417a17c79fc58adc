"""Running a model with its tokens isolated: each one comes from its own place in the picture alone.

Which token stands where is a matter of how a model lays its tokens out, not of what they tell each other, and mixing hides
it: behind trained attention every token knows something of every patch. So attention is made to give each token its own
value, and a convolution that sees its neighbours to see the middle alone. What is left works on each token alone, whatever
the weights are, and the place of a token can be read off exactly.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

_READABLE = ("sdpa", "eager")
"""Implementations of attention whose operations are known here; others are exchanged for the first, which has the same order."""

_SOFTMAX = ("aten::_softmax", "aten::_safe_softmax", "aten::softmax")


@contextmanager
def isolate_tokens(model: nn.Module) -> Iterator[None]:
    """Within, no token of ``model`` knows of another, as far as they meet in attention or in convolutions."""
    fast = torch.backends.mha.get_fastpath_enabled()
    with ExitStack() as stack:
        stack.enter_context(_readable_attention(model))
        stack.callback(torch.backends.mha.set_fastpath_enabled, fast)
        torch.backends.mha.set_fastpath_enabled(False)
        stack.enter_context(_IsolatedTokens())
        yield


@contextmanager
def _readable_attention(model: nn.Module) -> Iterator[None]:
    used = getattr(getattr(model, "config", None), "_attn_implementation", None)
    change = getattr(model, "set_attn_implementation", None)
    if change is None or used is None or used in _READABLE:
        yield
        return
    change(_READABLE[0])
    try:
        yield
    finally:
        change(used)


class _IsolatedTokens(TorchDispatchMode):
    """Changes what attention and convolutions compute, wherever a model calls them."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        name, named = func.name(), kwargs or {}
        if name.startswith("aten::convolution"):
            return func(args[0], _middle(*args[1:7]), *args[2:], **named)
        output = func(*args, **named)
        if "scaled_dot_product" in name:
            _own_value(output[0] if isinstance(output, tuple) else output, *args[:3])
        elif name.startswith(_SOFTMAX):
            _own_weight(output)
        return output


def _own_value(output: Tensor, query: Tensor, key: Tensor, value: Tensor) -> None:
    """Put each token's value in place of what it gathered; queries that are no tokens of the values are left alone."""
    if query.shape[-2] == key.shape[-2]:
        output.copy_(
            value if value.shape == output.shape else value.repeat_interleave(output.shape[-3] // value.shape[-3], -3)
        )


def _own_weight(weights: Tensor) -> None:
    """All weight [..., N, N] on the token itself; scores of something else (experts, classes) are left alone."""
    if weights.dim() > 2 and weights.shape[-1] == weights.shape[-2]:
        weights.copy_(torch.eye(weights.shape[-1], dtype=weights.dtype, device=weights.device).expand_as(weights))


def _middle(
    weight: Tensor, bias: Tensor | None, stride: list[int], padding: list[int], dilation: list[int], transposed: bool
) -> Tensor:
    """A kernel that reaches beyond its own cell, with all but the weight at the cell's first row and column left out."""
    sizes = weight.shape[2:]
    if transposed or all(size <= step for size, step in zip(sizes, stride, strict=True)):
        return weight
    places = [min(-(-pad // step), size - 1) for pad, step, size in zip(padding, dilation, sizes, strict=True)]
    alone = torch.zeros_like(weight)
    at = (slice(None), slice(None), *places)
    alone[at] = weight[at]
    return alone
