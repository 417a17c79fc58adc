"""A pre-norm transformer encoder, shared by the small vision and text encoders."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trialbook import TrialbookError


class SelfAttention(nn.Module):
    """Multi-head self-attention.

    Args:
        width: D, of the tokens.
        heads: K; must divide ``width``.
        dropout: share of attention weights that are dropped in training.

    Source: Vaswani et al. 2017, section 3.2.
    """

    def __init__(self, width: int, heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.heads = heads
        self.dropout = dropout
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        """[B, N, D], mask [B, N] of the tokens that may be looked at -> [B, N, D]."""
        batch, count, width = tokens.shape
        split = self.qkv(tokens).reshape(batch, count, 3, self.heads, width // self.heads)
        query, key, value = split.permute(2, 0, 3, 1, 4)  # each [B, K, N, D / K]
        seen = None if mask is None else mask[:, None, None, :]
        dropout = self.dropout if self.training else 0.0
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=seen, dropout_p=dropout)
        out: Tensor = self.out(mixed.transpose(1, 2).reshape(batch, count, width))
        return out


class Block(nn.Module):
    """Attention and a GELU network, each behind a LayerNorm and on a residual path."""

    def __init__(self, width: int, heads: int, mlp_ratio: float, dropout: float) -> None:
        super().__init__()
        hidden = round(width * mlp_ratio)
        self.attention_norm = nn.LayerNorm(width, eps=1e-6)
        self.attention = SelfAttention(width, heads, dropout)
        self.mlp_norm = nn.LayerNorm(width, eps=1e-6)
        self.mlp = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Dropout(dropout), nn.Linear(hidden, width))
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        """[B, N, D], mask [B, N] -> [B, N, D]."""
        tokens = tokens + self.dropout(self.attention(self.attention_norm(tokens), mask))
        out: Tensor = tokens + self.dropout(self.mlp(self.mlp_norm(tokens)))
        return out


class Transformer(nn.Module):
    """``depth`` pre-norm blocks and a final LayerNorm; linear layers start Xavier uniform with zero bias.

    Args:
        width: D, of the tokens.
        depth: number of blocks.
        heads: attention heads K; must divide ``width``.
        mlp_ratio: hidden width of the blocks' networks, over ``width``.
        dropout: share of values dropped in training, in attention and behind every layer.

    Raises:
        TrialbookError: ``heads`` does not divide ``width``, or a value is out of its range.

    Source: Dosovitskiy et al. 2021, section 3.1 and equations 1-4; initialisation of
    google-research/vision_transformer. Deviation: biases start at zero.
    """

    def __init__(self, width: int, depth: int, heads: int, mlp_ratio: float, dropout: float) -> None:
        super().__init__()
        if heads < 1 or width < 1 or width % heads:
            raise TrialbookError(f"heads ({heads}) must divide width ({width})")
        if depth < 1:
            raise TrialbookError(f"depth ({depth}) must be at least 1")
        if mlp_ratio <= 0:
            raise TrialbookError(f"mlp_ratio ({mlp_ratio}) must be above 0")
        if not 0 <= dropout < 1:
            raise TrialbookError(f"dropout ({dropout}) must be from 0 to below 1")
        self.blocks = nn.ModuleList(Block(width, heads, mlp_ratio, dropout) for _ in range(depth))
        self.norm = nn.LayerNorm(width, eps=1e-6)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        """[B, N, D], mask [B, N] of real tokens -> [B, N, D]."""
        for block in self.blocks:
            tokens = block(tokens, mask)
        out: Tensor = self.norm(tokens)
        return out


def prepend(first: Tensor | None, tokens: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
    """Tokens [B, N, D] and mask [B, N] behind a learned token [1, 1, D], if there is one."""
    if first is None:
        return tokens, mask
    tokens = torch.cat([first.expand(len(tokens), -1, -1), tokens], dim=1)
    return tokens, None if mask is None else F.pad(mask, (1, 0), value=True)
