"""Language model ``gru-lm``."""

from __future__ import annotations

from torch import Tensor, nn


class GruLM(nn.Module):
    """A small recurrent language model: tokens [B, L] -> logits [B, L, V].

    Args:
        vocab_size: number of tokens V.
        width: width of embeddings and of the recurrent state.
        depth: recurrent layers.

    Source: Cho et al. 2014, "Learning Phrase Representations using RNN Encoder-Decoder", section 2.3, for the unit.
    """

    def __init__(self, vocab_size: int, /, *, width: int = 64, depth: int = 1) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, width)
        self.body = nn.GRU(width, width, depth, batch_first=True)
        self.head = nn.Linear(width, vocab_size)

    def forward(self, tokens: Tensor) -> Tensor:
        """[B, L] -> [B, L, V]: logits of the token after each."""
        states, _ = self.body(self.embedding(tokens))
        logits: Tensor = self.head(states)
        return logits
