"""Loss ``masked-modelling``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trialbook.contracts import Reconstruction, Reconstructs, device_of, places_of, to_device


class MaskedModelling(nn.Module):
    """Some tokens of an encoder's input are hidden, and it has to say what they are from the others.

    What is predicted is the encoder's to say (``trialbook.contracts.Reconstructs``): real values count with their mean squared
    error, choices with their cross-entropy, over the hidden tokens of the batch; several are added up. Of every row the given
    share of its tokens is hidden, rounded, but at least one. Which ones is drawn again in every step of training, from the step's
    own random numbers, and always the same in evaluation. It is drawn on the CPU: the same tokens on every device, and no step
    waits for a GPU to say how many they are.

    Args:
        encoders: trained encoders of the task, by modality.
        modality: whose encoder; the only one that can be asked, if left out.
        share: of the tokens of a row that is hidden.

    Raises:
        ValueError: ``share`` is not between 0 and 1, or ``modality`` names no encoder that is trained and can be asked.

    Source: Devlin et al. 2019, section 3.1, for events; Xie et al. 2022 (SimMIM), section 3, for real values. Deviations: hidden
    tokens are always replaced by a learned one (no random or kept tokens); squares, not absolute values, of differences.
    """

    needs: ClassVar[tuple[str, ...]] = ("encoders", "prepared")

    def __init__(
        self, encoders: Mapping[str, nn.Module], /, *, modality: str | None = None, share: float = 0.3
    ) -> None:
        super().__init__()
        if not 0 < share < 1:
            raise ValueError(f"share ({share}) must be between 0 and 1")
        able = [name for name, encoder in encoders.items() if isinstance(encoder, Reconstructs)]
        wanted = able if modality is None else [name for name in able if name == modality]
        if len(wanted) != 1:
            said = f"are {', '.join(able)}" if able else "is none"
            raise ValueError(
                f"modality ({modality}) must name one encoder that is trained and can fill in tokens; there {said}"
            )
        self.modality = wanted[0]
        self.share = share
        self.reconstructor: nn.Module = encoders[self.modality].reconstructor()  # type: ignore[operator]

    def forward(self, *, encoders: Mapping[str, nn.Module], prepared: Mapping[str, Any]) -> Tensor:
        """Encoders by modality, and what they made of the batch's rows -> scalar."""
        encoder: Any = encoders[self.modality]
        rows = prepared[self.modality]
        hidden = self.hide(encoder.real_tokens(rows).cpu())
        there = to_device(hidden, device_of(encoder))
        told: Mapping[str, Reconstruction] = encoder.reconstruct(rows, there, self.reconstructor)
        return torch.stack([_error(one, hidden) for one in told.values()]).sum()

    def hide(self, real: Tensor) -> Tensor:
        """Choose which tokens are hidden, of those that are real: bool [B, N], both on the CPU."""
        generator = None if self.training else torch.Generator().manual_seed(0)
        noise = torch.rand(real.shape, generator=generator).masked_fill(~real, 2.0)
        count = (self.share * real.sum(dim=1, keepdim=True)).round().clamp(min=1)
        rank = noise.argsort(dim=1).argsort(dim=1)
        return (rank < count) & real


def _error(one: Reconstruction, hidden: Tensor) -> Tensor:
    """Mean over the tokens that are ``hidden`` (bool [B, N], on the CPU), in float32 whatever the precision around it."""
    predicted, target = (_chosen(values.flatten(0, 1), hidden) for values in (one.predicted, one.target))
    if not target.is_floating_point():
        return F.cross_entropy(predicted.float(), target)
    squares = (predicted.float() - target.float()) ** 2
    return (squares if one.real is None else _chosen(squares.flatten(), one.real.cpu()[hidden])).mean()


def _chosen(values: Tensor, which: Tensor) -> Tensor:
    """Those of ``values`` [R, …] that ``which``, R bools on the CPU, is true for; their device is not waited for."""
    return values.index_select(0, places_of(which.numpy(), values.device))
