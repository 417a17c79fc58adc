"""Reconstruction probe: pictures from tokens, by convolutions that know nothing but what the tokens say."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from trialbook.contracts import CPU, to_device
from trialbook_plugins.probes.references import check_grid
from trialbook_plugins.probes.rows import Rows, channel_moments, chunks, read_part


class ReconstructionDecoder(nn.Module):
    """Tokens [B, H, W, D] to pictures [B, 3, S, S] in 0 to 1: a linear map, then doublings by nearest neighbour and convolution.

    Args:
        dim: width D of the tokens.
        rows: rows of the token grid.
        columns: columns of the token grid.
        size: height and width S of the pictures.
        width: channels of the first stage; each doubling halves them, down to 16.
    """

    def __init__(self, dim: int, rows: int, columns: int, size: int, *, width: int = 64) -> None:
        super().__init__()
        self.size = size
        doublings = max(0, math.ceil(math.log2(size / max(rows, columns))))
        layers: list[nn.Module] = [nn.Conv2d(dim, width, 1), nn.GELU()]
        for _ in range(doublings):
            narrow = max(16, width // 2)
            layers += [nn.Upsample(scale_factor=2), nn.Conv2d(width, narrow, 3, padding=1), nn.GELU()]
            width = narrow
        self.layers = nn.Sequential(*layers, nn.Conv2d(width, 3, 3, padding=1))

    def forward(self, tokens: Tensor) -> Tensor:
        """[B, H, W, D] -> [B, 3, S, S]."""
        picture = self.layers(tokens.permute(0, 3, 1, 2))
        if picture.shape[2:] != (self.size, self.size):
            picture = nn.functional.interpolate(picture, (self.size, self.size), mode="bilinear", align_corners=False)
        return picture.sigmoid()


class ReconstructionProbe:
    """A ``ReconstructionDecoder`` that is trained on stored features with the L1 distance, and its pictures.

    Args:
        width: channels of the decoder's first stage.
        steps: optimiser steps.
        batch: pictures of a step.
        lr: learning rate of AdamW, cosine to 0.
        perceptual: weight of a perceptual distance beside L1; 0 for none.
        distance: what that is, e.g. ``trialbook_plugins.probes.perceptual.lpips(...)``.
        seed: of the first weights and the order of pictures.
        device: where it is trained.
    """

    def __init__(
        self, *, width: int = 64, steps: int = 400, batch: int = 8, lr: float = 2e-3, perceptual: float = 0.0,
        distance: nn.Module | None = None, seed: int = 0, device: torch.device = CPU,
    ) -> None:  # fmt: skip
        if perceptual and distance is None:
            raise ValueError("perceptual needs a distance")
        self.width, self.steps, self.batch, self.lr = width, steps, batch, lr
        self.perceptual, self.seed, self.device = perceptual, seed, device
        self.distance = None if distance is None else distance.to(device)
        self._decoder: ReconstructionDecoder | None = None
        self._moments: tuple[Tensor, Tensor] | None = None

    def fit(self, features: Rows, images: Rows) -> ReconstructionProbe:
        """Learn from features [n, H, W, D] and their pictures, uint8 [n, 3, S, S]."""
        n, rows, columns, dim = check_grid(features)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            decoder = ReconstructionDecoder(dim, rows, columns, images.shape[2], width=self.width).to(self.device)
        self._moments = to_device(channel_moments(features), self.device)
        optimiser = torch.optim.AdamW(decoder.parameters(), lr=self.lr, weight_decay=1e-4)
        rates = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, self.steps)
        generator = torch.Generator().manual_seed(self.seed)
        for _ in range(self.steps):
            chosen = torch.randperm(n, generator=generator)[: self.batch].sort().values.numpy()
            wanted = to_device(read_part(images, chosen), self.device).float() / 255
            made = decoder(self._tokens(features, chosen))
            loss = (made - wanted).abs().mean()
            if self.perceptual and self.distance is not None:
                loss = loss + self.perceptual * self.distance(made, wanted).mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            rates.step()
        self._decoder = decoder.eval()
        return self

    @torch.no_grad()
    def predict(self, features: Rows) -> Tensor:
        """Pictures [n, 3, S, S] in 0 to 1."""
        if self._decoder is None:
            raise RuntimeError("fit the probe first")
        n, *_ = check_grid(features)
        return torch.cat([self._decoder(self._tokens(features, part)).cpu() for part in chunks(n, 32)])

    def _tokens(self, features: Rows, chosen: Any) -> Tensor:
        mean, scale = self._moments or to_device(channel_moments(features), self.device)
        tokens: Tensor = to_device(read_part(features, chosen), self.device).float()
        return (tokens - mean) / scale
