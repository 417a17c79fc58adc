"""The contract of encoders that can fill in hidden tokens, part of ``trialbook.contracts``, from where it is to be imported."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol, runtime_checkable

from torch import Tensor, nn


class Reconstruction(NamedTuple):
    """What was made of the tokens of a batch, and what they are.

    Args:
        predicted: logits [B, N, V] where ``target`` holds integers, else values [B, N, P].
        target: int64 [B, N], or values [B, N, P].
        real: which values of ``target`` are data and not padding, bool [B, N, P] on the CPU; None where all are.
    """

    predicted: Tensor
    target: Tensor
    real: Tensor | None = None


@runtime_checkable
class Reconstructs(Protocol):
    """Optional for an encoder: it can be asked what stands in tokens that are hidden from it."""

    def reconstructor(self) -> nn.Module:
        """What has to be learned for that beside the encoder itself, made anew; whoever asks keeps and trains it."""

    def real_tokens(self, prepared: Any) -> Tensor:
        """Which tokens of prepared rows are no padding: bool [B, N], on the CPU wherever the rows are, as it decides shapes."""

    def reconstruct(self, prepared: Any, hidden: Tensor, reconstructor: nn.Module) -> Mapping[str, Reconstruction]:
        """Every token from those that are not ``hidden`` (bool [B, N]), by the name of what is predicted of it."""
