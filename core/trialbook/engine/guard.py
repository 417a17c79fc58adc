"""Keeping updates that are not finite away from the weights, on a GPU without waiting for it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.optim import Optimizer

_GUARDED = ("loss", "grad_norm")


class BadStep(NamedTuple):
    """The first step whose loss or gradient was not finite: its number (from 0), the name of the value, the value."""

    step: int
    name: str
    value: float


class UpdateGuard:
    """Holds back the update of a step whose loss or gradient norm is NaN or infinite, and all updates after it.

    On a CPU every step is looked at before its update. On a GPU that would wait for the device in every step. There the
    fused optimiser is given a flag that lies on the device (``found_inf``) and skips its update where the flag is set. The
    flag stays set, so the weights remain those of the first bad step, whose place can be found later, and ``first_bad``
    reads it where the host waits for the device anyway.

    With a gradient scaler (fp16) an infinite gradient is no fault: the scaler skips the update and lowers its scale. Only
    the loss counts then.

    Args:
        device: where training computes.
        scaled: a gradient scaler is used.
        ranks: number of processes. With several only the gradient decides on a device, as it is the same on all of them.
    """

    def __init__(self, device: torch.device, *, scaled: bool = False, ranks: int = 1) -> None:
        self.immediate = device.type == "cpu" and not scaled
        self.scaled = scaled
        watched = ("loss",) if scaled else _GUARDED if ranks == 1 or self.immediate else ("grad_norm",)
        self._names = watched
        self._bad: Tensor | None = None
        self._values: Tensor | None = None

    def refuses(self, optimizer: Optimizer, values: Mapping[str, float | Tensor]) -> bool:
        """Look at a step before its update.

        Args:
            optimizer: a fused one; told to skip its update where that is known on the device alone.
            values: ``loss`` and ``grad_norm`` of the step.
        Returns:
            True where the update must not be made, as far as the host knows without waiting.
        """
        if self.immediate:
            return not all(math.isfinite(values[name]) for name in self._names if name in values)
        numbers = torch.stack([torch.as_tensor(values[name]).detach().float() for name in self._names])
        if self._bad is None or self._values is None:
            self._bad = torch.zeros((), dtype=torch.int64, device=numbers.device)
            self._values = torch.zeros_like(numbers)
        self._bad = self._bad + ((self._bad > 0) | ~torch.isfinite(numbers).all())
        self._values = torch.where(self._bad == 1, numbers, self._values)
        if not self.scaled:
            optimizer.found_inf = (self._bad > 0).float()  # type: ignore[attr-defined]
        return False

    def first_bad(self, done: int) -> BadStep | None:
        """The first bad step after ``done`` steps, or None; waits for the device."""
        if self._bad is None or self._values is None or not (count := int(self._bad)):
            return None
        numbers: list[float] = self._values.tolist()
        name, value = next(pair for pair in zip(self._names, numbers, strict=True) if not math.isfinite(pair[1]))
        return BadStep(done - count, name, value)


def non_finite_names(tensors: Mapping[str, Mapping[str, Tensor]], learned: frozenset[str] | set[str]) -> list[str]:
    """Names of tensors of a checkpoint that must not be saved.

    Args:
        tensors: ``model`` and ``optimizer``.
        learned: parameters that are trained. They and the optimiser's moments must be finite; buffers may hold infinities
            (masks do), but no NaN.
    """
    wrong = [name for name, one in tensors["model"].items() if not _sound(one, finite=name in learned)]
    return wrong + [name for name, one in tensors["optimizer"].items() if not _sound(one, finite=True)]


def _sound(tensor: Any, *, finite: bool) -> bool:
    if not tensor.is_floating_point():
        return True
    return bool(torch.isfinite(tensor).all()) if finite else not bool(torch.isnan(tensor).any())
