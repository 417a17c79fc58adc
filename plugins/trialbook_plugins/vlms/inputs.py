"""The ways in which the inputs of architectures are made that differ from the plain one, and all of them by name."""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from trialbook import TrialbookError
from trialbook.contracts.datasets import Raw
from trialbook_plugins.vlms.family import PLACES, Family, Layout, Prompt, patch_size
from trialbook_plugins.vlms.pictures import Pictures


class PaliGemma(Family):
    """Everything is prefix: tokens attend in both directions."""

    extra = ("token_type_ids",)

    def kind(self, name: str, image: Tensor) -> Tensor:
        """Zero throughout: the prefix."""
        return torch.zeros_like(image)


class Idefics3(Family):
    """An axis for the pictures of a row; the image is not split."""

    def arguments(self, prepared: Mapping[str, Tensor]) -> dict[str, Any]:
        """With the axis of pictures."""
        made = super().arguments(prepared)
        return {**made, self.pixels: made[self.pixels][:, None]}


class Kosmos2(Family):
    """A mask says where the image's latents stand."""

    extra = ("image_embeds_position_mask",)


class LlavaNext(Family):
    """The whole image at the encoder's size, then tiles of it; ``size`` is that of the canvas that is cut."""

    cuts = True

    @classmethod
    def default_size(cls, config: Any, own: tuple[int, int] | None, otherwise: int) -> tuple[int, int]:
        """The largest square canvas, or the largest of all."""
        known = [(int(height), int(width)) for height, width in config.image_grid_pinpoints]
        return max(known, key=lambda one: (one[0] == one[1], one[0] * one[1]))

    def __init__(self, config: Any, size: tuple[int, int], tiles: str) -> None:
        super().__init__(config, size, tiles)
        known = [tuple(pair) for pair in config.image_grid_pinpoints]
        if size not in known:
            sizes = ", ".join(f"{h} x {w}" for h, w in known)
            raise TrialbookError(f"image_size ({size[0]} x {size[1]}) must be one of the model's: {sizes}")

    def _layout(self, side: int, tiles: str) -> Layout:
        view = self.vision.image_size
        return Layout(
            (view // side, view // side),
            tiles=(self.size[0] // view, self.size[1] // view),
            stitched=tiles == "stitch",
        )

    def prepare(self, raw: Raw, pictures: Pictures) -> dict[str, Tensor]:
        """[B, 1 + tiles, 3, S, S], tiles row by row."""
        view, (rows, columns) = self.vision.image_size, self.layout.tiles
        whole, canvas = pictures(raw, (view, view)), pictures(raw, self.size)
        cut = canvas.unfold(2, view, view).unfold(3, view, view)  # [B, 3, rows, columns, S, S]
        cut = cut.permute(0, 2, 3, 1, 4, 5).reshape(len(whole), rows * columns, 3, view, view)
        sizes = torch.tensor(self.size).expand(len(whole), 2).clone()
        return {self.pixels: torch.cat([whole[:, None], cut], dim=1), "image_sizes": sizes}

    def count(self, rows: int) -> int:
        """The whole image, then rows of all tiles, each with a token for its end."""
        height, width = self.layout.patches
        down, across = self.layout.tiles
        return height * width + down * height * (across * width + 1)


class Qwen(Family):
    """Patches as rows of numbers, those of a merged square together, each frame twice."""

    extra = ("mm_token_type_ids",)

    def __init__(self, config: Any, size: tuple[int, int], tiles: str) -> None:
        super().__init__(config, size, tiles)
        side = patch_size(self.vision) * self.vision.spatial_merge_size
        if size[0] % side or size[1] % side:
            raise TrialbookError(f"image_size ({size[0]} x {size[1]}) must be a multiple of {side}")

    def _layout(self, side: int, tiles: str) -> Layout:
        merge = self.vision.spatial_merge_size
        window = getattr(self.vision, "window_size", 0) // merge // side
        return Layout((self.size[0] // side, self.size[1] // side), merge, window)

    def prepare(self, raw: Raw, pictures: Pictures) -> dict[str, Tensor]:
        """``pixel_values`` [B, N, C·T·P·P] and ``image_grid_thw`` [B, 3]."""
        pixels = pictures(raw, self.size)
        (height, width), m, side = self.layout.patches, self.layout.merge, patch_size(self.vision)
        cut = pixels.view(len(pixels), 3, height // m, m, side, width // m, m, side)
        rows = cut.permute(0, 2, 5, 3, 6, 1, 4, 7).reshape(len(pixels), height * width, 3, 1, side, side)
        frames = rows.expand(-1, -1, -1, self.vision.temporal_patch_size, -1, -1)
        grid = torch.tensor([1, height, width]).expand(len(pixels), 3).clone()
        return {self.pixels: frames.flatten(2), "image_grid_thw": grid}

    def arguments(self, prepared: Mapping[str, Tensor]) -> dict[str, Any]:
        """Patches of all rows, one after the other."""
        made = super().arguments(prepared)
        return {**made, self.pixels: made[self.pixels].flatten(0, 1)}


class CogVLM(Family):
    """Images as lists, kinds of tokens; the image's stand between two that begin and end it."""

    extra = ("token_type_ids",)

    def sequence(self, prompt: Prompt, count: int, rows: int) -> dict[str, Tensor]:
        """The places of an image leave out the two tokens around it, which are of its kind too."""
        made = super().sequence(prompt, count + 2, rows)
        return {**made, PLACES: made[PLACES][:, 1:-1]}

    def arguments(self, prepared: Mapping[str, Tensor]) -> dict[str, Any]:
        """``images`` in place of ``pixel_values``."""
        made = super().arguments(prepared)
        return {**made, "images": [[image] for image in made.pop(self.pixels)]}


class InternVLChat(Family):
    """The code of InternVL2's own checkpoints: a flag for each image, and the id of its tokens set from outside."""

    @classmethod
    def image_token(cls, config: Any, folder: Path | None) -> int:
        """From the list of added tokens.

        Raises:
            TrialbookError: there is none.
        """
        file = None if folder is None else folder / "added_tokens.json"
        added = json.loads(file.read_text()) if file is not None and file.is_file() else {}
        if "<IMG_CONTEXT>" not in added:
            raise TrialbookError(f"{file or 'the checkpoint'} does not say the id of '<IMG_CONTEXT>'")
        return int(added["<IMG_CONTEXT>"])

    def ready(self, model: Any, image: int) -> None:
        """The id of the image's tokens."""
        model.img_context_token_id = image

    def arguments(self, prepared: Mapping[str, Tensor]) -> dict[str, Any]:
        """With flags."""
        made = super().arguments(prepared)
        return {**made, "image_flags": torch.ones_like(made["input_ids"][:, :1])}


#: What ``inputs`` of an architecture may name.
FAMILIES: dict[str, type[Family]] = {
    "plain": Family,
    "llava-next": LlavaNext,
    "qwen": Qwen,
    "paligemma": PaliGemma,
    "idefics3": Idefics3,
    "kosmos-2": Kosmos2,
    "cogvlm": CogVLM,
    "internvl-chat": InternVLChat,
}


def family(name: str) -> type[Family]:
    """The family of that name, or the class at ``"package.module:Class"``.

    Raises:
        TrialbookError: there is none.
    """
    if name in FAMILIES:
        return FAMILIES[name]
    module, colon, attribute = name.partition(":")
    if not colon:
        raise TrialbookError(f"there is no way '{name}' to make inputs; there are {', '.join(FAMILIES)}")
    found: type[Family] = getattr(importlib.import_module(module), attribute)
    return found
