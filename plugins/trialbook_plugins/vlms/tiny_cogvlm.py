"""A tiny model of CogVLM2's shape, for trying out what is done with the real one.

Not its weights nor its code: blocks are plain, and there are no experts for image and text. What is the same are the names of its
modules, its arguments, and how an image's tokens stand among the others.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from trialbook_plugins.hub import import_transformers


class Block(nn.Module):
    """A pre-norm block with attention, causal or not."""

    def __init__(self, width: int, causal: bool) -> None:
        super().__init__()
        self.causal = causal
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, 4, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        mask = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool, device=x.device).triu(1) if self.causal else None
        y = self.norm1(x)
        x = x + self.attention(y, y, y, attn_mask=mask, need_weights=False)[0]
        return x + self.mlp(self.norm2(x))


class Transformer(nn.Module):
    """Blocks in a list named ``layers``."""

    def __init__(self, width: int, depth: int, causal: bool = False) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Block(width, causal) for _ in range(depth))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return x


class Patches(nn.Module):
    """Patches, a class token in front, positions."""

    def __init__(self, width: int, patch: int, count: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, patch, patch)
        self.cls = nn.Parameter(torch.randn(1, 1, width))
        self.positions = nn.Parameter(torch.randn(1, count + 1, width) * 0.1)

    def forward(self, images: Tensor) -> Tensor:
        x = self.proj(images).flatten(2).transpose(1, 2)
        return torch.cat([self.cls.expand(len(x), -1, -1), x], dim=1) + self.positions


class CogVision(nn.Module):
    """Patches, blocks, 2 x 2 convolution, a linear map, a token at each end."""

    def __init__(self) -> None:
        super().__init__()
        self.patch_embedding, self.transformer = Patches(32, 8, 64), Transformer(32, 2)
        self.conv, self.linear_proj = nn.Conv2d(32, 32, 2, 2), nn.Linear(32, 48)
        self.boi, self.eoi = nn.Parameter(torch.zeros(1, 1, 48)), nn.Parameter(torch.zeros(1, 1, 48))

    def forward(self, images: Tensor) -> Tensor:
        x = self.transformer(self.patch_embedding(images))[:, 1:]
        x = self.conv(x.transpose(1, 2).unflatten(2, (8, 8))).flatten(2).transpose(1, 2)
        x = self.linear_proj(x)
        return torch.cat([self.boi.expand(len(x), -1, -1), x, self.eoi.expand(len(x), -1, -1)], dim=1)


class CogInner(nn.Module):
    """Words, blocks and the part that sees."""

    def __init__(self) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(64, 48)
        self.layers = nn.ModuleList(Block(48, causal=True) for _ in range(4))
        self.norm, self.vision = nn.LayerNorm(48), CogVision()


class TinyCogVLM(nn.Module):
    """The calls and paths of CogVLM2, the code of which lies in its checkpoint alone: a stand-in with random weights."""

    def __init__(self) -> None:
        super().__init__()
        self.config = import_transformers().PretrainedConfig(
            vision_config={"image_size": 64, "patch_size": 8}, bos_token_id=2, pad_token_id=3
        )
        self.config.model_type = "cogvlm"
        self.model = CogInner()

    def forward(
        self, input_ids: Tensor, images: list[list[Tensor]], token_type_ids: Tensor, attention_mask: Tensor, **_: Any
    ) -> Any:
        inner = self.model
        x = inner.embed_tokens(input_ids)
        seen = inner.vision(torch.stack([row[0] for row in images]))
        x = x.masked_scatter((token_type_ids == 1)[..., None], seen)
        states = [x]
        for layer in inner.layers:
            x = layer(x)
            states.append(x)
        return SimpleNamespace(last_hidden_state=inner.norm(x), hidden_states=(*states[:-1], inner.norm(x)))
