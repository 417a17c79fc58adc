"""The common parts of encoders of raw pixels: images of one known size, and their patches in raster order."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from trialbook import TrialbookError
from trialbook.contracts.datasets import Modality, Raw


def patch_grid(modality: Modality, patch: int) -> tuple[int, int]:
    """Rows and columns of patches of side ``patch`` pixels in the images of ``modality``.

    Raises:
        TrialbookError: the sizes of the images differ, or ``patch`` does not divide height and width.
    """
    if len(modality.shape) != 3 or not all(modality.shape):
        raise TrialbookError("images of different sizes cannot be cut into one grid: let the dataset resize them")
    _, height, width = modality.shape
    if patch < 1 or height % patch or width % patch:
        raise TrialbookError(f"patch ({patch}) must divide both sides of the images ({height} x {width})")
    return height // patch, width // patch


def stack_images(raw: Raw, shape: tuple[int, ...]) -> Tensor:
    """Images as one uint8 tensor [B, C, H, W].

    Raises:
        TrialbookError: an image has not the ``shape`` [C, H, W] that the encoder was made for.
    """
    for image in raw:
        if tuple(image.shape) != tuple(shape):
            raise TrialbookError(f"the encoder was made for images of shape {list(shape)}, not {list(image.shape)}")
    return torch.from_numpy(np.ascontiguousarray(raw, dtype=np.uint8)).reshape(-1, *shape)


def cut_patches(images: Tensor, patch: int) -> Tensor:
    """Pixels 0 to 255 of [B, C, H, W] -> [B, N, C P P], scaled to [-1, 1]; patches in raster order, channels first."""
    batch, channels, height, width = images.shape
    rows, columns = height // patch, width // patch
    pixels = images.float() / 127.5 - 1
    cut = pixels.reshape(batch, channels, rows, patch, columns, patch).permute(0, 2, 4, 1, 3, 5)
    return cut.reshape(batch, rows * columns, channels * patch * patch)
