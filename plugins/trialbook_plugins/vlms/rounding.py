"""The tolerance between two computations of the same tensor, by the number format that their results are rounded to."""

from __future__ import annotations

import torch
from torch import Tensor

_LEAST_RELATIVE, _LEAST_ABSOLUTE = 1e-3, 1e-5
"""The effect of sums in another order on float32; formats that round more coarsely are allowed their rounding."""


def rounding(dtype: torch.dtype) -> float:
    """Largest relative error of one rounding: 2⁻⁸ in bfloat16, 2⁻¹¹ in float16, 2⁻²⁴ in float32."""
    return torch.finfo(dtype).eps / 2


def tolerances(of: Tensor, times: int = 1) -> dict[str, float]:
    """``rtol`` and ``atol`` for ``torch.allclose`` with a tensor that was computed once more, and rounded ``times`` times.

    Two results that differ by rounding are neighbours, which lie up to two roundings of their value from one another. A value
    that is small because larger ones cancelled in it is as wrong as these are: by a rounding of what is usual in the tensor.
    """
    unit = times * rounding(of.dtype)
    usual = float(of.float().square().mean().sqrt())
    return {"rtol": max(_LEAST_RELATIVE, 2 * unit), "atol": max(_LEAST_ABSOLUTE, unit * usual)}


def alike(one: Tensor, other: Tensor, times: int = 1) -> bool:
    """Return whether two tensors of any shapes hold the same numbers in the same order, but for rounding, ``times`` times."""
    if one.numel() != other.numel():
        return False
    flat = (one.float().flatten(), other.float().flatten())
    return torch.equal(*flat) or torch.allclose(*flat, **tolerances(other, times))


def distance_between(one: Tensor, other: Tensor) -> float:
    """The Euclidean distance of two tensors of as many numbers."""
    return float((one.float().flatten() - other.float().flatten()).norm())
