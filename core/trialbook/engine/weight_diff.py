"""The weights of two runs side by side."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from trialbook.engine.checkpoint import read_checkpoint


@dataclass(frozen=True)
class WeightMatch:
    """The outcome of a comparison of two checkpoints.

    Args:
        step: of both.
        tensors: how many stand side by side.
        verdict: ``equal``, ``within tolerance`` or ``not equal``.
        largest: name of the tensor that differs most, or that only one of the two has.
        difference: its largest difference of two elements as a share of the largest absolute element of either; infinite
            where a tensor is missing, of another shape or not finite.
    """

    step: int
    tensors: int
    verdict: str
    largest: str | None = None
    difference: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        """The same as JSON-able data."""
        return dict(vars(self))


def match_weights(recorded: Path, repeated: Path, tolerance: float) -> WeightMatch:
    """Compare the weights of two checkpoints of one step.

    Raises:
        OSError, ValueError, KeyError: one of them is broken; the message says which file.
    """
    step, gaps = _gaps(recorded, repeated)
    differing = {name: gap for name, gap in gaps.items() if gap is not None}
    if not differing:
        return WeightMatch(step, len(gaps), "equal")
    largest = max(differing, key=lambda name: differing[name])
    verdict = "within tolerance" if differing[largest] <= tolerance else "not equal"
    return WeightMatch(step, len(gaps), verdict, largest, differing[largest])


def tensor_gaps(first: Path, second: Path) -> dict[str, float]:
    """Measure how far the weights of two checkpoints are apart, by tensor: as ``WeightMatch.difference``.

    Raises:
        OSError, ValueError, KeyError: one of them is broken; the message says which file.
    """
    return {name: gap or 0.0 for name, gap in _gaps(first, second)[1].items()}


def _gaps(recorded: Path, repeated: Path) -> tuple[int, dict[str, float | None]]:
    first, second = (read_checkpoint(path) for path in (recorded, repeated))
    one, other = first.tensors["model"], second.tensors["model"]
    return first.step, {name: _gap(one.get(name), other.get(name)) for name in {**one, **other}}


def _gap(first: Tensor | None, second: Tensor | None) -> float | None:
    """Measure how far two tensors are apart; None where they are the same in every bit."""
    if first is None or second is None or first.shape != second.shape or first.dtype != second.dtype:
        return math.inf
    if torch.equal(_bytes(first), _bytes(second)):
        return None
    one, other = first.double(), second.double()
    if not (one.isfinite().all() and other.isfinite().all()):
        return math.inf
    largest = max(one.abs().max().item(), other.abs().max().item())
    return (one - other).abs().max().item() / largest if largest else 0.0


def _bytes(tensor: Tensor) -> Tensor:
    return tensor.contiguous().flatten().view(torch.uint8)
