"""Tokenizers for language models that are trained from scratch: of bytes, characters, or pieces of words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

from tokenizers import AddedToken, Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer

from trialbook import TrialbookError
from trialbook_plugins.hub import import_transformers

Vocabulary = Literal["byte", "character", "bpe"]

_UNKNOWN, _END, _USER, _ASSISTANT = "<unk>", "</s>", "<|user|>", "<|assistant|>"
_SPECIAL = [_UNKNOWN, _END, _USER, _ASSISTANT]
_TEMPLATE = (
    "{% for message in messages %}"
    f"{{% if message.role == 'user' %}}{_USER}{{% elif message.role == 'assistant' %}}{_ASSISTANT}{{% endif %}}"
    f"{{{{ message.content }}}}{{% if message.role == 'assistant' %}}{_END}{{% endif %}}"
    "{% endfor %}"
    f"{{% if add_generation_prompt %}}{_ASSISTANT}{{% endif %}}"
)
"""One token a turn: with a vocabulary of bytes, words for the roles would be longer than most questions."""


def make_tokenizer(corpus: Callable[[], Sequence[str]] | None, tokens: Vocabulary, size: int) -> Tokenizer:
    """A tokenizer; equal texts make equal ones.

    Args:
        corpus: gives the texts to derive it from, in their order; not asked for bytes.
        tokens: what a token is.
        size: entries at most, the four special tokens among them, for ``"bpe"``.
    Raises:
        TrialbookError: there are no texts, or ``size`` does not hold the bytes.
    """
    if tokens == "byte":
        tokenizer = _of_bytes()
    else:
        texts = list(corpus()) if corpus is not None else []
        if not texts:
            raise TrialbookError(f"the dataset gives no texts of its train split: tokens = '{tokens}' needs them")
        tokenizer = _of_characters(texts) if tokens == "character" else _of_pieces(texts, size)
    tokenizer.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in _SPECIAL])
    return tokenizer


def for_transformers(tokenizer: Tokenizer) -> Any:
    """The same tokenizer as transformers wants one, with a chat template of one token a turn."""
    wrapped = import_transformers().PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token=_UNKNOWN, eos_token=_END, additional_special_tokens=[_USER, _ASSISTANT],
        clean_up_tokenization_spaces=False,
    )  # fmt: skip
    wrapped.chat_template = _TEMPLATE
    return wrapped


def _numbered(tokens: Sequence[str]) -> dict[str, int]:
    return {token: number for number, token in enumerate([*_SPECIAL, *tokens])}


def _of_bytes() -> Tokenizer:
    tokenizer = Tokenizer(BPE(vocab=_numbered(sorted(pre_tokenizers.ByteLevel.alphabet())), merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _of_characters(texts: Sequence[str]) -> Tokenizer:
    vocabulary = _numbered(sorted({character for text in texts for character in text}))
    tokenizer = Tokenizer(BPE(vocab=vocabulary, merges=[], unk_token=_UNKNOWN))
    tokenizer.decoder = decoders.Fuse()
    return tokenizer


def _of_pieces(texts: Sequence[str], size: int) -> Tokenizer:
    """Byte pair encoding within words, every digit by itself: numbers are to be read, not known by heart."""
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    if size < len(_SPECIAL) + len(alphabet):
        raise TrialbookError(
            f"vocab_size ({size}) must be at least {len(_SPECIAL) + len(alphabet)}: it holds all bytes"
        )
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = BpeTrainer(vocab_size=size, special_tokens=_SPECIAL, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer
