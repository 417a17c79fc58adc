"""Encoder ``text-transformer``: a small text transformer with a tokenizer that is trained on the data."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from trialbook.contracts import Features
from trialbook.contracts.datasets import Modality, Raw

from ._tokenizer import Vocabulary
from ._transformer import Transformer, prepend
from .token_embedding import TokenEmbedding


class TextTransformer(nn.Module):
    """A pre-norm transformer over learned token and position vectors; every token sees the whole text.

    Gives the class token, if there is one, and then the tokens of the text. The tokenizer is trained on the texts of
    the train split and saved with the weights; loading them restores it.

    Args:
        modality: of kind ``text``.
        width: width D of the tokens.
        depth: number of transformer blocks.
        heads: attention heads; must divide ``width``.
        mlp_ratio: hidden width of the blocks' networks, over ``width``.
        dropout: share of values dropped in training.
        class_token: put a learned token before the text.
        tokens: ``"word"`` for whole words, ``"bpe"`` for byte pair encoding within words; lower-cased.
        vocab_size: entries of the vocabulary at most.
        max_length: tokens of a text at most; longer texts are cut.

    Raises:
        TrialbookError: the dataset gives no texts to train the tokenizer on, ``heads`` does not divide ``width``, or
            a value is out of its range.

    Source: Devlin et al. 2019, section 3 (bidirectional, learned positions); blocks of Dosovitskiy et al. 2021.
    Deviation from the former: LayerNorm before attention and network, no segments.
    """

    accepts: ClassVar[tuple[str, ...]] = ("text",)

    def __init__(
        self,
        modality: Modality,
        /,
        *,
        width: int = 128,
        depth: int = 4,
        heads: int = 4,
        mlp_ratio: float = 4.0,
        dropout: float = 0.0,
        class_token: bool = False,
        tokens: Vocabulary = "word",
        vocab_size: int = 8192,
        max_length: int = 64,
    ) -> None:
        super().__init__()
        self.dim = width
        self.transformer = Transformer(width, depth, heads, mlp_ratio, dropout)
        self.embedding = TokenEmbedding(
            modality, width=width, tokens=tokens, vocab_size=vocab_size, max_length=max_length,
            positions=True, init_std=0.02,
        )  # fmt: skip
        self.class_token = nn.Parameter(torch.zeros(1, 1, width)) if class_token else None
        self.dropout = nn.Dropout(dropout)

    def prepare(self, raw: Raw) -> Tensor:
        """Texts as token numbers, int64 [B, L], padded with 0."""
        return self.embedding.prepare(raw)

    def forward(self, prepared: Tensor) -> Features:
        """[B, L] -> [B, L, D] with a mask; one token more, the first, with ``class_token``."""
        tokens, mask = prepend(self.class_token, *self.embedding(prepared))
        return Features(self.transformer(self.dropout(tokens), mask), mask)
