"""A tokenizer that is trained on the data and travels with the weights: its JSON is a buffer of the module."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from tokenizers import Tokenizer, normalizers, pre_tokenizers
from tokenizers.models import BPE, WordLevel
from tokenizers.trainers import BpeTrainer
from torch import Tensor

from trialbook import TrialbookError
from trialbook_plugins.saved_tokenizer import KeptTokenizer

Vocabulary = Literal["word", "bpe"]

PAD, UNKNOWN = 0, 1
_SPECIAL = ["[PAD]", "[UNK]"]


class TrainedTokenizer(KeptTokenizer):
    """Lower-cased words and punctuation marks, or pieces of them, to numbers. Equal texts train equal tokenizers.

    The tokenizer is kept as a buffer: it is saved, hashed and loaded together with the weights that were learned for
    it.

    Args:
        corpus: gives the texts to train on, in their order.
        kind: ``"word"`` for whole words, ``"bpe"`` for byte pair encoding within words.
        size: entries of the vocabulary at most, the padding and the unknown token among them.
        max_length: tokens of a text at most; if all texts of the corpus are shorter, the longest of them decides.

    Raises:
        TrialbookError: there are no texts to train on, or a value is out of its range.
    """

    def __init__(
        self, corpus: Callable[[], Sequence[str]] | None, kind: Vocabulary, size: int, max_length: int
    ) -> None:
        if size <= len(_SPECIAL):
            raise TrialbookError(f"vocab_size ({size}) must be above {len(_SPECIAL)}")
        if max_length < 1:
            raise TrialbookError(f"max_length ({max_length}) must be at least 1")
        texts = list(corpus()) if corpus is not None else []
        if not texts:
            raise TrialbookError("the dataset gives no texts of its train split, so that no tokenizer can be trained")
        tokenizer = _train(texts, kind, size)
        longest = max(len(encoding) for encoding in tokenizer.encode_batch(texts))
        length = max(1, min(longest, max_length))
        tokenizer.enable_truncation(length)
        tokenizer.enable_padding(length=length, pad_id=PAD, pad_token=_SPECIAL[PAD])
        super().__init__(tokenizer)

    @property
    def size(self) -> int:
        """Entries V of the vocabulary."""
        count: int = self.tokenizer.get_vocab_size()
        return count

    @property
    def length(self) -> int:
        """Tokens L that every text is cut or padded to."""
        length: int = self.tokenizer.padding["length"]
        return length

    def encode(self, texts: Sequence[str]) -> Tensor:
        """Texts to token numbers, int64 [B, L], padded with 0; a text without tokens is one unknown token."""
        numbers = torch.tensor([encoding.ids for encoding in self.tokenizer.encode_batch(list(texts))])
        numbers = numbers.reshape(len(texts), self.length)
        numbers[(numbers == PAD).all(dim=1), 0] = UNKNOWN
        return numbers


def _train(texts: Sequence[str], kind: Vocabulary, size: int) -> Any:
    tokenizer = Tokenizer(BPE(unk_token=_SPECIAL[UNKNOWN]) if kind == "bpe" else WordLevel(unk_token=_SPECIAL[UNKNOWN]))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    if kind == "bpe":
        trainer = BpeTrainer(vocab_size=size, special_tokens=_SPECIAL, show_progress=False)
        tokenizer.train_from_iterator(texts, trainer)
    else:
        tokenizer.model = WordLevel(_frequent_words(tokenizer, texts, size), unk_token=_SPECIAL[UNKNOWN])
    return tokenizer


def _frequent_words(tokenizer: Any, texts: Sequence[str], size: int) -> dict[str, int]:
    """The most frequent words, numbered from the most frequent on; equally frequent ones in alphabetical order."""
    counts = Counter(
        word
        for text in texts
        for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(tokenizer.normalizer.normalize_str(text))
        if word not in _SPECIAL
    )
    words = sorted(counts, key=lambda word: (-counts[word], word))
    return {word: number for number, word in enumerate([*_SPECIAL, *words[: size - len(_SPECIAL)]])}
