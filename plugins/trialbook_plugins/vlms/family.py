"""The inputs of an architecture: pixels in the model's layout, and a sequence with places for the image.

Everything that a model reads is made of the row's image alone and has the rows of the batch along the first axis.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from trialbook import TrialbookError
from trialbook.contracts.datasets import Raw
from trialbook_plugins.vlms.pictures import Pictures

PLACES = "image_places"
"""Key of prepared rows: positions [B, K] of the image's tokens in the sequence. No input of the model."""


@dataclass(frozen=True)
class Layout:
    """The layout of the image in the model's batch and sequence.

    Args:
        patches: rows and columns of patches of one image that the vision encoder sees.
        merge: side of the squares of patches that stand together; 1 where they do not.
        window: side of an attention window in merged tokens; 0 without.
        tiles: rows and columns of tiles; (0, 0) where the image is not cut.
        stitched: tokens are those of the tiles, put together; else those of the image as a whole.
    """

    patches: tuple[int, int]
    merge: int = 1
    window: int = 0
    tiles: tuple[int, int] = (0, 0)
    stitched: bool = False

    @property
    def views(self) -> int:
        """Images that the vision encoder sees of one picture: the whole, then its tiles."""
        return 1 + self.tiles[0] * self.tiles[1]


@dataclass(frozen=True)
class Prompt:
    """Token ids around the image's."""

    before: tuple[int, ...]
    image: int
    after: tuple[int, ...] = ()


class Family:
    """Inputs of vision encoders, and of models that take ``pixel_values`` and a sequence.

    Args:
        config: the model's configuration.
        size: height and width that images are brought to.
        tiles: ``"base"`` or ``"stitch"``, for models that cut images.
    """

    pixels = "pixel_values"
    extra: tuple[str, ...] = ()
    cuts = False

    def __init__(self, config: Any, size: tuple[int, int], tiles: str) -> None:
        self.config, self.size = config, size
        self.vision = getattr(config, "vision_config", None) or config
        side = patch_size(self.vision)
        if size[0] % side or size[1] % side:
            raise TrialbookError(f"image_size ({size[0]} x {size[1]}) must be a multiple of the patch size, {side}")
        if tiles != "base" and not self.cuts:
            raise TrialbookError(f'tiles = "{tiles}": this architecture\'s images are not cut; leave it out')
        self.layout = self._layout(side, tiles)

    @classmethod
    def default_size(cls, config: Any, own: tuple[int, int] | None, otherwise: int) -> tuple[int, int]:
        """Height and width where the experiment says none: the checkpoint's ``own``, or ``otherwise`` for both.

        Pixels beyond the last whole patch are seen by no token (384 pixels are 27 patches of 14, and 6 over), so they are
        left out and the tokens cover all of the image.
        """
        side = patch_size(getattr(config, "vision_config", None) or config)
        height, width = own or (otherwise, otherwise)
        return height // side * side, width // side * side

    @classmethod
    def image_token(cls, config: Any, folder: Path | None) -> int:
        """Id of the tokens that the image's take the place of; 0 where the model finds them otherwise."""
        ids = (getattr(config, name, None) for name in ("image_token_id", "image_token_index"))
        return next((int(found) for found in ids if found is not None), 0)

    def ready(self, model: Any, image: int) -> None:
        """Tell the model what it has to know before it can be called."""
        return None

    def _layout(self, side: int, tiles: str) -> Layout:
        return Layout((self.size[0] // side, self.size[1] // side))

    def prepare(self, raw: Raw, pictures: Pictures) -> dict[str, Tensor]:
        """Pixels in the model's layout, rows first."""
        return {self.pixels: pictures(raw, self.size)}

    def sequence(self, prompt: Prompt, count: int, rows: int) -> dict[str, Tensor]:
        """The sequence of ``rows`` rows with ``count`` places for the image's tokens."""
        ids = torch.tensor([*prompt.before, *[prompt.image] * count, *prompt.after])
        places = torch.arange(count) + len(prompt.before)
        made = {"input_ids": ids, "attention_mask": torch.ones_like(ids), PLACES: places}
        kinds = torch.zeros_like(ids)
        kinds[places] = 1
        made |= {name: self.kind(name, kinds) for name in self.extra}
        return {name: value.expand(rows, -1).clone() for name, value in made.items()}

    def kind(self, name: str, image: Tensor) -> Tensor:
        """An extra input [S] of the sequence, from where the image's tokens are (1) and are not (0)."""
        return image

    def count(self, rows: int) -> int:
        """Places in the sequence for an image of which the connector gives ``rows`` tokens."""
        return rows

    def arguments(self, prepared: Mapping[str, Tensor]) -> dict[str, Any]:
        """Return what the model is called with."""
        return {name: value for name, value in prepared.items() if name != PLACES}


def patch_size(vision: Any) -> int:
    """Side in pixels of what becomes one token in the end, before tokens are merged."""
    stride = getattr(vision, "patch_stride", None) if not isinstance(vision, Mapping) else None
    if stride is not None:
        return math.prod(stride)
    side = _of(vision, "patch_size")
    return int(side if isinstance(side, int) else side[0])


def image_size(vision: Any) -> tuple[int, int] | None:
    """Height and width in a configuration; None where it has none."""
    size = _of(vision, "image_size")
    if size is None:
        return None
    return (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))


def _of(config: Any, name: str) -> Any:
    return config.get(name) if isinstance(config, Mapping) else getattr(config, name, None)
