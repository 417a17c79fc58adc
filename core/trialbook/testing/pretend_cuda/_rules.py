"""The effects of operations on CUDA that results do not show: wait for the device, take tensors of the host, draw numbers."""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import torch

_aten: Any = torch.ops.aten

#: The host reads a result, or its size, before the operation can end. Name without overload to the kind of the wait.
_WAITS: dict[str, str] = {
    "_local_scalar_dense": "item", "is_nonzero": "item", "allclose": "item", "equal": "equal", "nonzero": "nonzero",
    "masked_select": "masked_select", "_unique": "unique", "_unique2": "unique", "unique_dim": "unique",
    "unique_consecutive": "unique", "unique_dim_consecutive": "unique", "bincount": "bincount", "multinomial": "multinomial",
    "_linalg_check_errors": "check of a linear solver", "_linalg_eigh": "eigh", "_linalg_svd": "svd", "linalg_eig": "eig",
    "linalg_lstsq": "lstsq", "embedding_renorm_": "embedding with max_norm", "_to_sparse": "to_sparse",
}  # fmt: skip

#: Operations on elements that torch does not tag as such: they take a number as a tensor on the CPU.
_TAKE_NUMBERS = {
    "fill", "fill_", "masked_fill", "masked_fill_", "index_fill", "index_fill_", "index_put", "index_put_",
    "_fused_adamw_", "_fused_adam_", "_fused_sgd_", "_fused_adagrad_",
}  # fmt: skip

#: Operations whose indices may lie on the CPU.
INDEXING = {"index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index", "_unsafe_index_put"}

#: Of these, the ones that fill where a mask says so, without looking for its rows, if the value is a number.
_FILLING = {"index_put", "index_put_", "_index_put_impl_"}


class Operation(NamedTuple):
    """The known properties of an operation.

    Args:
        name: without its overload.
        wait: kind of the wait for the device; empty if there is none.
        takes_numbers: whether it takes tensors without dimensions that lie on the CPU.
        draws: whether it draws random numbers.
        takes_generator: whether it can be told where to draw them from.
        reshapes: whether it may change the shape of what it is given.
        changes: how many of the first arguments it writes to, and whether it has an ``out``.
    """

    name: str
    wait: str
    takes_numbers: bool
    draws: bool
    takes_generator: bool
    reshapes: bool
    changes: frozenset[str]


@cache
def describe(func: Any) -> Operation:
    """Return what is known of an operation (an ``OpOverload``)."""
    schema, tags = func._schema, func.tags
    name = schema.name.partition("::")[2]
    changes = frozenset(a.name for a in schema.arguments if a.alias_info is not None and a.alias_info.is_write)
    return Operation(
        name=name,
        wait=_WAITS.get(name, "") if func.namespace == "aten" else "",
        takes_numbers=torch.Tag.pointwise in tags or name in _TAKE_NUMBERS or name.startswith("_foreach_"),
        draws=torch.Tag.nondeterministic_seeded in tags,
        takes_generator=any(argument.name == "generator" for argument in schema.arguments),
        reshapes=torch.Tag.inplace_view in tags or name in ("resize_", "set_") or any(
            argument.is_out for argument in schema.arguments
        ),
        changes=changes,
    )  # fmt: skip


def find_wait(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    """The kind of the wait that an operation on tensors of the device makes; empty if there is none."""
    known = describe(func)
    if func is _aten.repeat_interleave.Tensor or func is _aten.repeat_interleave.self_Tensor:
        return "" if kwargs.get("output_size") is not None else "repeat_interleave"
    if func is _aten.histc.default:
        low, high = (*args[2:4], 0, 0)[:2] if len(args) > 2 else (kwargs.get("min", 0), kwargs.get("max", 0))
        return "histc without a range" if low == high else ""
    if func is _aten.isin.Tensor_Tensor:
        few = args[1].numel() < 10 * max(args[0].numel(), 1) ** 0.145  # torch compares with each of them
        return "" if few or kwargs.get("assume_unique") else "isin of many"
    return known.wait


def fills_by_mask(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Return whether ``x[mask] = number`` skips looking for the rows of the mask, as CUDA does with a number of the host."""
    if name not in _FILLING or len(args) < 3:
        return False
    accumulate = args[3] if len(args) > 3 else kwargs.get("accumulate", False)
    masks = [index for index in args[1] if index is not None]
    value = args[2]
    plain = not getattr(value, "is_cuda", False) and value.numel() == 1
    return plain and not accumulate and len(masks) == 1 and masks[0].dtype in (torch.bool, torch.uint8)
