"""Encoder ``frames``: another encoder of images, on some frames of a clip."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from torch import Tensor, nn

from trialbook import TrialbookError
from trialbook.contracts import Features, LayerEncoder, LayerPoint, OrderResult, Prepared
from trialbook.contracts.datasets import Modality, Raw


class Frames(nn.Module):
    """Tokens of several frames of a clip, each seen by itself: grids of later frames stand below those of earlier ones.

    Frames are taken at equal distances, the first and the last among them.

    Args:
        modality: clips of one length.
        of: the encoder of images; its table stands in ``of``.
        frames: how many frames it sees.

    Raises:
        TrialbookError: there are fewer frames in a clip, or ``of`` has no layers that can be read (no ``encode_layers``).

    Source: uniform sampling of frames, as video models of language models take them (Li et al. 2024, LLaVA-NeXT-Interleave).
    """

    accepts: ClassVar[tuple[str, ...]] = ("video",)
    parts: ClassVar[Mapping[str, str]] = {"of": "encoder"}
    tap_choices: ClassVar[tuple[str, ...]] = ()

    def __init__(self, modality: Modality, of: nn.Module, /, *, frames: int = 3) -> None:
        super().__init__()
        if not isinstance(of, LayerEncoder):
            raise TrialbookError(f"of: {type(of).__name__} has no layers that can be read; take 'hf-vlm'")
        length = modality.shape[0]
        if not 1 <= frames <= length:
            raise TrialbookError(f"frames ({frames}) must be from 1 to the {length} of a clip")
        self.of: Any = of
        self.frames = frames
        self.chosen = np.linspace(0, length - 1, frames).round().astype(np.int64)
        self.tap_rows = max(1, of.tap_rows // frames)
        self.dim = int(self.of.dim)

    @staticmethod
    def offered_to_parts(injected: Mapping[str, Any], options: Mapping[str, Any]) -> Mapping[str, Any]:
        """The inner encoder sees images."""
        return {**injected, "modality": Modality("image", injected["modality"].shape[1:])}

    def prepare(self, raw: Raw) -> dict[str, Any]:
        """Clips uint8 [B, T, 3, H, W] as the inner encoder wants their frames."""
        images = np.stack([np.asarray(clip)[self.chosen] for clip in raw])
        return {"frames": self.of.prepare(images.reshape(-1, *images.shape[2:]))}

    def forward(self, prepared: Mapping[str, Prepared]) -> Features:
        """Prepared frames to tokens [B, frames N, D] of the layer that the inner encoder gives."""
        tokens, mask = self.of(prepared["frames"])
        clips = len(tokens) // self.frames
        whole = None if mask is None else mask.reshape(clips, -1)
        return Features(tokens.reshape(clips, -1, tokens.shape[-1]), whole)

    def points(self) -> Mapping[str, LayerPoint]:
        """Those of the inner encoder, each with the grids of all frames."""
        return {
            name: one._replace(grid=(self.frames * one.grid[0], one.grid[1]), times=self.frames)
            for name, one in self.of.points().items()
        }

    def encode_layers(self, prepared: Mapping[str, Prepared]) -> dict[str, Tensor]:
        """Tokens [B, frames H, W, D] of every point."""
        found = self.of.encode_layers(prepared["frames"])
        return {
            name: tokens.reshape(len(tokens) // self.frames, -1, *tokens.shape[2:]) for name, tokens in found.items()
        }

    def identity(self) -> dict[str, str]:
        """Return what the inner encoder's tokens depend on, and which frames it sees."""
        return {
            **{f"of.{key}": value for key, value in self.of.identity().items()},
            "frames": str(self.chosen.tolist()),
        }

    def check_order(self) -> Mapping[str, OrderResult]:
        """As the inner encoder does."""
        found: Mapping[str, OrderResult] = self.of.check_order()
        return found

    def verify(self) -> None:
        """As the inner encoder does."""
        self.of.verify()
