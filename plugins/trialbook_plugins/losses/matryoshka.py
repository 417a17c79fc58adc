"""Loss ``matryoshka``."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor, nn


class Matryoshka(nn.Module):
    """Another loss, summed over nested sizes of the embedding: its first 8 numbers must serve, its first 16, and so on.

    Args:
        dim: width of the embeddings.
        of: the loss applied at every size; table ``of``.
        dims: sizes to train, e.g. ``[64, 128, 256, 512]``; numbers beyond the largest are not trained.
        weights: weight of each size; 1 for all if left out.

    Raises:
        ValueError: ``dims`` is empty, repeats a size or has one outside [1, dim], ``weights`` has another length or a
            value below 0, or ``of`` needs more than embeddings.

    Source: Matryoshka Representation Learning, equation 1; RAIVNLab/MRL (weights 1). The embeddings are cut, and
    normalised again by the inner loss.
    """

    needs: ClassVar[tuple[str, ...]] = ("embeddings",)
    parts: ClassVar[Mapping[str, str]] = {"of": "loss"}

    def __init__(self, dim: int, of: nn.Module, /, *, dims: list[int], weights: list[float] | None = None) -> None:
        super().__init__()
        if not dims or len(set(dims)) < len(dims):
            raise ValueError(f"dims ({dims}) must name at least one size, each once")
        if wrong := [size for size in dims if not 1 <= size <= dim]:
            raise ValueError(f"dims ({wrong[0]}) must be from 1 to the width of the embeddings ({dim})")
        if weights is not None and (len(weights) != len(dims) or min(weights) < 0):
            raise ValueError(f"weights ({weights}) must give each of the {len(dims)} sizes a number of at least 0")
        if set(of.needs) != {"embeddings"}:
            raise ValueError(
                f"of: a loss that needs {', '.join(of.needs)} cannot be cut to sizes; it may need embeddings only"
            )
        self.of = of
        self.dims = tuple(dims)
        self.weights = tuple(weights) if weights is not None else (1.0,) * len(dims)
        self._passes: tuple[nn.Module, ...] = ()

    def forward(self, *, embeddings: Mapping[str, Tensor]) -> Tensor:
        """Modality name to rows [B, D], not normalised -> scalar."""
        values, passes = [], []
        for size, weight in zip(self.dims, self.weights, strict=True):
            values.append(weight * self.of(embeddings={m: x[:, :size] for m, x in embeddings.items()}))
            passes.append(copy.copy(self.of))  # the same parameters, but what it knows of this size's pass
        self._passes = tuple(passes)
        return sum(values)

    def report(self) -> Mapping[str, float | Tensor]:
        """Return what the inner loss reports."""
        return self.of.report() if hasattr(self.of, "report") else {}

    def stats(self) -> Mapping[str, float]:
        """Return what the inner loss tells of its last pass; its ``chance`` and ``random`` are weighted sums over the sizes."""
        told = [one.stats() for one in self._passes] if hasattr(self.of, "stats") else []  # type: ignore[operator]
        if not told:
            return {}
        summed = [key for key in ("chance", "random") if all(key in facts for facts in told)]
        sums = {key: sum(w * facts[key] for w, facts in zip(self.weights, told, strict=True)) for key in summed}
        return {**told[-1], **sums}

    def after_step(self) -> None:
        """Pass on to the inner loss."""
        if hasattr(self.of, "after_step"):
            self.of.after_step()
