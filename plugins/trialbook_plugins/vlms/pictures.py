"""Pictures to numbers, with PIL and numpy alone: every image is brought to one size, then scaled and normalised."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from trialbook.contracts.datasets import Raw
from trialbook_plugins.vlms.architecture import Statistics

STATISTICS: dict[Statistics, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "clip": ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "half": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
}


class Pictures:
    """Images of any size as normalised pixels of one size.

    An image is stretched to the size, not cropped or padded, so that a cell of the grid covers the same share of every
    image and boxes relative to the image stay true.

    Args:
        mean: of each channel, taken off pixels in 0…1.
        std: of each channel, divided by.
        scale: what a pixel in 0…255 is multiplied by first.
        resample: number of PIL's filter.
    """

    def __init__(
        self,
        mean: Sequence[float],
        std: Sequence[float],
        scale: float = 1 / 255,
        resample: int = int(Image.Resampling.BICUBIC),
    ) -> None:
        self.mean, self.std, self.scale, self.resample = tuple(mean), tuple(std), scale, resample

    @classmethod
    def of(cls, processor: Any) -> Pictures:
        """As a checkpoint's own preprocessing does it; what it lacks is not done."""
        normalize = getattr(processor, "do_normalize", True)
        mean = processor.image_mean if normalize else (0.0,) * 3
        std = processor.image_std if normalize else (1.0,) * 3
        scale = float(getattr(processor, "rescale_factor", 1 / 255)) if getattr(processor, "do_rescale", True) else 1.0
        resample = getattr(processor, "resample", None)
        return cls(mean, std, scale, int(Image.Resampling.BICUBIC if resample is None else resample))

    def __call__(self, raw: Raw, size: tuple[int, int]) -> Tensor:
        """uint8 images [B, 3, h, w] or a list of [3, h, w] -> float32 [B, 3, H, W]."""
        images = np.stack([self._sized(np.asarray(image), size) for image in raw])
        pixels = torch.from_numpy(images).float() * self.scale
        return (pixels - torch.tensor(self.mean).view(3, 1, 1)) / torch.tensor(self.std).view(3, 1, 1)

    def sharp(self) -> Pictures:
        """The same, but pixels are picked, not blended: edges of cells stay where they are."""
        made = copy(self)
        made.resample = int(Image.Resampling.NEAREST)
        return made

    def describe(self) -> str:
        """Describe what is done, for the address of stored features."""
        return f"stretch {self.resample} scale {self.scale!r} mean {self.mean} std {self.std}"

    def _sized(self, image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        if image.shape[1:] == size:
            return image
        picture = Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0)))
        stretched = picture.resize((size[1], size[0]), Image.Resampling(self.resample))
        return np.asarray(stretched).transpose(2, 0, 1)
