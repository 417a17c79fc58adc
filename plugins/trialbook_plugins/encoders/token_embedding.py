"""Encoder ``token-embedding``: learned token vectors with a tokenizer that is trained on the data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from trialbook import TrialbookError
from trialbook.contracts import Features
from trialbook.contracts.datasets import Modality, Raw

from ._tokenizer import PAD, TrainedTokenizer, Vocabulary


class TokenEmbedding(nn.Module):
    """A learned vector for each token of a text, and with ``positions`` one for each place; a bag of words without.

    The tokenizer is trained on the texts of the train split and saved with the weights; loading them restores it.

    Args:
        modality: of kind ``text``.
        width: width D of the vectors.
        tokens: ``"word"`` for whole words, ``"bpe"`` for byte pair encoding within words; lower-cased.
        vocab_size: entries of the vocabulary at most.
        max_length: tokens of a text at most; longer texts are cut.
        positions: add a learned vector for the place in the text; of use where the projector is not linear up to its
            average over tokens.
        init_std: standard deviation of the vectors at the start.

    Raises:
        TrialbookError: the dataset gives no texts to train the tokenizer on, or a value is out of its range.

    Source: Mikolov et al. 2013, section 3.1 (a shared vector for every word); positions as in Gehring et al. 2017,
    section 3.1.
    """

    accepts: ClassVar[tuple[str, ...]] = ("text",)

    def __init__(
        self,
        modality: Modality,
        /,
        *,
        width: int = 128,
        tokens: Vocabulary = "word",
        vocab_size: int = 8192,
        max_length: int = 64,
        positions: bool = False,
        init_std: float = 1.0,
    ) -> None:
        super().__init__()
        if width < 1:
            raise TrialbookError(f"width ({width}) must be at least 1")
        self.dim = width
        self.tokenizer = TrainedTokenizer(modality.corpus, tokens, vocab_size, max_length)
        self.vectors = nn.Parameter(init_std * torch.randn(self.tokenizer.size, width))
        self.positions = nn.Parameter(init_std * torch.randn(self.tokenizer.length, width)) if positions else None
        self.register_load_state_dict_pre_hook(_resize)  # type: ignore[no-untyped-call]

    def prepare(self, raw: Raw) -> Tensor:
        """Texts as token numbers, int64 [B, L], padded with 0."""
        return self.tokenizer.encode(raw)

    def forward(self, prepared: Tensor) -> Features:
        """[B, L] -> [B, L, D], with a mask of the tokens that are not padding."""
        tokens = nn.functional.embedding(prepared, self.vectors)
        if self.positions is not None:
            tokens = tokens + self.positions
        return Features(tokens, prepared != PAD)


def _resize(module: TokenEmbedding, state: Mapping[str, Tensor], prefix: str, *rest: Any) -> None:
    """Before weights are loaded: take the sizes of the vocabulary and of the texts that they were learned for."""
    for name in ("vectors", "positions"):
        parameter, saved = getattr(module, name), state.get(f"{prefix}{name}")
        if parameter is not None and saved is not None and saved.shape[1:] == parameter.shape[1:]:
            parameter.data = parameter.data.new_empty(saved.shape)
