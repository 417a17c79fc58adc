"""Losses ``lpips`` and ``perceptual-random``: how far pictures lie apart for a network of convolutions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar

from torch import Tensor, nn

from trialbook.contracts.records import Event
from trialbook_plugins.probes.perceptual import lpips, notes_of, perceptual_random


class LPIPS(nn.Module):
    """Learned perceptual distance of the pictures from what they should be, mean over pictures; clips frame by frame.

    Args:
        files: ``lpips_backbone`` (torchvision's AlexNet) and, where the package lpips is not installed, ``lpips_heads``, from
            ``[files]`` of ``runner.toml``.

    Raises:
        TrialbookError: a file is missing: without its weights this would not be LPIPS.

    Source: Zhang et al. 2018, version 0.1 with AlexNet.
    """

    needs: ClassVar[tuple[str, ...]] = ("pictures", "targets")
    learns: ClassVar[bool] = False

    def __init__(self, files: Mapping[str, Path], /) -> None:
        super().__init__()
        self.distance = lpips(files.get("lpips_backbone"), files.get("lpips_heads"))

    def notes(self) -> Iterator[Event]:
        """That the weights are not the published ones, where they are not."""
        return notes_of(self.distance)

    def forward(self, pictures: Tensor, targets: Tensor) -> Tensor:
        """Pictures and targets [B, T, 3, H, W] in 0 to 1."""
        return _mean(self.distance, pictures, targets)


class PerceptualRandom(nn.Module):
    """The same distance with random filters and equal heads: it needs no weights, and is not LPIPS.

    Args:
        seed: of the filters.

    Source: the architecture of Zhang et al. 2018; random filters as a perceptual loss: Liu et al. 2021, "Generic
    Perceptual Loss".
    """

    needs: ClassVar[tuple[str, ...]] = ("pictures", "targets")
    learns: ClassVar[bool] = False

    def __init__(self, *, seed: int = 0) -> None:
        super().__init__()
        self.distance = perceptual_random(seed)

    def forward(self, pictures: Tensor, targets: Tensor) -> Tensor:
        """Pictures and targets [B, T, 3, H, W] in 0 to 1."""
        return _mean(self.distance, pictures, targets)


def _mean(distance: nn.Module, pictures: Tensor, targets: Tensor) -> Tensor:
    found: Tensor = distance(pictures.flatten(0, 1), targets.flatten(0, 1))
    return found.mean()
