"""Encoder ``vit``: a small vision transformer, trained from scratch."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from trialbook.contracts import Features
from trialbook.contracts.datasets import Modality, Raw

from ._images import cut_patches, patch_grid, stack_images
from ._transformer import Transformer, prepend


class ViT(nn.Module):
    """A pre-norm vision transformer with learned positions, for images of one size.

    Gives the class token, if there is one, and then the patches in raster order.

    Args:
        modality: of kind ``image``, all of one size.
        patch: side P of a patch in pixels; must divide height and width.
        width: width D of the tokens.
        depth: number of transformer blocks.
        heads: attention heads; must divide ``width``.
        mlp_ratio: hidden width of the blocks' networks, over ``width``.
        dropout: share of values dropped in training.
        class_token: put a learned token before the patches.

    Raises:
        TrialbookError: ``patch`` does not divide the image, ``heads`` not ``width``, or a value is out of its range.

    Source: Dosovitskiy et al. 2021, section 3.1; initialisation of google-research/vision_transformer. Deviations:
    biases start at zero, the patch embedding Xavier uniform like the other layers.
    """

    accepts: ClassVar[tuple[str, ...]] = ("image",)

    def __init__(
        self,
        modality: Modality,
        /,
        *,
        patch: int = 8,
        width: int = 128,
        depth: int = 4,
        heads: int = 4,
        mlp_ratio: float = 4.0,
        dropout: float = 0.0,
        class_token: bool = False,
    ) -> None:
        super().__init__()
        rows, columns = patch_grid(modality, patch)
        self.shape = modality.shape
        self.patch = patch
        self.dim = width
        self.transformer = Transformer(width, depth, heads, mlp_ratio, dropout)
        self.embedding = nn.Linear(modality.shape[0] * patch * patch, width)
        nn.init.xavier_uniform_(self.embedding.weight)
        nn.init.zeros_(self.embedding.bias)
        self.class_token = nn.Parameter(torch.zeros(1, 1, width)) if class_token else None
        self.positions = nn.Parameter(0.02 * torch.randn(1, rows * columns + class_token, width))
        self.dropout = nn.Dropout(dropout)

    def prepare(self, raw: Raw) -> Tensor:
        """Images as uint8 [B, C, H, W]."""
        return stack_images(raw, self.shape)

    def forward(self, prepared: Tensor) -> Features:
        """[B, C, H, W] -> [B, N, D]; one token more, the first, with ``class_token``."""
        tokens, _ = prepend(self.class_token, self.embedding(cut_patches(prepared, self.patch)))
        return Features(self.transformer(self.dropout(tokens + self.positions)))
