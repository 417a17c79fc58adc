"""Loss ``l2``."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn


class L2(nn.Module):
    """Mean squared difference from what should be, of pictures or of latents.

    Args:
        on: ``pictures`` (values in 0 to 1) or ``latents`` (normalised): of the latter no picture need be decoded.

    Source: mean squared error.
    """

    needs = ("pictures", "targets")

    def __init__(self, *, on: Literal["pictures", "latents"] = "pictures") -> None:
        super().__init__()
        self.needs = ("latents", "target_latents") if on == "latents" else ("pictures", "targets")

    def forward(
        self, pictures: Tensor | None = None, targets: Tensor | None = None, latents: Tensor | None = None,
        target_latents: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        """Pictures [B, T, 3, H, W] and what they should be, or latents [B, t, h, w, C]."""
        one, other = (latents, target_latents) if pictures is None or targets is None else (pictures, targets)
        if one is None or other is None:
            raise ValueError("l2 needs pictures and targets, or latents and target_latents")
        return nn.functional.mse_loss(one, other)
