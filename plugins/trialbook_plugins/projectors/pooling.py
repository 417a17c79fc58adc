"""Ways to make one token of many, shared by the projectors."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

Pool = Literal["none", "mean", "attention", "class"]


def make_pool(kind: Pool, dim: int, heads: int) -> NoPool | MeanPool | ClassPool | AttentionPool:
    """The pooling module of this name; its ``dim`` is the width of what comes out.

    Raises:
        ValueError: the kind is unknown, or ``heads`` is below 1.
    """
    if heads < 1:
        raise ValueError(f"heads ({heads}) must be at least 1")
    if kind == "attention":
        return AttentionPool(dim, heads)
    simple: dict[str, type[NoPool | MeanPool | ClassPool]] = {"none": NoPool, "mean": MeanPool, "class": ClassPool}
    if kind not in simple:
        raise ValueError(f"pool ('{kind}') must be one of {', '.join([*simple, 'attention'])}")
    return simple[kind](dim)


class NoPool(nn.Module):
    """All tokens as they are: [B, N, D] -> [B, N, D]."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        return tokens


class MeanPool(nn.Module):
    """Mean of the real tokens: [B, N, D] -> [B, 1, D]; zero for a row without any."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        if mask is None:
            return tokens.mean(dim=1, keepdim=True)
        real = mask.unsqueeze(-1)
        total = tokens.masked_fill(~real, 0).sum(dim=1, keepdim=True)
        return total / real.sum(dim=1, keepdim=True).clamp(min=1)


class ClassPool(nn.Module):
    """The first token, where vision transformers keep their class token: [B, N, D] -> [B, 1, D]."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        return tokens[:, :1]


class AttentionPool(nn.Module):
    """One learned query attends to the real tokens: [B, N, D] -> [B, 1, D'].

    Args:
        dim: width D of the tokens.
        heads: attention heads; D' is D rounded up to a multiple of it.

    Source: open_clip ``AttentionalPooler`` with one query: normal initialisation of the query, LayerNorm on query and
    tokens, multi-head attention with biases, no residual. A row without any real token gives the bias of the output
    map.
    """

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.dim = -(-dim // heads) * heads
        self.query = nn.Parameter(torch.randn(1, self.dim))
        self.query_norm = nn.LayerNorm(self.dim)
        self.token_norm = nn.LayerNorm(dim)
        self.attention = nn.MultiheadAttention(self.dim, heads, kdim=dim, vdim=dim, batch_first=True)

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        query = self.query_norm(self.query).expand(len(tokens), -1, -1)
        media = self.token_norm(tokens)
        hidden = None if mask is None else ~mask
        return self.attention(query, media, media, key_padding_mask=hidden, need_weights=False)[0]
