"""Encoder ``patches``: the pixels of image patches with features of their positions; nothing to learn."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from trialbook import TrialbookError
from trialbook.contracts import Features
from trialbook.contracts.datasets import Modality, Raw

from ._images import cut_patches, patch_grid, stack_images


class Patches(nn.Module):
    """Flattened pixels of image patches, scaled to [-1, 1], in raster order, each followed by where it lies.

    It has no parameters, so that all seeds share what is stored of it. The position is appended, not added: a linear
    layer behind it can then use or ignore it without unmixing it from the pixels.

    Args:
        modality: of kind ``image``, all of one size.
        patch: side P of a patch in pixels; must divide height and width.
        positions: number of sine and cosine features of the position, a multiple of 4; 0 leaves them out.

    Raises:
        TrialbookError: ``patch`` does not divide the image, the sizes of images differ, or ``positions`` is not a
            multiple of 4.

    Source: 2-D sine-cosine positions of Chen et al. 2021 (MoCo v3), half of the features for each axis. Deviation:
    appended instead of added.
    """

    accepts: ClassVar[tuple[str, ...]] = ("image",)

    def __init__(self, modality: Modality, /, *, patch: int = 8, positions: int = 32) -> None:
        super().__init__()
        if positions < 0 or positions % 4:
            raise TrialbookError(f"positions ({positions}) must be a multiple of 4")
        rows, columns = patch_grid(modality, patch)
        self.shape = modality.shape
        self.patch = patch
        self.dim = modality.shape[0] * patch * patch + positions
        self.places: Tensor
        self.register_buffer("places", sine_positions(rows, columns, positions), persistent=False)

    def prepare(self, raw: Raw) -> Tensor:
        """Images as uint8 [B, C, H, W]."""
        return stack_images(raw, self.shape)

    def forward(self, prepared: Tensor) -> Features:
        """[B, C, H, W] -> [B, N, D] with D = C P P + positions."""
        pixels = cut_patches(prepared, self.patch)
        return Features(torch.cat([pixels, self.places.expand(len(pixels), -1, -1)], dim=-1))


def sine_positions(rows: int, columns: int, width: int) -> Tensor:
    """Sine and cosine of each patch's row and column, at ``width / 4`` falling frequencies from 1 on: [N, width]."""
    quarter = width // 4
    frequencies = 10_000.0 ** (-torch.arange(quarter, dtype=torch.float64) / max(quarter, 1))
    row, column = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    angles = [axis.reshape(-1, 1) * frequencies for axis in (row, column)]
    return torch.cat([wave(angle) for angle in angles for wave in (torch.sin, torch.cos)], dim=-1).float()
