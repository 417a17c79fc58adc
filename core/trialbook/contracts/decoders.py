"""Contract of decoders of images and clips."""

from __future__ import annotations

from typing import NamedTuple, Protocol, runtime_checkable

from torch import Tensor


class LatentShape(NamedTuple):
    """Latents of a row: moments t (1 for an image), rows h, columns w, channels C."""

    times: int
    rows: int
    columns: int
    channels: int


@runtime_checkable
class Decodes(Protocol):
    """Pictures to latents and back, without chance. Injected, if asked for: ``modality: trialbook.contracts.Modality``, whose
    rows it reads.

    Pictures are float [B, T, 3, H, W] in 0 to 1, an image being a clip of T = 1; latents are [B, t, h, w, C].

    Attributes:
        latents: shape of the latents of a row.
    """

    latents: LatentShape

    def encode(self, pictures: Tensor) -> Tensor:
        """Pictures [B, T, 3, H, W] to latents [B, t, h, w, C]."""

    def decode(self, latents: Tensor) -> Tensor:
        """Latents [B, t, h, w, C] to pictures [B, T, 3, H, W], differentiable; values may leave 0 to 1."""
