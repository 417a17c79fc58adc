"""Encoder ``hf-vision``: the vision tower of a Hugging Face checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from trialbook import TrialbookError
from trialbook.contracts import Features
from trialbook.contracts.datasets import Raw
from trialbook_plugins.hub import config_hash, find_checkpoint, import_transformers, reading

from . import _checkpoint as checkpoint


class HFVision(nn.Module):
    """CLIP, SigLIP, SigLIP 2, DINOv2, ViT and others that give tokens, each with its own preprocessing.

    Hidden states are counted as transformers counts them: 0 is the embeddings, k the output of block k, and the last
    (or -1) is the tower's result, behind its final norm where it has one for all tokens (SigLIP, DINOv2, ViT; CLIP
    has none). -2 is what LLaVA reads. Parameters
    without influence on them (blocks above) are not trainable. Tokens are in the
    checkpoint's order: class token and registers, if it has such, then patches in raster order.

    Args:
        data_root: folder in which a relative ``model`` is looked for, too.
        model: a folder, or a name of the hub; weights are read from safetensors only, and no code of a checkpoint is
            run.
        revision: branch, tag or commit of a name of the hub.
        layer: which hidden states are the tokens.
        drop_class_token: leave out every token that is no patch (class token, registers).
        dtype: number format of weights and computation; tokens are given as float32.

    Raises:
        TrialbookError: the checkpoint cannot be found or read, has no vision tower or lacks weights of it, has no
            preprocessing, or not so many layers.

    Source: Liu et al. 2023 (LLaVA), section 4.1, for layer -2 without class token; architectures and preprocessing of
    transformers. Images are resized with PIL, also where torchvision is installed, so that the same file gives the
    same pixels everywhere.
    """

    accepts: ClassVar[tuple[str, ...]] = ("image",)

    def __init__(
        self,
        data_root: Path | None = None,
        /,
        *,
        model: str,
        revision: str | None = None,
        layer: int = -1,
        drop_class_token: bool = False,
        dtype: checkpoint.Precision = "float32",
    ) -> None:
        super().__init__()
        transformers = import_transformers()
        folder = find_checkpoint(model, revision, data_root)
        with reading("image preprocessing", model):
            self.processor = transformers.AutoImageProcessor.from_pretrained(folder, backend="pil")
        with reading("vision tower", model):
            tower = checkpoint.load_tower(folder, "vision", dtype)
        self.tower = tower
        self.layer = checkpoint.resolve_layer(tower.config, layer)
        self.drop_class_token = drop_class_token
        self.dim: int = tower.config.hidden_size
        with torch.enable_grad():
            checkpoint.freeze_unused(tower, self(self.prepare(np.zeros((1, 3, 32, 32), dtype=np.uint8))).tokens)

    def prepare(self, raw: Raw) -> dict[str, Tensor]:
        """Images as ``pixel_values`` [B, C, H, W]; as patches with mask and shape for SigLIP 2 of free size."""
        inputs = self.processor(images=list(raw), input_data_format="channels_first", return_tensors="pt")
        return dict(inputs)

    def forward(self, prepared: dict[str, Tensor]) -> Features:
        """Named inputs of B images -> tokens [B, N, D]."""
        pixels = prepared["pixel_values"]
        inputs = {**prepared, "pixel_values": pixels.to(self.tower.dtype)}
        tokens = checkpoint.run_tower(self.tower, inputs, self.layer)
        if self.drop_class_token:
            tokens = tokens[:, tokens.shape[1] - self._patches(pixels) :]
        mask = prepared.get("pixel_attention_mask")
        return Features(tokens, None if mask is None else mask.bool())

    def identity(self) -> dict[str, str]:
        """Return what the tokens depend on beside weights and options: see :class:`trialbook.contracts.Encoder`."""
        return checkpoint.tower_identity(self.tower, self.layer, config_hash(self.processor))

    def _patches(self, pixels: Tensor) -> int:
        """Number of patches of each image in the batch."""
        if pixels.ndim == 3:
            return pixels.shape[1]
        side = getattr(self.tower.config, "patch_size", None)
        if not isinstance(side, int):
            raise TrialbookError(f"{type(self.tower).__name__} has no fixed patches: leave out 'drop_class_token'")
        return (pixels.shape[2] // side) * (pixels.shape[3] // side)
