"""Metrics ``lpips`` and ``perceptual-random``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar

import torch

from trialbook.contracts import CPU, device_of
from trialbook.contracts.records import Event
from trialbook_plugins.metrics._pictures import by_row, with_interval
from trialbook_plugins.probes.perceptual import lpips, notes_of, perceptual_random
from trialbook_plugins.probes.rows import Rows

_FIGURES = ("distance", "distance/low", "distance/high")


class LPIPS:
    """Learned perceptual distance of pictures from what they should be, with its 95% interval over rows.

    Args:
        files: ``lpips_backbone`` (torchvision's AlexNet) and, where the package lpips is not installed, ``lpips_heads``, from
            ``[files]`` of ``runner.toml``.
        device: where pictures are compared.

    Raises:
        TrialbookError: a file is missing: without its weights this would not be LPIPS. Use ``perceptual-random``, which says so.

    Source: Zhang et al. 2018, version 0.1 with AlexNet.
    """

    needs: ClassVar[tuple[str, ...]] = ("pictures", "targets")
    produces: ClassVar[tuple[str, ...]] = _FIGURES
    lower_is_better: ClassVar[tuple[str, ...]] = _FIGURES

    def __init__(self, files: Mapping[str, Path], device: torch.device = CPU, /) -> None:
        self._distance = lpips(files.get("lpips_backbone"), files.get("lpips_heads")).to(device)

    def notes(self) -> Iterator[Event]:
        """That the weights are not the published ones, where they are not."""
        return notes_of(self._distance)

    def compute(self, *, pictures: Rows, targets: Rows) -> dict[str, float]:
        """Distance of pictures uint8 [n, T, 3, H, W] from what they should be."""
        return with_interval("distance", by_row(pictures, targets, self._distance, device_of(self._distance)))


class PerceptualRandom:
    """The same distance with random filters and equal heads: it needs no weights, is not LPIPS, and cannot be compared with it.

    Args:
        device: where pictures are compared.
        seed: of the filters; metrics of different seeds are no more comparable than those of different networks.

    Source: the architecture of Zhang et al. 2018, nothing of it learned.
    """

    needs: ClassVar[tuple[str, ...]] = ("pictures", "targets")
    produces: ClassVar[tuple[str, ...]] = _FIGURES
    lower_is_better: ClassVar[tuple[str, ...]] = _FIGURES

    def __init__(self, device: torch.device = CPU, /, *, seed: int = 0) -> None:
        self._distance = perceptual_random(seed).to(device)

    def compute(self, *, pictures: Rows, targets: Rows) -> dict[str, float]:
        """Distance of pictures uint8 [n, T, 3, H, W] from what they should be."""
        return with_interval("distance", by_row(pictures, targets, self._distance, device_of(self._distance)))
